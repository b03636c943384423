"""What denoising takes away from an image: (key, image float32 [h, w, c] in [0, 1]) -> likewise."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Corrupt = Callable[[jax.Array, jax.Array], jax.Array]


def gaussian(strength: float) -> Corrupt:
    """Normal noise of this standard deviation on every value, clipped to [0, 1]."""

    def corrupt(key: jax.Array, image: jax.Array) -> jax.Array:
        return jnp.clip(image + strength * jax.random.normal(key, image.shape), 0, 1)

    return corrupt


def salt_and_pepper(strength: float) -> Corrupt:
    """This share of the pixels becomes black or white, either as often."""

    def corrupt(key: jax.Array, image: jax.Array) -> jax.Array:
        draw = jax.random.uniform(key, (*image.shape[:2], 1))
        grain = (draw < strength / 2).astype(image.dtype)
        return jnp.where(draw < strength, grain, image)

    return corrupt


def masking(strength: float) -> Corrupt:
    """This share of the pixels becomes 0 in all channels (Vincent et al. 2008)."""

    def corrupt(key: jax.Array, image: jax.Array) -> jax.Array:
        return jnp.where(jax.random.uniform(key, (*image.shape[:2], 1)) < strength, 0, image)

    return corrupt


KINDS = {"gaussian": gaussian, "salt_and_pepper": salt_and_pepper, "masking": masking}
