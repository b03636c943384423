"""Changing pixels in place: float32 [h, w, c] in, the same out, grey levels 0 to 255, clipped."""

import jax
import jax.numpy as jnp
from jax import lax

from lowlabel_jax.core.ranges import traced

GREY = 127.0  # what a hole is filled with: black and white at once, as in FixMatch


def brightness(image: jax.Array, factor: jax.Array | float) -> jax.Array:
    """image [h, w, c] times `factor`, as Pillow and torchvision have it: black stays black."""
    return _clip(factor * image)


def gamma(image: jax.Array, power: jax.Array | float) -> jax.Array:
    """image [h, w, c], as fractions of the full range, to a power: the ends stay where they are."""
    return 255.0 * (image / 255.0) ** power


def contrast(
    image: jax.Array, factor: jax.Array | float, light: jax.Array | None = None
) -> jax.Array:
    """image [h, w, c] with its distances from a mean times `factor`.

    The mean of all its values; or of `light`, such as its luma (so in Pillow and torchvision).
    """
    light = image if light is None else light
    # Whole grey levels, because their sum is the same in any order of adding: with it the images
    # are the same to the bit however the batch is cut over devices.
    mean = jnp.round(light).astype(jnp.int32).sum() / light.size
    return _clip(mean + factor * (image - mean))


def luma(image: jax.Array) -> jax.Array:
    """How light image [h, w, c] is, [h, w, 1]: ITU-R 601 for 3 channels; 1 channel as it is."""
    if image.shape[-1] == 1:
        return image
    red, green, blue = (image[..., c : c + 1] for c in range(3))
    return 0.299 * red + 0.587 * green + 0.114 * blue


def saturation(image: jax.Array, factor: jax.Array | float) -> jax.Array:
    """image [h, w, c] with its distances from its luma times `factor`; 0 is grey."""
    light = luma(image)
    return _clip(light + factor * (image - light))


def hue(image: jax.Array, turn: jax.Array | float) -> jax.Array:
    """image [h, w, 3] with its hue in HSV moved by `turn`, a part of the colour circle.

    Channel n is v - chroma clip(min(k, 4 - k), 0, 1), k = (n + 6 hue) mod 6, n = 5, 3, 1 for red,
    green, blue. An image of one channel has no hue and stays.
    """
    if image.shape[-1] == 1:
        return image
    red, green, blue = (image[..., c] for c in range(3))
    most, chroma = image.max(-1), image.max(-1) - image.min(-1)
    # Not "is the largest equal to red": a compiler may compute the two apart, and round otherwise.
    is_red, is_green = (red >= green) & (red >= blue), green >= blue
    steps = [
        jnp.where(is_red, green - blue, jnp.where(is_green, blue - red, red - green)),
        jnp.where(is_red, 0.0, jnp.where(is_green, 2.0, 4.0)),
    ]
    sixth = steps[0] / jnp.where(chroma > 0, chroma, 1.0) + steps[1] + 6 * turn
    k = (sixth[..., None] + jnp.array([5.0, 3.0, 1.0])[None, None]) % 6
    share = jnp.clip(jnp.minimum(k, 4 - k), 0, 1)
    return most[..., None] - chroma[..., None] * share


def blur(image: jax.Array, deviation: jax.Array | float, reach: int) -> jax.Array:
    """image [h, w, c] under a Gaussian of a deviation in pixels, cut off after `reach` pixels.

    What lies beyond the edge is the image mirrored, as in torchvision.
    """
    places = jnp.arange(-reach, reach + 1)
    weight = jnp.exp(-0.5 * (places / deviation) ** 2)
    weight = weight / weight.sum()
    for axis, size in enumerate(image.shape[:2]):
        pads = [(reach, reach) if i == axis else (0, 0) for i in range(3)]
        # Kept as it is: fused into the sum, the CPU would make it once for each of its terms.
        padded = lax.optimization_barrier(jnp.pad(image, pads, mode="reflect"))
        moved = [lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(2 * reach + 1)]
        image = sum((w * x for w, x in zip(weight, moved, strict=True)), jnp.zeros_like(image))
    return image


def sharpness(image: jax.Array, factor: jax.Array | float, deviation: float) -> jax.Array:
    """image [h, w, c] with its distances from its own Gaussian blur times `factor`.

    0 is that blur, of a deviation in pixels that is known before compiling; above 1 it sharpens.
    """
    soft = blur(image, deviation, reach=max(1, round(3 * deviation)))
    return _clip(soft + factor * (image - soft))


def noise(key: jax.Array, image: jax.Array, deviation: jax.Array | float) -> jax.Array:
    """image [h, w, c] with normal noise on every value; `deviation` is of the full range."""
    return _clip(image + 255.0 * deviation * jax.random.normal(key, image.shape))


def cutout(
    key: jax.Array, image: jax.Array, size: jax.Array | float, value: jax.Array | float = GREY
) -> jax.Array:
    """image [h, w, c] with a square of `size` times its shorter side filled with `value`.

    Its centre is any pixel alike, so that the square may reach over the edge and lose a part:
    arXiv:1708.04552. Never smaller than one pixel, but of a traced size of 0 there is none.
    """
    h, w, c = image.shape
    side = _side(size, min(h, w))
    top, left = jax.random.randint(key, (2,), 0, jnp.array([h, w])) - side // 2
    # As [h, w·c]: on three axes, the last one of length 3, the CPU takes 7 us more for 32x32x3.
    rows, columns = jnp.arange(h)[:, None], jnp.arange(w * c)[None, :] // c
    hole = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return jnp.where(hole, value, image.reshape(h, w * c)).reshape(h, w, c)


def to_uint8(image: jax.Array) -> jax.Array:
    """float32 [h, w, c] -> uint8 [h, w, c]: the nearest grey level, halves to the even one."""
    return _clip(jnp.round(image)).astype(jnp.uint8)


def _clip(image: jax.Array) -> jax.Array:
    return jnp.clip(image, 0.0, 255.0)


def _side(size: jax.Array | float, shorter: int) -> jax.Array | int:
    if not traced(size):
        return max(1, round(size * shorter))
    return jnp.maximum(jnp.round(size * shorter), size > 0).astype(jnp.int32)
