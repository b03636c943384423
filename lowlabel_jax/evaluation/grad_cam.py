"""Grad-CAM, arXiv:1610.02391: which places of a map a network's logit of a class rises with.

Letters: `b` images, `h w` an image, `i j` a map, `t` tokens, `c` channels, `k` classes.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun

from lowlabel_jax.core.errors import UserError, nearest

Network = Callable[[jax.Array], tuple[jax.Array, Mapping[str, jax.Array]]]
LAYER = "last_conv"


class Slope(NamedTuple):
    """A map inside of a network, and how a class's logit moves with it."""

    value: jax.Array  # float32 [b, i, j, c]
    gradient: jax.Array  # float32 [b, i, j, c]


def heat(network: Network, images: jax.Array, classes: jax.Array, layer: str = LAYER) -> jax.Array:
    """float32 [b, h, w] in 0..1, 1 at the hottest place of each image; all 0 where none is hot.

    network: images [b, h, w, c] -> (logits [b, k], endpoints), in evaluation mode. classes int [b]:
    whose logit. layer: see `slope`.
    """
    return scaled(weighed(slope(network, images, classes, layer)), images.shape[1:3])


def weighed(at: Slope) -> jax.Array:
    """float32 [b, i, j]: equations 1 and 2. A channel weighs its gradient's mean over places."""
    weights = at.gradient.mean((1, 2), keepdims=True)
    return jax.nn.relu((weights * at.value).sum(-1))


def scaled(cam: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """[b, i, j] -> [b, *size], bilinear, over each image's largest value."""
    large = jax.image.resize(cam, (len(cam), *size), "linear")
    most = large.max((1, 2), keepdims=True)
    return large / jnp.where(most > 0, most, 1)


def slope(network: Network, images: jax.Array, classes: jax.Array, layer: str) -> Slope:
    """The map of a layer and the gradient of each image's class's logit with respect to it.

    layer: an endpoint [b, i, j, c], a stage by its name, or a transformer's block, whose tokens of
    patches lie as in "last_conv". Raises UserError where it is none of `layers`.
    """
    traced = Traced.of(network, images)
    first, second = halves(traced.program, traced.place(layer))
    value, *others = first(images)

    def logit(value: jax.Array) -> jax.Array:
        (logits,) = second(value, *others)
        return jnp.take_along_axis(logits, classes[:, None], axis=1).sum()

    shape, before = traced.map_shape(layer)
    found = (value, jax.grad(logit)(value))
    if value.ndim == 3:
        found = (x[:, before:].reshape(shape) for x in found)
    return Slope(*(x.astype(jnp.float32) for x in found))


def layers(network: Network, images: Any) -> tuple[str, ...]:
    """The layers that `slope` can be asked for, from the image on; images may be of shapes only."""
    return Traced.of(network, images).layers


def with_stages(network: Network, images: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """(logits, endpoints and, by its name, what each stage of a Linen network hands on)."""
    found = {}

    def noted(call, args, kwargs, context):
        made = call(*args, **kwargs)
        if len(context.module.path) == 1 and context.method_name == "__call__":
            found[context.module.path[0]] = made
        return made

    with nn.intercept_methods(noted):
        logits, ends = network(images)
    return logits, {**{n: x for n, x in found.items() if isinstance(x, jax.Array)}, **ends}


def halves(traced: ClosedJaxpr, place: int) -> tuple[Callable, Callable]:
    """A traced function as two, cut where its output `place` is made.

    first(*args) -> [that output, what else the second needs …]; second(*all of these) -> [the first
    output of the whole].
    """
    jaxpr, wanted = traced.jaxpr, traced.jaxpr.outvars[place]
    cut = 1 + made_at(traced, place)
    before, after = jaxpr.eqns[:cut], jaxpr.eqns[cut:]
    made = {x for e in before for x in e.outvars} | set(jaxpr.invars)
    read = [x for e in after for x in e.invars if not isinstance(x, Literal)]
    handed = [wanted, *dict.fromkeys(x for x in read if x in made and x is not wanted)]
    first = jaxpr.replace(eqns=before, outvars=handed)
    second = jaxpr.replace(eqns=after, invars=handed, outvars=jaxpr.outvars[:1])
    whole = [ClosedJaxpr(half, traced.consts) for half in (first, second)]
    return jaxpr_as_fun(whole[0]), jaxpr_as_fun(whole[1])


class Traced(NamedTuple):
    """A network as a list of equations, its outputs the logits and then `ends`, by name."""

    program: ClosedJaxpr
    ends: dict[str, Any]  # name -> shape, of endpoints and stages

    @classmethod
    def of(cls, network: Network, images: Any) -> "Traced":
        """A network on images [b, h, w, c], or on what has their shape."""
        made = jax.make_jaxpr(lambda x: with_stages(network, x), return_shape=True)(images)
        return cls(made[0], made[1][1])

    @property
    def layers(self) -> tuple[str, ...]:
        """What has places, and the logits come from; in the order in which it is made."""
        those = [name for name in self.ends if self._is_map(name) and self._leads(name)]
        return tuple(sorted(those, key=lambda n: made_at(self.program, self._output(n))))

    def place(self, layer: str) -> int:
        """The place of a layer among the outputs. Raises UserError where it is none of `layers`."""
        usable = self.layers
        if layer in usable:
            return self._output(layer)
        there = f"layers with a map: {', '.join(usable)}."
        if layer not in self.ends:
            raise UserError(f"the network has no layer {layer!r}.{nearest(layer, usable)}", there)
        if not self._is_map(layer):
            shape = "x".join(map(str, self.ends[layer].shape[1:]))
            raise UserError(f"layer {layer!r} is no map of places: its shape is {shape}.", there)
        raise UserError(f"the logits do not come from layer {layer!r}.", there)

    def map_shape(self, layer: str) -> tuple[tuple[int, ...], int]:
        """([b, i, j, c] of a layer, how many of its tokens come before those of patches)."""
        shape = self.ends[layer].shape
        if len(shape) == 4:
            return shape, 0
        b, i, j, _ = self.ends[LAYER].shape
        return (b, i, j, shape[-1]), shape[1] - i * j

    def _output(self, layer: str) -> int:
        return 1 + sorted(self.ends).index(layer)

    def _is_map(self, layer: str) -> bool:
        """Whether it is [b, i, j, c], or tokens [b, t, c] of as many places as "last_conv" has."""
        shape = self.ends[layer].shape
        grid = self.ends[LAYER].shape[1:3] if LAYER in self.ends else ()
        return len(shape) == 4 or (len(shape) == 3 and 0 < math.prod(grid) <= shape[1])

    def _leads(self, layer: str) -> bool:
        """Whether the logits come from it."""
        jaxpr = self.program.jaxpr
        found = {jaxpr.outvars[self._output(layer)]}
        for equation in jaxpr.eqns:
            if any(not isinstance(x, Literal) and x in found for x in equation.invars):
                found |= set(equation.outvars)
        return jaxpr.outvars[0] in found


def made_at(program: ClosedJaxpr, place: int) -> int:
    """The number of the equation that makes an output, -1 where none does."""
    jaxpr = program.jaxpr
    wanted = jaxpr.outvars[place]
    return max((i for i, e in enumerate(jaxpr.eqns) if wanted in e.outvars), default=-1)
