"""FixMatch's weak augmentation, arXiv:2001.07685 section 2.3: flip, then shift."""

import jax
import jax.numpy as jnp

from lowlabel_jax.augment import geometry
from lowlabel_jax.augment.recipe import Recipe
from lowlabel_jax.core.ranges import Fraction


def flip_shift(*, flip: bool = True, shift: Fraction = 0.125) -> Recipe:
    """(key, image uint8 [h, w, c]) -> uint8 [h, w, c]: flipped half of the time, moved, mirrored.

    Moved by whole pixels, up to `shift` of each side and every step alike: 4 pixels of 32, 12 of
    96 as in the paper. Digits and text want flip=False (so has the paper for SVHN).
    """

    def draw(key: jax.Array, image: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array | bool]:
        key_flip, key_shift = jax.random.split(key)
        most = jnp.array([round(shift * side) for side in image.shape[:2]])
        down, right = jax.random.randint(key_shift, (2,), -most, most + 1)
        return down, right, jax.random.bernoulli(key_flip) if flip else False

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        return geometry.reflect_shift(image, *draw(key, image))

    def describe(key: jax.Array, image: jax.Array) -> list[str]:
        down, right, turned = (int(x) for x in draw(key, image))
        moved = [f"shift {down} {right}"] if down or right else []
        return ["flip"] * turned + moved

    return Recipe(augment, describe)
