"""Pillow's moves with its NEAREST pixel, equal to Pillow 13.0: uint8 [h, w, c] in and out.

Pillow reads the pixel in which a position lies, the position counted from the image's top left
corner in 16 bits after the point; so do these, in integers. What is seen from outside is `fill`, a
grey level (Pillow's own is 0).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from lowlabel_jax.augment.pillow_colour import LUMA, ONE

Scalar = jax.Array | float
STEPS = 32  # a degree, in the steps that angles are rounded to


def rotate(image: jax.Array, degrees: Scalar, fill: int = 0) -> jax.Array:
    """Turned counter-clockwise about the centre, by -180 to 180 degrees. Image.rotate.

    By the nearest 32nd of a degree, 0.01 pixels at the edge of 64x64: so Pillow's float64 sines
    are looked up, where float32 ones would lead to other pixels now and then.
    """
    step = jnp.round(jnp.asarray(degrees) * STEPS).astype(jnp.int32) + 180 * STEPS
    cos, sin, right, down = jnp.asarray(_turns(*image.shape[:2]))[step]
    rows, columns = _grid(image)
    return _read(
        image,
        (cos * rows - sin * columns + down) >> 16,
        (sin * rows + cos * columns + right) >> 16,
        fill,
    )


def shear_x(image: jax.Array, slope: Scalar, fill: int = 0) -> jax.Array:
    """Read `slope` pixels further right for each row from the top. Image.transform, AFFINE."""
    rows, columns = _grid(image)
    start = ONE // 2 + _half_up(jnp.asarray(slope) * (ONE // 2))
    along = (ONE * columns + _half_up(jnp.asarray(slope) * ONE) * rows + start) >> 16
    return _read(image, rows, along, fill)


def shear_y(image: jax.Array, slope: Scalar, fill: int = 0) -> jax.Array:
    """Read `slope` pixels further down for each column from the left. Image.transform, AFFINE."""
    rows, columns = _grid(image)
    start = ONE // 2 + _half_up(jnp.asarray(slope) * (ONE // 2))
    along = (ONE * rows + _half_up(jnp.asarray(slope) * ONE) * columns + start) >> 16
    return _read(image, along, columns, fill)


def translate_x(image: jax.Array, fraction: Scalar, fill: int = 0) -> jax.Array:
    """Read a fraction of the width further right, in whole pixels. Image.transform, AFFINE."""
    rows, columns = _grid(image)
    return _read(image, rows, columns + _half_up(fraction * image.shape[1]), fill)


def translate_y(image: jax.Array, fraction: Scalar, fill: int = 0) -> jax.Array:
    """Read a fraction of the height further down, in whole pixels. Image.transform, AFFINE."""
    rows, columns = _grid(image)
    return _read(image, rows + _half_up(fraction * image.shape[0]), columns, fill)


def rectangle(
    image: jax.Array, top: Scalar, left: Scalar, below: Scalar, beside: Scalar, colour: tuple
) -> jax.Array:
    """Rows top to below - 1 and columns left to beside - 1 filled with an RGB colour, or its luma.

    ImageDraw.rectangle, whose corners are (left, top) and (beside - 1, below - 1).
    """
    h, w, c = image.shape
    # As [h, w·c]: on three axes, the last one of length 3, the CPU takes longer (see colour.py).
    rows, columns = jnp.arange(h)[:, None], jnp.arange(w * c)[None, :] // c
    inside = (rows >= top) & (rows < below) & (columns >= left) & (columns < beside)
    luma = round(np.dot(LUMA, colour) / ONE)
    paint = np.tile(np.array(colour if c == 3 else (luma,), np.uint8), w)[None, :]
    return jnp.where(inside, paint, image.reshape(h, w * c)).reshape(h, w, c)


@functools.cache
def _turns(h: int, w: int) -> np.ndarray:
    """[n, 4] int32 for each step of an angle: cosine, sine, and where the first pixel is read."""
    angle = -np.radians(np.arange(-180 * STEPS, 180 * STEPS + 1) / STEPS)
    cos, sin = np.cos(angle).round(15), np.sin(angle).round(15)
    right = (cos * (-w / 2) + sin * (-h / 2)) + w / 2 + cos * 0.5 + sin * 0.5
    down = (-sin * (-w / 2) + cos * (-h / 2)) + h / 2 - sin * 0.5 + cos * 0.5
    whole = np.floor(np.stack([cos, sin, right, down], -1) * ONE + 0.5)
    return whole.astype(np.int32)


def _grid(image: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.arange(image.shape[0])[:, None], jnp.arange(image.shape[1])[None, :]


def _half_up(value: Scalar) -> jax.Array:
    """The nearest whole number, halves upwards: floor(value + 0.5) without the sum's rounding."""
    floor = jnp.floor(value)
    return floor.astype(jnp.int32) + (value - floor >= 0.5)


def _read(image: jax.Array, rows: jax.Array, columns: jax.Array, fill: int) -> jax.Array:
    """The pixels at rows [h, w] and columns [h, w] (or ones that broadcast), `fill` outside."""
    h, w, c = image.shape
    inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
    places = jnp.clip(rows, 0, h - 1) * w + jnp.clip(columns, 0, w - 1)
    found = image.reshape(h * w, c).at[places].get(mode="promise_in_bounds")
    return jnp.where(inside[..., None], found, jnp.uint8(fill))
