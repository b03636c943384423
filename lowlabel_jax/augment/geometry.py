"""Moving pixels: small matrices composed into one, and ONE gather that follows the result.

Positions are (row, column) at pixel centres, in pixels from the image's centre, rows downwards: the
centre of pixel (i, j) of an [h, w, c] image lies at (i - (h - 1) / 2, j - (w - 1) / 2). A matrix
[3, 3] is the inverse map: it takes a position in the result to the position it is read from. The
functions are named after what the picture is seen to do.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

Scalar = jax.Array | float


def shift(down: Scalar, right: Scalar) -> jax.Array:
    """[3, 3]: the picture moves by so many pixels."""
    return _matrix(1.0, 0.0, 0.0, 1.0, -down, -right)


def rotate(degrees: Scalar) -> jax.Array:
    """[3, 3]: the picture turns counter-clockwise about its centre."""
    cos, sin = jnp.cos(jnp.deg2rad(degrees)), jnp.sin(jnp.deg2rad(degrees))
    return _matrix(cos, sin, -sin, cos)


def shear(degrees: Scalar) -> jax.Array:
    """[3, 3]: upright lines lean by so many degrees, their lower ends to the right."""
    return _matrix(1.0, 0.0, -jnp.tan(jnp.deg2rad(degrees)), 1.0)


def zoom(tall: Scalar, wide: Scalar) -> jax.Array:
    """[3, 3]: the picture grows by these factors; a factor of -1 mirrors it."""
    return _matrix(1.0 / tall, 0.0, 0.0, 1.0 / wide)


def compose(*matrices: jax.Array) -> jax.Array:
    """[3, 3]: what the matrices do one after the other, the first one first."""
    # Highest precision: a GPU would round the factors to 10 bits (TF32), some tenths of a pixel.
    return functools.reduce(functools.partial(jnp.matmul, precision="highest"), matrices)


def warp(
    image: jax.Array,
    matrix: jax.Array,
    fill: str = "nearest",
    value: Scalar = 0.0,
    interpolation: str = "bilinear",
) -> jax.Array:
    """image float32 [h, w, c] read where matrix [3, 3] says, [h, w, c]; fill as in `FILLS`.

    With "constant", `value` lies all around the image and is interpolated like any other pixel.
    """
    y, x = _sources(matrix, *image.shape[:2])
    tap = functools.partial(_tap, image, fill=fill, value=value)
    if interpolation == "nearest":
        return tap(_whole(y + 0.5), _whole(x + 0.5))
    top, left = _whole(y), _whole(x)
    below, beside = (y - top)[..., None], (x - left)[..., None]  # weights [h, w, 1], 0 to 1
    upper = (1 - beside) * tap(top, left) + beside * tap(top, left + 1)
    lower = (1 - beside) * tap(top + 1, left) + beside * tap(top + 1, left + 1)
    return (1 - below) * upper + below * lower


def flip(image: jax.Array, turned: jax.Array) -> jax.Array:
    """image [h, w, c], left and right exchanged where `turned` (a bool) is true."""
    return jnp.where(turned, image[:, ::-1], image)


def reflect_shift(image: jax.Array, down: Scalar, right: Scalar, turned: Scalar) -> jax.Array:
    """image [h, w, c], flipped if `turned`, then moved by whole pixels, its edges mirrored.

    Pixel for pixel a flip, a reflecting pad and a crop, as one gather.
    """
    h, w, _ = image.shape
    rows = mirrored(jnp.arange(h) - down, h)
    columns = mirrored(jnp.arange(w) - right, w)
    columns = jnp.where(turned, w - 1 - columns, columns)
    return _pick(image, rows[:, None], columns[None, :])


def clipped(index: jax.Array, size: int) -> jax.Array:
    """Indices outside 0..size-1 read the edge: a a a | a b c d | d d d."""
    return jnp.clip(index, 0, size - 1)


def mirrored(index: jax.Array, size: int) -> jax.Array:
    """Indices outside 0..size-1 read backwards, the edge once: d c b | a b c d | c b a."""
    period = max(2 * size - 2, 1)
    index = index % period
    return jnp.minimum(index, period - index) if size > 1 else index


def wrapped(index: jax.Array, size: int) -> jax.Array:
    """Indices outside 0..size-1 start again: b c d | a b c d | a b c."""
    return index % size


# What is seen beyond the edge. scipy.ndimage calls them nearest, mirror, grid-wrap, grid-constant;
# Keras' "reflect" repeats the edge pixel and this one does not (as numpy's and TensorFlow's).
FILLS: dict[str, Callable[[jax.Array, int], jax.Array]] = {
    "nearest": clipped,
    "reflect": mirrored,
    "wrap": wrapped,
    "constant": clipped,  # any pixel will do: `_tap` puts the value in its place
}
INTERPOLATIONS = ("bilinear", "nearest")


def _matrix(
    yy: Scalar, yx: Scalar, xy: Scalar, xx: Scalar, y: Scalar = 0.0, x: Scalar = 0.0
) -> jax.Array:
    return jnp.array([[yy, yx, y], [xy, xx, x], [0.0, 0.0, 1.0]], jnp.float32)


def _sources(matrix: jax.Array, h: int, w: int) -> tuple[jax.Array, jax.Array]:
    """The rows [h, w] and columns [h, w], from the top left pixel, that the result is read from."""
    middle, centre = (h - 1) / 2, (w - 1) / 2
    down = (jnp.arange(h) - middle)[:, None]
    right = (jnp.arange(w) - centre)[None, :]
    y = matrix[0, 0] * down + matrix[0, 1] * right + (matrix[0, 2] + middle)
    x = matrix[1, 0] * down + matrix[1, 1] * right + (matrix[1, 2] + centre)
    return y, x


def _whole(position: jax.Array) -> jax.Array:
    return jnp.floor(position).astype(jnp.int32)


def _tap(image: jax.Array, y: jax.Array, x: jax.Array, fill: str, value: Scalar) -> jax.Array:
    """The pixels [h, w, c] at rows y [h, w] and columns x [h, w], which may lie outside."""
    h, w, _ = image.shape
    found = _pick(image, FILLS[fill](y, h), FILLS[fill](x, w))
    if fill != "constant":
        return found
    inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
    return jnp.where(inside[..., None], found, value)


def _pick(image: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """image[rows, columns] as one gather of whole pixels; every index must be inside."""
    h, w, c = image.shape
    return image.reshape(h * w, c).at[rows * w + columns].get(mode="promise_in_bounds")
