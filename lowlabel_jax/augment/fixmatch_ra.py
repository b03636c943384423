"""FixMatch's strong augmentation as its authors ran it, arXiv:2001.07685 sections 2.3 and D.

What google-research/fixmatch trains with (`rac`). The paper's own table, and PyTorch ports after
it, differ: enhancements from 0.05 to 0.95 only darken, posterize keeps 4 to 8 bits, translations go
to 0.3 of the side, black is seen beyond the edge.
"""

import functools

import numpy as np

from lowlabel_jax.augment import randaugment
from lowlabel_jax.augment.flip_shift import flip_shift
from lowlabel_jax.augment.recipe import Recipe
from lowlabel_jax.core.ranges import Count, Fraction, Natural, Probability

LEVELS = np.arange(1, 10) / 10


def fixmatch_ra(
    *,
    flip: bool = True,
    shift: Fraction = 0.125,
    count: Count = 2,
    probability: Probability = 0.5,
    cutout: Fraction = 0.5,
    fill: Natural = 127,
) -> Recipe:
    """(key, image uint8 [h, w, c]) -> uint8 [h, w, c]: flip and shift, 2 of 14 operations, cutout.

    flip, shift   the weak augmentation before it, as in `flip_shift`
    count         operations drawn, with replacement; each is made with `probability`, at a level
                  of 0.1, 0.2 … 0.9
    cutout        side of the square that is always filled, fraction of the shorter side (16 of 32)
    fill          the grey level in that square and beyond the edge, 0 to 255. (The authors' code
                  shows black beyond an edge where some colour operations follow; here it stays.)
    """
    hole = functools.partial(randaugment.square, size=cutout, colour=(fill,) * 3)
    weak = flip_shift(flip=flip, shift=shift)
    return randaugment.policy(
        weak,
        strength,
        LEVELS,
        count=count,
        probability=probability,
        fill=fill,
        cutout=hole if cutout else None,
    )


def strength(level: float, sign: int) -> dict[str, float]:
    """The magnitudes at a level from 0 to 1; a translation of 10 pixels was one of 32x32 images."""
    enhance = 0.1 + 1.8 * level
    return {
        "identity": 0,
        "autocontrast": 0,
        "equalize": 0,
        "rotate": sign * 30 * level,
        "solarize": 256 - int(256 * level),
        "color": enhance,
        "posterize": 4 - int(4 * level),
        "contrast": enhance,
        "brightness": enhance,
        "sharpness": enhance,
        "shear_x": sign * 0.3 * level,
        "shear_y": sign * 0.3 * level,
        "translate_x": sign * 10 / 32 * level,
        "translate_y": sign * 10 / 32 * level,
    }
