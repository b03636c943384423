"""Where an image goes: flip, zoom, shear, rotation and shift, drawn evenly and made as one warp."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lowlabel_jax.augment import geometry
from lowlabel_jax.core.errors import UserError, nearest
from lowlabel_jax.core.ranges import on, traced


class Reach(NamedTuple):
    """How far an image goes at most. A traced strength is always computed, at 0 too."""

    flip: bool = False  # left and right exchanged, half of the time
    zoom: geometry.Scalar = 0.0  # factor from 1 - zoom to 1 + zoom, each axis by itself
    shear: geometry.Scalar = 0.0  # degrees
    rotate: geometry.Scalar = 0.0  # degrees
    shift: geometry.Scalar = 0.0  # fraction of the side, each axis by itself


class Draw(NamedTuple):
    """What is drawn for one image, each number evenly in [-1, 1)."""

    flip: jax.Array
    down: jax.Array
    right: jax.Array
    rotate: jax.Array
    shear: jax.Array
    tall: jax.Array
    wide: jax.Array


def moved(
    x: jax.Array,
    draw: Draw,
    reach: Reach,
    fill: str,
    value: geometry.Scalar = 0.0,
    interpolation: str = "bilinear",
) -> jax.Array:
    """x float32 [h, w, c] -> the same, moved; with a reach of nothing it is x itself."""
    if any(map(on, reach[1:])):  # the flip goes along: by itself, before a gather, it costs 7 us
        return geometry.warp(x, composed(draw, reach, *x.shape[:2]), fill, value, interpolation)
    return geometry.flip(x, draw.flip < 0) if reach.flip else x


def composed(draw: Draw, reach: Reach, h: int, w: int) -> jax.Array:
    """[3, 3] for `geometry.warp`: all that moves the pixels of an image [h, w, c], at once."""
    flip, zoom, shear, rotate, shift = reach
    side = jnp.where(draw.flip < 0, -1.0, 1.0) if flip else 1.0
    return geometry.compose(
        geometry.zoom(1 + zoom * draw.tall, side * (1 + zoom * draw.wide)),
        geometry.shear(shear * draw.shear),
        geometry.rotate(rotate * draw.rotate),
        geometry.shift(shift * h * draw.down, shift * w * draw.right),
    )


def words(draw: Draw, reach: Reach, h: int, w: int) -> dict[str, Any]:
    """For `recipe.worded`: what is done to an image [h, w, c], and whether it is."""
    flip, zoom, shear, rotate, shift = reach
    return {
        "flip": flip and draw.flip < 0,
        f"zoom {1 + zoom * draw.tall:.2f} {1 + zoom * draw.wide:.2f}": zoom,
        f"shear {shear * draw.shear:.1f}": shear,
        f"rotate {rotate * draw.rotate:.1f}": rotate,
        f"shift {shift * h * draw.down:.1f} {shift * w * draw.right:.1f}": shift,
    }


def check(reach: Reach, fill: str, interpolation: str = "bilinear") -> None:
    """Raise UserError for an unknown fill or interpolation, or a shear of 90 degrees or more."""
    choices = {
        "fill": (fill, tuple(geometry.FILLS)),
        "interpolation": (interpolation, geometry.INTERPOLATIONS),
    }
    for option, (given, known) in choices.items():
        if given not in known:
            there = f"There are: {', '.join(known)}."
            raise UserError(
                f"augment: no {option} called {given!r}.{nearest(given, known)} {there}"
            )
    if not traced(reach.shear) and reach.shear >= 90:
        raise UserError(f"augment: shear = {reach.shear} must be below 90 degrees.")
