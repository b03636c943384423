"""Pillow's enlargement of an image's middle, equal to Pillow 13.0: uint8 [h, w, c] in and out.

Weights in 22 bits after the point, rounded to grey levels after each axis: Image.resize.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

BITS = 22
TAPS = 6  # pixels that the widest filter, Lanczos, reads
LARGEST = 0.25  # of the side that may be cut off at each end


def rescale(image: jax.Array, cut: jax.Array | float, method: jax.Array | int) -> jax.Array:
    """The image without a fraction `cut` (to 0.25) at each end of its sides, as large as before.

    method: number of a filter in `FILTERS`. Image.crop, then Image.resize.
    """
    h, w, _ = image.shape
    wide = _along(image, *_taps_of(w, cut, method))
    tall = _along(wide.swapaxes(0, 1), *_taps_of(h, cut, method))
    return tall.swapaxes(0, 1)


def _taps_of(
    side: int, cut: jax.Array | float, method: jax.Array | int
) -> tuple[jax.Array, jax.Array]:
    """First pixel [side] and weights [side, t] for the whole pixels nearest to the cut."""
    pixels = jnp.round(jnp.asarray(cut) * side).astype(jnp.int32)
    starts, weights = (jnp.asarray(table) for table in _taps(side))
    return starts[pixels, method], weights[pixels, method]


def _along(image: jax.Array, starts: jax.Array, weights: jax.Array) -> jax.Array:
    """image [h, w, c] with its columns weighed together, as Pillow does to one axis."""
    last = image.shape[1] - 1
    total = jnp.int32(1 << (BITS - 1))
    for tap in range(TAPS):
        columns = image[:, jnp.minimum(starts + tap, last)].astype(jnp.int32)
        total = total + weights[None, :, tap, None] * columns
    return jnp.clip(total >> BITS, 0, 255).astype(jnp.uint8)


@functools.cache
def _taps(side: int) -> tuple[np.ndarray, np.ndarray]:
    """By pixels cut off and filter: first pixel [p, f, side], weights [p, f, side, t], int32."""
    most = round(LARGEST * side) + 1
    every = [[_filtered(side, cut, *f) for f in FILTERS] for cut in range(most)]
    starts, weights = ([[each[i] for each in row] for row in every] for i in (0, 1))
    return np.array(starts, np.int32), np.array(weights, np.int32)


def _filtered(
    side: int, cut: int, reach: float, weigh: Callable | None
) -> tuple[np.ndarray, np.ndarray]:
    """First pixel [side] and whole weights [side, t] that enlarge side - 2 cut pixels to side."""
    middle = side - 2 * cut
    if weigh is None:  # NEAREST adds up steps, with float64's errors
        first = np.cumsum([middle / side / 2] + [middle / side] * (side - 1)).astype(int)
        return first + cut, np.eye(1, TAPS, dtype=int).repeat(side, 0) << BITS
    centre = (np.arange(side) + 0.5) * (middle / side)
    first = np.maximum((centre - reach + 0.5).astype(int), 0)
    behind = np.minimum((centre + reach + 0.5).astype(int), middle)
    place = first[:, None] + np.arange(TAPS)
    exact = weigh(place - centre[:, None] + 0.5) * (place < behind[:, None])
    exact = exact / exact.sum(1, keepdims=True) * (1 << BITS)
    return first + cut, (exact + np.copysign(0.5, exact)).astype(int)


def _lanczos(x: np.ndarray) -> np.ndarray:
    return np.where(abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


def _bicubic(x: np.ndarray) -> np.ndarray:
    x = abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _bilinear(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - abs(x), 0)


def _box(x: np.ndarray) -> np.ndarray:
    return np.where((x > -0.5) & (x <= 0.5), 1.0, 0)


def _hamming(x: np.ndarray) -> np.ndarray:
    return np.where(abs(x) < 1, np.sinc(x) * (0.54 + 0.46 * np.cos(np.pi * x)), 0)


# Pixels read to each side and weight by distance; NEAREST reads one pixel, found by its own steps.
FILTERS = ((3.0, _lanczos), (2.0, _bicubic), (1.0, _bilinear), (0.5, _box), (1.0, _hamming),
           (0.0, None))  # fmt: skip
NAMES = ("LANCZOS", "BICUBIC", "BILINEAR", "BOX", "HAMMING", "NEAREST")
