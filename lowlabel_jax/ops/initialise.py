"""First weights, drawn with numpy: compiling a model's own init takes longer than its training step
(WRN-28-2: 10.4 s against 0.3 s this way)."""

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lowlabel_jax.core import tree

Shape = tuple[int, ...]
Rules = Sequence[tuple[str, Callable[[np.random.Generator, Shape], np.ndarray]]]


def initialise(model: nn.Module, image_shape: Shape, seed: int) -> dict[str, Any]:
    """The variables of a model for images [h, w, c], as numpy arrays.

    Every leaf is drawn from a stream of its own, made of seed and path: adding a layer changes no
    other layer's weights. A model's `rules`, where it has any, come before RULES.
    Raises ValueError naming a leaf that no rule covers.
    """
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    shapes = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
    return fill(shapes, seed, getattr(model, "rules", ()))


def feature_size(model: nn.Module, image_shape: Shape) -> int:
    """How long the vector is that the model's last layer sees."""
    return endpoints(model, image_shape)["features"].shape[-1]


def endpoints(model: nn.Module, image_shape: Shape) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of the model's endpoints for one image [h, w, c], by name."""
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    (_, ends), _ = jax.eval_shape(init, jax.random.key(0), images)
    return ends


def fill(shapes: Any, seed: int, rules: Rules = ()) -> Any:
    """A tree of arrays for a tree of shapes, by the first of `rules`, then RULES, that fits."""

    def draw(path: tuple, leaf: Any, rule: Any) -> np.ndarray:
        name = tree.path_name(path)
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"{name!r} is {leaf.dtype}: only floating-point leaves can be drawn.")
        return rule(_generator(seed, name), leaf.shape).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes, tree.by_rule(shapes, (*rules, *RULES)))


def he_normal(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """N(0, 2 / fan_in), not truncated: keeps the variance of activations through ReLUs."""
    return rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[:-1])))


def he_normal_out(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """N(0, 2 / fan_out), not truncated: keeps the variance of gradients; the Wide ResNets'."""
    fan_out = np.prod(shape[:-2]) * shape[-1]
    return rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / fan_out))


def glorot_normal(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """N(0, 2 / (fan_in + fan_out)), not truncated: FixMatch's last layer."""
    variance = 2 / (np.prod(shape[:-1]) + shape[-1])
    return rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(variance))


def glorot_uniform(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Evenly within sqrt(6 / (fan_in + fan_out)): what Keras' layers begin with."""
    window = np.prod(shape[:-2])
    limit = np.sqrt(6 / (window * (shape[-2] + shape[-1])))
    return rng.uniform(-limit, limit, shape).astype(np.float32)


def zeros(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """All 0."""
    return np.zeros(shape, np.float32)


def ones(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """All 1."""
    return np.ones(shape, np.float32)


def _generator(seed: int, name: str) -> np.random.Generator:
    """A stream per seed and path. Not Python's hash(), which differs from process to process."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


RULES = (  # the first that fits a leaf's whole path
    (r"params/(.*/)?head/kernel", glorot_normal),
    (r"params/(.*/)?kernel", he_normal),
    (r"params/(.*/)?bias", zeros),
    (r"params/(.*/)?scale", ones),
    (r"batch_stats/(.*/)?mean", zeros),
    (r"batch_stats/(.*/)?var", ones),
)
