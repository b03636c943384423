"""A model's stages: shapes, parameters, FLOPs and what is trained, without computing anything."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lowlabel_jax.training import networks


class Stage(NamedTuple):
    """One of a model's stages."""

    name: str
    shape: tuple[int, ...]  # of what it hands on for one image, without the batch
    parameters: int
    flops: int  # for one image
    trained: str  # "yes", "frozen", or the phases that train it; "" where none was asked about


class Network(NamedTuple):
    """A model for images of one shape, looked at without computing anything."""

    title: str
    image_shape: tuple[int, ...]
    stages: tuple[Stage, ...]
    statistics: int  # numbers that are kept and not trained: BatchNorm's
    trained: Mapping[str, int]  # phase -> parameters that it trains


def look(
    model: Any,
    image_shape: Sequence[int],
    title: str = "",
    phases: Sequence[Mapping[str, Any]] = (),
) -> Network:
    """A model's stages for one image [h, w, c]. phases: resolved ones, whose train_from counts."""
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    init = functools.partial(model.init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), images)
    shapes, products = _traced(model, variables, images)
    sizes = {name: _size(tree) for name, tree in variables["params"].items()}
    frozen = {spec["name"]: networks.frozen(model, spec) for spec in phases}
    stages = tuple(
        Stage(
            name,
            shapes.get(name, ()),
            sizes.get(name, 0),
            2 * products.get(name, 0),
            _by(frozen, name),
        )
        for name in model.stages
    )
    trained = {
        phase: sum(size for name, size in sizes.items() if name not in resting)
        for phase, resting in frozen.items()
    }
    statistics = _size(variables.get("batch_stats", {}))
    return Network(title, tuple(image_shape), stages, statistics, trained)


def _traced(model: Any, variables: Any, images: Any) -> tuple[dict[str, tuple], dict[str, int]]:
    """(stage -> shape of what it hands on, stage -> products with weights), for one image.

    A module with a kernel multiplies by all of it at each place of what it hands on; others that
    multiply (attention) say how often: multiply_adds(*arguments).
    """
    shapes: dict[str, tuple] = {}
    products: dict[str, int] = {}
    under_way: set[tuple] = set()

    def intercept(call, args, kwargs, context):
        module, path = context.module, context.module.path
        if context.method_name != "__call__" or not path or path in under_way:
            return call(*args, **kwargs)  # a module that shares its scope with another counts once
        under_way.add(path)
        out = call(*args, **kwargs)
        under_way.discard(path)
        one, *shape = jax.tree.leaves(out)[0].shape
        if len(path) == 1:
            shapes[path[0]] = tuple(shape)
        count = 0
        if module.has_variable("params", "kernel"):
            kernel = module.get_variable("params", "kernel")
            count = math.prod(kernel.shape) * math.prod((one, *shape[:-1]))  # or all tokens in one
        elif hasattr(module, "multiply_adds"):
            count = module.multiply_adds(*args)
        products[path[0]] = products.get(path[0], 0) + count
        return out

    with nn.intercept_methods(intercept):
        jax.eval_shape(functools.partial(model.apply, train=False), variables, images)
    return shapes, products


def _by(frozen: Mapping[str, Sequence[str]], stage: str) -> str:
    """Whether a stage is trained: "yes", "frozen" or the names of the phases that do."""
    training = [phase for phase, resting in frozen.items() if stage not in resting]
    if len(training) == len(frozen):
        return "yes" if frozen else ""
    return ", ".join(training) or "frozen"


def totals(network: Network) -> list[str]:
    """What all stages make together, in a line each."""
    parameters = sum(stage.parameters for stage in network.stages)
    flops = sum(stage.flops for stage in network.stages)
    size = 4 * (parameters + network.statistics) / 2**20
    kept = f", with {network.statistics:,} of BatchNorm" if network.statistics else ""
    lines = [f"parameters        {parameters:,} ({size:,.1f} MiB as float32{kept})"]
    of = ", ".join(
        f"{count:,}" + (f" in phase {name!r}" if len(network.trained) > 1 else "")
        for name, count in network.trained.items()
    )
    lines += [f"of them trained   {of}"] if of else []
    return [*lines, f"FLOPs an image    {short(flops)} (a product and its sum count two)"]


def shape_text(shape: Sequence[int]) -> str:
    """[h, w, c] -> "hxwxc"."""
    return "x".join(map(str, shape))


def short(count: int) -> str:
    """A count in three digits: 4.09 G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= 0.9995 * size:
            return f"{count / size:#.3g}".removesuffix(".") + f" {unit}"
    return str(count)


def _size(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
