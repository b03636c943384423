"""Programs that look into a finished run's network: Grad-CAM at a layer, an endpoint's numbers."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lowlabel_jax.augment.views import normalise
from lowlabel_jax.core import parallel
from lowlabel_jax.core.errors import UserError, nearest
from lowlabel_jax.evaluation import grad_cam
from lowlabel_jax.ops.compiling import compile_options
from lowlabel_jax.runs.predict import labelling
from lowlabel_jax.runs.predict.predict import Run

AT_ONCE = 16  # images a step of gradients, which need more memory than guesses


class Program(NamedTuple):
    """A function of batches of one size, compiled once."""

    size: int
    call: Callable[..., Sequence[np.ndarray]]


def heat_at(
    run: Run, images: np.ndarray, classes: np.ndarray, layer: str = grad_cam.LAYER
) -> tuple[str, np.ndarray]:
    """(the layer that was looked at, the heat).

    It is `layer`; but where no logit comes from "last_conv" (in a transformer), it is the last one
    that some logit moves with: above it only the class token counts.
    """
    there = layers(run)
    fixed = layer != grad_cam.LAYER or layer in there
    given = (images, np.asarray(classes, np.int32))
    for name in (layer,) if fixed else there[::-1]:
        if not len(images):
            break
        found, moves = _by_parts(_heater(run, name, _size(run, len(images), AT_ONCE)), *given)
        if moves.any() or fixed:
            return name, found
    return layer, np.zeros(images.shape[:3], np.float32)


def layers(run: Run) -> tuple[str, ...]:
    """The layers of a run's network that have a heat, from the image on."""
    shape = jax.ShapeDtypeStruct((1, *run.config["info"]["image_shape"]), jnp.float32)
    return grad_cam.layers(lambda x: run._apply(run._variables, x, train=False), shape)


def check_layer(run: Run, layer: str) -> None:
    """Raise UserError where a layer has no heat, as `heat_at` would."""
    shape = (1, *run.config["info"]["image_shape"])
    images, classes = jax.ShapeDtypeStruct(shape, jnp.float32), jax.ShapeDtypeStruct((1,), int)
    at = functools.partial(grad_cam.slope, lambda x: run._apply(run._variables, x, train=False))
    jax.eval_shape(lambda x, k: at(x, k, layer), images, classes)


def vectors(run: Run, images: Any, end: str) -> np.ndarray:
    """float32 [n, f]: an endpoint of the network for each image, of a map its mean over pixels.

    images uint8 [n, h, w, c], an array or whatever gives one for a slice, n > 0. Raises UserError
    where there is no such endpoint.
    """
    return _by_parts(_ends(run, end, _size(run, len(images))), images)[0]


def check_end(run: Run, end: str) -> None:
    """Raise UserError where a run's network has no endpoint of this name."""
    there = [name for name, x in _shapes(run).items() if len(x.shape) > 1]
    if end not in there:
        raise UserError(
            f"the network has no endpoint {end!r}.{nearest(end, there)}",
            f"there are: {', '.join(sorted(there))}.",
        )


def _shapes(run: Run) -> dict[str, Any]:
    shape = jax.ShapeDtypeStruct((1, *run.config["info"]["image_shape"]), jnp.float32)
    return jax.eval_shape(lambda x: run._apply(run._variables, x, train=False), shape)[1]


@functools.lru_cache(4)
def _heater(run: Run, layer: str, size: int) -> Program:
    """(images uint8 [n, h, w, c], classes [n]) -> (heat [n, h, w], whether the logit moves [n])."""

    def forward(variables: Any, batch: Any) -> Any:
        at = grad_cam.slope(
            lambda x: run._apply(variables, x, train=False),
            normalise(batch["image"]),
            batch["class"],
            layer,
        )
        size = batch["image"].shape[1:3]
        moves = (at.gradient != 0).any((1, 2, 3))
        return grad_cam.scaled(grad_cam.weighed(at), size), moves

    return _over_devices(run, forward, size, ("image", "class"))


@functools.lru_cache(4)
def _ends(run: Run, end: str, size: int) -> Program:
    """images uint8 [n, h, w, c] -> (an endpoint float32 [n, f],)."""

    def forward(variables: Any, batch: Any) -> Any:
        _, ends = run._apply(variables, normalise(batch["image"]), train=False)
        found = ends[end].astype(jnp.float32)
        return (found.mean(tuple(range(1, found.ndim - 1))),)

    return _over_devices(run, forward, size, ("image",))


def _over_devices(run: Run, forward: Callable, size: int, names: Sequence[str]) -> Program:
    """forward(variables, batch) -> arrays [b, …], for arrays of at most `size` rows, by name."""
    devices = parallel.device_count(run.config["devices"])
    size = -(-size // devices) * devices
    options = compile_options(jax.default_backend())
    mapped = parallel.mapped(forward, devices, sharded_out=True, options=options)

    def call(*rows: np.ndarray) -> Sequence[np.ndarray]:
        batch = parallel.shard_filled(dict(zip(names, rows, strict=True)), size, devices)
        return parallel.rows(mapped(run._variables, batch), len(rows[0]))

    return Program(size, call)


def _by_parts(program: Program, *rows: Any) -> list[np.ndarray]:
    """What a program gives for n > 0 rows, some at a time."""
    parts = [slice(i, i + program.size) for i in range(0, len(rows[0]), program.size)]
    found = [program.call(*(x[part] for x in rows)) for part in parts]
    return [np.concatenate(each) for each in zip(*found, strict=True)]


def _size(run: Run, n: int, most: int = labelling.AT_ONCE) -> int:
    return labelling.batch_size(n, min(most, run.config["batch"]["evaluation"]))
