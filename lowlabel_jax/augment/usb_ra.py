"""TorchSSL's and USB's RandAugment(3, 5), arXiv:2208.07204: three operations, always made.

It differs from FixMatch's own (`fixmatch_ra`): magnitudes are continuous (the 5 is not used by that
code), enhancements only darken or desaturate, and the square's size is drawn too.
"""

import jax
import jax.numpy as jnp
import numpy as np

from lowlabel_jax.augment import pillow_geometry, randaugment
from lowlabel_jax.augment.flip_shift import flip_shift
from lowlabel_jax.augment.recipe import Recipe
from lowlabel_jax.core.ranges import Count, Fraction, Natural, Probability

LEVELS = (np.arange(1024) + 0.5) / 1024  # as good as continuous
COLOUR = (125, 123, 114)  # the mean of ImageNet


def usb_ra(
    *,
    flip: bool = True,
    shift: Fraction = 0.125,
    count: Count = 3,
    probability: Probability = 1.0,
    cutout: Fraction = 0.5,
    fill: Natural = 0,
) -> Recipe:
    """(key, image uint8 [h, w, c]) -> uint8 [h, w, c]: flip and shift, 3 of 14 operations, cutout.

    flip, shift   the weak augmentation before it, as in `flip_shift`
    count         operations drawn, with replacement; each is made with `probability`
    cutout        largest side of the square, fraction of the width; it is drawn from 0 to this
    fill          the grey level beyond the edge, 0 to 255; the square is brownish, (125, 123, 114)
    """
    weak = flip_shift(flip=flip, shift=shift)

    def hole(key: jax.Array, image: jax.Array) -> jax.Array:
        # Steps of 1/256, so that the sums below are exact, whatever program they are compiled in.
        size, y, x = jax.random.randint(key, (3,), 0, 256) / 256
        return drawn_square(image, cutout * size, y, x)

    return randaugment.policy(
        weak, strength, LEVELS, count=count, probability=probability, fill=fill,
        cutout=hole if cutout else None,
    )  # fmt: skip


def drawn_square(image: jax.Array, size: jax.Array, y: jax.Array, x: jax.Array) -> jax.Array:
    """image [h, w, c] with a square of size times the width about the place y h, x w.

    As in TorchSSL the upper left corner is moved inside, with the square behind it, and the lower
    right one, cut off at the edge, is part of it (ImageDraw.rectangle).
    """
    h, w, _ = image.shape
    side = size * w
    top, left = (jnp.floor(jnp.maximum(0, place - side / 2)) for place in (y * h, x * w))
    below, beside = jnp.floor(top + side) + 1, jnp.floor(left + side) + 1
    painted = pillow_geometry.rectangle(image, top, left, below, beside, COLOUR)
    return jnp.where(size > 0, painted, image)


def strength(level: float, sign: int) -> dict[str, float]:
    """The magnitudes at a level from 0 to 1."""
    enhance = 0.05 + 0.9 * level
    return {
        "identity": 0,
        "autocontrast": 0,
        "equalize": 0,
        "rotate": sign * 30 * level,
        "solarize": 256 * level,
        "color": enhance,
        "posterize": int(4 + 4 * level),
        "contrast": enhance,
        "brightness": enhance,
        "sharpness": enhance,
        "shear_x": sign * 0.3 * level,
        "shear_y": sign * 0.3 * level,
        "translate_x": sign * 0.3 * level,
        "translate_y": sign * 0.3 * level,
    }
