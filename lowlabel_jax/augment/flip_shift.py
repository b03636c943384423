"""FixMatch's weak augmentation, arXiv:2001.07685 section 2.3: flip, then shift."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lowlabel_jax.augment import geometry
from lowlabel_jax.core.ranges import Fraction


def flip_shift(
    *, flip: bool = True, shift: Fraction = 0.125
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """(key, image uint8 [h, w, c]) -> uint8 [h, w, c]: flipped half of the time, moved, mirrored.

    Moved by whole pixels, up to `shift` of each side and every step alike: 4 pixels of 32, 12 of
    96 as in the paper. Digits and text want flip=False (so has the paper for SVHN).
    """

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        key_flip, key_shift = jax.random.split(key)
        most = jnp.array([round(shift * side) for side in image.shape[:2]])
        down, right = jax.random.randint(key_shift, (2,), -most, most + 1)
        turned = jax.random.bernoulli(key_flip) if flip else False
        return geometry.reflect_shift(image, down, right, turned)

    return augment
