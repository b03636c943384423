"""Trees of arrays: paths, rules over leaves, moving averages, finiteness."""

import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp


def path_name(path: tuple) -> str:
    """The '/'-joined name of a leaf's path: "conv_0/kernel"."""
    return "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)


def named_leaves(tree: Any) -> dict[str, Any]:
    """{"conv_0/kernel": leaf, …} in the tree's own order."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def by_rule(tree: Any, rules: Sequence[tuple[str, Any]]) -> Any:
    """Each leaf replaced by the value of the first rule whose pattern matches its whole path.

    Raises ValueError naming the leaf that no rule covers: a forgotten leaf is never silent.
    """

    def pick(path: tuple, _: Any) -> Any:
        name = path_name(path)
        for pattern, value in rules:
            if re.fullmatch(pattern, name):
                return value
        raise ValueError(f"no rule covers {name!r}; rules: {[pattern for pattern, _ in rules]}")

    return jax.tree_util.tree_map_with_path(pick, tree)


def moving_average(old: Any, new: Any, decay: jax.Array | float) -> Any:
    """decay·old + (1 - decay)·new for each leaf."""
    return jax.tree.map(lambda o, n: decay * o + (1 - decay) * n, old, new)


def all_finite(tree: Any) -> jax.Array:
    """Whether every floating-point leaf is finite (a scalar, computed on the device)."""
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return (
        jnp.all(jnp.stack([jnp.isfinite(x).all() for x in floats])) if floats else jnp.array(True)
    )
