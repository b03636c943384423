"""CTAugment's 19 operations and their magnitudes, as in FixMatch's code (arXiv:2001.07685, D).

But for its translations: they went to 0.3 of a pixel there, which moves nothing, and go to 0.3 of
the side here.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lowlabel_jax.augment import pillow_colour, pillow_geometry, pillow_resize

BINS = 17  # that most magnitudes are cut into
STEPS = 64  # places inside a bin, as good as anywhere in it
GREY = (127, 127, 127)


class Layer(NamedTuple):
    """One operation as it is made: magnitude, rescale's filter, the place of cutout, 0 to 1."""

    magnitude: jax.Array
    method: jax.Array
    y: jax.Array
    x: jax.Array


Operation = Callable[[jax.Array, Layer], jax.Array]  # uint8 [h, w, c] -> the same

# name -> (bins, magnitude at a level from 0 to 1), computed on the host.
MAGNITUDES: dict[str, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {
    "autocontrast": (BINS, lambda level: level),
    "blur": (BINS, lambda level: level),
    "brightness": (BINS, lambda level: 0.1 + 1.9 * level),
    "color": (BINS, lambda level: 0.1 + 1.9 * level),
    "contrast": (BINS, lambda level: 0.1 + 1.9 * level),
    "cutout": (BINS, lambda level: level),
    "equalize": (BINS, lambda level: level),
    "identity": (BINS, np.zeros_like),
    "invert": (BINS, lambda level: level),
    "posterize": (8, lambda level: 1 + np.floor(7.999 * level)),
    "rescale": (BINS, lambda level: 0.25 * level),
    "rotate": (BINS, lambda level: np.round((2 * level - 1) * 45)),
    "sharpness": (BINS, lambda level: 0.1 + 1.9 * level),
    "shear_x": (BINS, lambda level: (2 * level - 1) * 0.3),
    "shear_y": (BINS, lambda level: (2 * level - 1) * 0.3),
    "smooth": (BINS, lambda level: level),
    "solarize": (BINS, lambda level: np.floor(255.999 * level)),
    "translate_x": (BINS, lambda level: (2 * level - 1) * 0.3),
    "translate_y": (BINS, lambda level: (2 * level - 1) * 0.3),
}
NAMES = tuple(MAGNITUDES)


def operations(fill: int) -> list[Operation]:
    """The operations in the order of `NAMES`; moves show the grey level `fill` beyond the edge."""
    mixed = {
        "autocontrast": pillow_colour.autocontrast,
        "blur": pillow_colour.blurred,
        "equalize": pillow_colour.equalize,
        "invert": pillow_colour.inverted,
        "smooth": pillow_colour.smoothed,
    }
    known: dict[str, Operation] = {
        "identity": lambda image, layer: image,
        "cutout": cutout,
        "rescale": lambda image, layer: pillow_resize.rescale(image, layer.magnitude, layer.method),
    }
    for name, change in mixed.items():
        known[name] = functools.partial(_mixed, change)
    for name in NAMES:
        if change := getattr(pillow_geometry, name, None):
            known[name] = functools.partial(_plain, functools.partial(change, fill=fill))
        elif name not in known:
            known[name] = functools.partial(_plain, getattr(pillow_colour, name))
    return [known[name] for name in NAMES]


def cutout(image: jax.Array, layer: Layer) -> jax.Array:
    """A grey square of at most half the shorter side about any pixel, its part inside the image."""
    h, w, _ = image.shape
    half = (1 + jnp.floor(layer.magnitude * (min(h, w) * 0.499)).astype(jnp.int32)) // 2
    y, x = (jnp.floor(place).astype(jnp.int32) for place in (layer.y * h, layer.x * w))
    return pillow_geometry.rectangle(image, y - half, x - half, y + half, x + half, GREY)


@functools.cache
def table() -> np.ndarray:
    """[operations, bins, steps] float32: the magnitudes that there are."""
    found = np.zeros((len(NAMES), BINS, STEPS), np.float32)
    inside = (np.arange(STEPS) + 0.5) / STEPS
    for row, (bins, magnitude) in zip(found, MAGNITUDES.values(), strict=True):
        row[:bins] = magnitude((np.arange(bins)[:, None] + inside) / bins)
    return found


def worded(number: int, magnitude: float, method: int) -> str:
    """One operation for a reader, "rotate -12"; "" for none at all."""
    name = NAMES[number]
    words = "" if name == "identity" else f"{name} {magnitude:.3g}"
    return f"{words} {pillow_resize.NAMES[method]}" if name == "rescale" else words


def _plain(change: Callable, image: jax.Array, layer: Layer) -> jax.Array:
    return change(image, layer.magnitude)


def _mixed(change: Callable, image: jax.Array, layer: Layer) -> jax.Array:
    return pillow_colour.blend(image, change(image), layer.magnitude)
