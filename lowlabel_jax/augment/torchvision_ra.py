"""torchvision's RandAugment() with its defaults, arXiv:1909.13719: no cutout, one fixed magnitude.

Translations are rounded to whole pixels, where torchvision cuts off; at 32x32 both are 4 pixels.
"""

import numpy as np

from lowlabel_jax.augment import randaugment
from lowlabel_jax.augment.flip_shift import flip_shift
from lowlabel_jax.augment.recipe import Recipe
from lowlabel_jax.core.ranges import Count, Fraction, Natural, Probability


def torchvision_ra(
    *,
    flip: bool = True,
    shift: Fraction = 0.125,
    count: Count = 2,
    probability: Probability = 1.0,
    magnitude: Fraction = 0.3,
    fill: Natural = 0,
) -> Recipe:
    """(key, image uint8 [h, w, c]) -> uint8 [h, w, c]: flip and shift, then 2 of 14 operations.

    flip, shift   the weak augmentation before it, as in `flip_shift`
    count         operations drawn, with replacement; each is made with `probability`
    magnitude     the level of all operations: torchvision's 9 is 0.3, the tenth of 31 bins
    fill          the grey level beyond the edge, 0 to 255
    """
    weak = flip_shift(flip=flip, shift=shift)
    levels = np.array([magnitude])
    chances = {"count": count, "probability": probability}
    return randaugment.policy(weak, strength, levels, **chances, fill=fill)


def strength(level: float, sign: int) -> dict[str, float]:
    """The magnitudes at a level from 0 to 1 (the first and the last of torchvision's bins)."""
    enhance = 1 + sign * 0.9 * level
    return {
        "identity": 0,
        "shear_x": sign * 0.3 * level,
        "shear_y": sign * 0.3 * level,
        "translate_x": sign * 150 / 331 * level,
        "translate_y": sign * 150 / 331 * level,
        "rotate": sign * 30 * level,
        "brightness": enhance,
        "color": enhance,
        "contrast": enhance,
        "sharpness": enhance,
        "posterize": 8 - round(4 * level),
        "solarize": 255 - 255 * level,
        "autocontrast": 0,
        "equalize": 0,
    }
