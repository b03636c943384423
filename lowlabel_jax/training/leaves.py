"""A state as arrays by name, as checkpoints hold it, and back."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lowlabel_jax.core import tree


def arrays(state: Any) -> dict[str, np.ndarray]:
    """The state's leaves by name, on the host. A typed key travels as its numbers."""
    leaves = tree.named_leaves(state)
    plain = {name: jax.random.key_data(x) if _is_key(x) else x for name, x in leaves.items()}
    return {name: np.asarray(x) for name, x in jax.device_get(plain).items() if x.size}


def state(arrays: Mapping[str, np.ndarray], like: Any) -> Any:
    """The state of `like`'s form that has these arrays for leaves."""

    def leaf(name: str, x: Any) -> Any:
        if not x.size:  # orbax stores no empty arrays: they have nothing to remember
            return x
        return jax.random.wrap_key_data(jnp.asarray(arrays[name])) if _is_key(x) else arrays[name]

    found = [leaf(name, x) for name, x in tree.named_leaves(like).items()]
    return jax.tree.unflatten(jax.tree.structure(like), found)


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def differences(there: Mapping[str, Any], wanted: Mapping[str, np.ndarray]) -> Iterator[str]:
    """What keeps a checkpoint's arrays from being the wanted ones, a line each."""
    for name in sorted(wanted.keys() - there.keys()):
        yield f"missing {name}"
    for name in sorted(there.keys() - wanted.keys()):
        yield f"unexpected {name}"
    for name in sorted(wanted.keys() & there.keys()):
        old, new = _form(there[name]), _form(wanted[name])
        if old != new:  # orbax would cast another dtype in silence
            yield f"{name} is {old}, this run needs {new}"


def _form(array: Any) -> str:
    return f"{np.dtype(array.dtype).name}{list(array.shape)}"
