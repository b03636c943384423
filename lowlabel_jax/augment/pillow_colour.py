"""Pillow's colour operations, equal to Pillow 13.0 pixel for pixel: uint8 [h, w, c] in and out.

c is 3 (Pillow's mode RGB) or 1 (mode L). Integers wherever Pillow's result can be had with them,
so that an image is the same on every device and in whatever program the operation is compiled.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Scalar = jax.Array | float
ONE = 1 << 16
LUMA = (19595, 38470, 7471)  # what red, green and blue count of ONE


def blend(one: jax.Array, other: jax.Array, factor: Scalar) -> jax.Array:
    """one + factor (other - one), cut off to whole grey levels, as Image.blend has it in float32.

    A factor from 0 to 1 lies between the two, one above 1 beyond `other`. `one` may be a scalar.
    """
    # Compiled, a + f d is one operation and rounded once, Pillow's are two. The upper 12 bits of f
    # times d are exact, and so is the rest: their sum is f d rounded once, however it is compiled.
    factor = jnp.float32(factor)
    upper = lax.bitcast_convert_type(
        lax.bitcast_convert_type(factor, jnp.int32) & -4096, jnp.float32
    )
    start = one.astype(jnp.float32)
    way = other.astype(jnp.float32) - start
    return jnp.clip(start + (upper * way + (factor - upper) * way), 0, 255).astype(jnp.uint8)


def grey(image: jax.Array) -> jax.Array:
    """The luma [h, w], int32, of image [h, w, c]: ITU-R 601 in 16 bits after the point."""
    shares = jnp.array(LUMA if image.shape[-1] == 3 else (ONE,))[None, None]
    return ((shares * image.astype(jnp.int32)).sum(-1) + ONE // 2) >> 16


def brightness(image: jax.Array, factor: Scalar) -> jax.Array:
    """0 is black, 1 the image. ImageEnhance.Brightness."""
    return blend(jnp.int32(0), image, factor)


def contrast(image: jax.Array, factor: Scalar) -> jax.Array:
    """0 is the mean luma all over, 1 the image. ImageEnhance.Contrast."""
    luma = grey(image)
    mean = (2 * luma.sum() + luma.size) // (2 * luma.size)  # halves upwards; to 4 million pixels
    return blend(mean, image, factor)


def color(image: jax.Array, factor: Scalar) -> jax.Array:
    """0 is the luma, 1 the image; grey images stay. ImageEnhance.Color."""
    if image.shape[-1] == 1:
        return image
    return blend(jnp.broadcast_to(grey(image)[..., None], image.shape), image, factor)


def sharpness(image: jax.Array, factor: Scalar) -> jax.Array:
    """0 is smoothed, 1 the image, 2 sharpened. ImageEnhance.Sharpness."""
    return blend(smoothed(image), image, factor)


def smoothed(image: jax.Array) -> jax.Array:
    """ImageFilter.SMOOTH: 3x3 ones with a 5 in the middle, over 13; the edge stays."""
    total = _box(image, 1) + 4 * image.reshape(-1).astype(jnp.int32)
    return _inside(image, 1, lax.div(2 * total + 13, jnp.int32(26)))


def blurred(image: jax.Array) -> jax.Array:
    """ImageFilter.BLUR: the mean of the 16 pixels two steps away; two rows of edge stay."""
    return _inside(image, 2, (_box(image, 2) - _box(image, 1) + 8) >> 4)


def inverted(image: jax.Array) -> jax.Array:
    """ImageOps.invert."""
    return 255 - image


def solarize(image: jax.Array, threshold: Scalar) -> jax.Array:
    """Levels at and above the threshold (0 to 256) inverted. ImageOps.solarize."""
    return jnp.where(image >= jnp.ceil(threshold).astype(jnp.int32), 255 - image, image)


def posterize(image: jax.Array, bits: Scalar) -> jax.Array:
    """Only the upper `bits` (1 to 8, a whole number) of every level. ImageOps.posterize."""
    rest = jnp.int32(8) - jnp.asarray(bits).astype(jnp.int32)
    return image & (jnp.int32(255) << rest).astype(jnp.uint8)


def autocontrast(image: jax.Array) -> jax.Array:
    """Each channel stretched to the full range, unless it is one level. ImageOps.autocontrast."""
    place, short = _short()

    def table(channel: jax.Array) -> jax.Array:
        low, high = channel.min().astype(jnp.int32), channel.max().astype(jnp.int32)
        levels, span = jnp.arange(256), jnp.maximum(high - low, 1)
        product = 255 * jnp.clip(levels - low, 0, span)
        exact = product // span
        fallen = jnp.asarray(short)[jnp.asarray(place)[low, span], exact]
        return jnp.where(high > low, exact - (fallen & (product == exact * span)), levels)

    return _by_table(image, table)


def equalize(image: jax.Array) -> jax.Array:
    """Each channel's levels spread by their ranks. ImageOps.equalize."""

    def table(channel: jax.Array) -> jax.Array:
        count = jnp.zeros(256, jnp.int32).at[channel.reshape(-1)].add(1)
        step = (channel.size - count[channel.max()]) // 255
        spread = (step // 2 + jnp.cumsum(count) - count) // jnp.maximum(step, 1)
        return jnp.where(step > 0, jnp.minimum(spread, 255), jnp.arange(256))

    return _by_table(image, table)


@functools.cache
def _short() -> tuple[np.ndarray, np.ndarray]:
    """Where ImageOps.autocontrast, in float64, falls one level short of the exact whole number.

    pattern [256, 256] by lowest level and span, and patterns [p, 256] by the exact new level.
    """
    span, exact = np.nonzero(np.outer(np.arange(256), np.arange(256)) % 255 == 0)
    span, exact = span[span * exact > 0], exact[span * exact > 0]
    low, scale = np.arange(256)[:, None], 255.0 / span
    fallen = ((low + span * exact // 255) * scale + -low * scale).astype(int) < exact
    fallen &= low + span < 256
    short = np.zeros((256, 256, 256), bool)
    short[low, span, exact] = fallen
    some = short.any(-1)
    rows = np.packbits(short[some], axis=1)  # as 32 bytes each they are compared at once
    _, first, pattern = np.unique(rows.view("V32"), return_index=True, return_inverse=True)
    place = np.zeros((256, 256), np.uint8)
    place[some] = pattern.reshape(-1) + 1
    return place, np.concatenate([np.zeros((1, 256), bool), short[some][first]])


def _by_table(image: jax.Array, table: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """image [h, w, c], each channel [h, w] replaced level by level as its table [256] says."""
    # One channel after the other, because a loop's result is kept: XLA would else compute the
    # table anew for every pixel. 24 us instead of 42 for equalize on 32x32x3, 12 instead of 47.
    tables = lax.map(table, jnp.moveaxis(image, -1, 0)).astype(jnp.uint8)
    places = image.astype(jnp.int32) + 256 * jnp.arange(image.shape[-1])[None, None]
    return tables.reshape(-1).at[places].get(mode="promise_in_bounds")


def _box(image: jax.Array, reach: int) -> jax.Array:
    """[h w c] sums over the pixels at most `reach` rows and columns away, where all are inside.

    In one line, that the CPU can go along without a break: near the edges they are nonsense.
    """
    _, w, c = image.shape
    rim = reach * (w + 1) * c
    line = jnp.pad(image.reshape(-1).astype(jnp.int32), rim)
    near = range(-reach, reach + 1)
    starts = [rim + (down * w + right) * c for down in near for right in near]
    return sum((line[start : start + image.size] for start in starts), jnp.int32(0))


def _inside(image: jax.Array, edge: int, changed: jax.Array) -> jax.Array:
    """image [h, w, c] with the `changed` values [h w c] but for its outermost `edge` pixels."""
    inner = np.zeros(image.shape, bool)
    inner[edge:-edge, edge:-edge] = True
    line = jnp.where(inner.reshape(-1), changed.astype(jnp.uint8), image.reshape(-1))
    return line.reshape(image.shape)
