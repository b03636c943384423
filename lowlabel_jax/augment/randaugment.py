"""RandAugment's machinery, arXiv:1909.13719: operations and magnitudes drawn by key, one by one."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lowlabel_jax.augment import pillow_colour, pillow_geometry
from lowlabel_jax.augment.recipe import Recipe

Operation = Callable[[jax.Array, jax.Array], jax.Array]  # (uint8 [h, w, c], magnitude) -> the same
Strength = Callable[[float, int], Mapping[str, float]]  # (level 0..1, sign -1 or 1) -> magnitudes
Hole = Callable[[jax.Array, jax.Array], jax.Array]  # (key, uint8 [h, w, c]) -> the same
SILENT = ("identity", "autocontrast", "equalize")  # they have no magnitude


def operations(fill: int) -> dict[str, Operation]:
    """The 14 operations by name; geometric ones show the grey level `fill` beyond the edge."""
    moves = (pillow_geometry.rotate, pillow_geometry.shear_x, pillow_geometry.shear_y,
             pillow_geometry.translate_x, pillow_geometry.translate_y)  # fmt: skip
    colours = (pillow_colour.solarize, pillow_colour.posterize, pillow_colour.brightness,
               pillow_colour.contrast, pillow_colour.color, pillow_colour.sharpness)  # fmt: skip
    return {
        "identity": lambda image, magnitude: image,
        "autocontrast": lambda image, magnitude: pillow_colour.autocontrast(image),
        "equalize": lambda image, magnitude: pillow_colour.equalize(image),
        **{colour.__name__: colour for colour in colours},
        **{move.__name__: functools.partial(move, fill=fill) for move in moves},
    }


class Drawn(NamedTuple):
    """What is done to one image, layer by layer: numbers [n] of operations, magnitudes [n]."""

    number: jax.Array
    magnitude: jax.Array


def policy(
    weak: Recipe,
    strength: Strength,
    levels: np.ndarray,
    *,
    count: int,
    probability: float = 1.0,
    fill: int = 0,
    cutout: Hole | None = None,
) -> Recipe:
    """The recipe: `weak`, then `count` operations drawn with replacement, then `cutout`.

    strength's names are what is drawn from, all alike; each operation is made with `probability`,
    at one of the levels [l], all alike, its sign plus or minus. Magnitudes are computed here, on
    the host, once: the same numbers on every device.
    """
    names = tuple(strength(0.5, 1))
    known = operations(fill)
    branches = [known[name] for name in names]
    table = np.array([[list(strength(level, sign).values()) for level in levels]
                      for sign in (-1, 1)], np.float32)  # [2, l, operations]  # fmt: skip

    def draw(key: jax.Array) -> Drawn:
        which, level, sign, made = jax.random.uniform(key, (4, count))
        number = jnp.floor(which * len(names)).astype(jnp.int32)
        place = jnp.floor(level * len(levels)).astype(jnp.int32)
        magnitude = jnp.asarray(table)[(sign < 0.5).astype(jnp.int32), place, number]
        return Drawn(jnp.where(made < probability, number, names.index("identity")), magnitude)

    def apply(key: jax.Array, image: jax.Array) -> jax.Array:
        key_weak, key_draw, key_hole = jax.random.split(key, 3)
        image = weak(key_weak, image)
        drawn = draw(key_draw)
        image, _ = lax.scan(
            lambda image, layer: (lax.switch(layer.number, branches, image, layer.magnitude), None),
            image,
            drawn,
        )
        return cutout(key_hole, image) if cutout else image

    def describe(key: jax.Array, image: jax.Array) -> list[str]:
        key_weak, key_draw, _ = jax.random.split(key, 3)
        drawn = zip(*(x.tolist() for x in draw(key_draw)), strict=True)
        made = [worded(names[number], magnitude) for number, magnitude in drawn]
        return [*weak.describe(key_weak, image), *filter(None, made), *["cutout"][: bool(cutout)]]

    return Recipe(apply, describe, branches=True)


def worded(name: str, magnitude: float) -> str:
    """One operation for a reader, "rotate -12"; "" for none at all."""
    if name in SILENT:
        return "" if name == "identity" else name
    return f"{name} {magnitude:.3g}"


def square(key: jax.Array, image: jax.Array, size: float, colour: tuple[int, ...]) -> jax.Array:
    """image [h, w, c] with a square of `size` times its shorter side in an RGB colour.

    Its centre is any pixel alike, so that it may reach over the edge and lose a part.
    """
    h, w, _ = image.shape
    side = max(1, round(size * min(h, w)))
    top, left = jax.random.randint(key, (2,), 0, jnp.array([h, w])) - side // 2
    return pillow_geometry.rectangle(image, top, left, top + side, left + side, colour)
