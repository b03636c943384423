"""mixup, CutMix and what they need: partners from the whole batch and shares drawn by address."""

import jax
import jax.numpy as jnp

from lowlabel_jax.core import parallel


def addresses(*parts: jax.Array) -> list[jax.Array]:
    """Global ids of the examples of parts [b_i, …] that are mixed together: no two alike."""
    sizes = [parallel.global_size(len(part)) for part in parts]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [s + parallel.positions(len(p)) for s, p in zip(starts, parts, strict=True)]


def shuffled(key: jax.Array, *parts: jax.Array) -> list[jax.Array]:
    """A partner for each example of parts [b_i, …], from all of them and all devices.

    One permutation of the whole global batch: the same `key` gives partners of images and of their
    targets that belong together, on any number of devices.
    """
    pool = jnp.concatenate([parallel.gather(part) for part in parts])
    order = jax.random.permutation(key, len(pool))
    return [pool[order[places]] for places in addresses(*parts)]


def beta(key: jax.Array, alpha: jax.Array | float, places: jax.Array) -> jax.Array:
    """Shares [b] from Beta(alpha, alpha), one per global id [b]; for an alpha of 0 they are 1."""
    keys, some = parallel.example_keys(key, places), jnp.where(alpha > 0, alpha, 1.0)
    drawn = jax.vmap(lambda k: jax.random.beta(k, some, some))(keys)
    return jnp.where(alpha > 0, drawn, 1.0)


def mix(a: jax.Array, b: jax.Array, share: jax.Array) -> jax.Array:
    """share·a + (1 - share)·b for a, b [b, …], share [b]: mixup, arXiv:1710.09412."""
    share = share.reshape(-1, *[1] * (a.ndim - 1))
    return share * a + (1 - share) * b


def paste(
    key: jax.Array, a: jax.Array, b: jax.Array, share: jax.Array, places: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """CutMix, arXiv:1905.04899: images a [b, h, w, c] with a box of b, and the shares of a left.

    The box has 1 - share of the area before it is cut at the border; its centre is any pixel alike,
    by global id.
    """
    h, w = a.shape[1:3]
    keys = parallel.example_keys(key, places)
    centre = jax.vmap(lambda k: jax.random.randint(k, (2,), 0, jnp.array([h, w])))(keys)
    inside = _box(centre[:, 0], h, share)[:, :, None] & _box(centre[:, 1], w, share)[:, None, :]
    return jnp.where(inside[..., None], b, a), 1 - inside.mean((1, 2))


def _box(centre: jax.Array, side: int, share: jax.Array) -> jax.Array:
    """bool [b, side]: the pixels of one axis that lie in the box."""
    length = jnp.floor(side * jnp.sqrt(1 - share)).astype(jnp.int32)
    start = centre - length // 2
    place = jnp.arange(side)[None]
    return (place >= start[:, None]) & (place < (start + length)[:, None])
