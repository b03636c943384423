"""Changes for photographs, as contrastive learning and torchvision's recipes have them.

SimCLR's, arXiv:2002.05709 appendix A, at strength 1: crop=0.08, brightness=0.8, contrast=0.8,
saturation=0.8, hue=0.2, jitter=0.8, grey=0.2, blur=0.009 (2 of 224 pixels), blurred=0.5.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lowlabel_jax.augment import colour, geometry
from lowlabel_jax.augment.recipe import Recipe, worded
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.core.ranges import Fraction, Positive, Probability

TRIES = 10  # boxes drawn, of which the first that fits is cut out
SHARPEST = 0.1  # pixels: the least deviation of a blur


def photo(
    *,
    flip: bool = True,
    crop: Fraction = 0.0,
    ratio: Positive = 1.3333333,
    brightness: Fraction = 0.0,
    contrast: Fraction = 0.0,
    saturation: Fraction = 0.0,
    hue: Fraction = 0.0,
    jitter: Probability = 1.0,
    grey: Probability = 0.0,
    blur: Fraction = 0.0,
    blurred: Probability = 0.5,
) -> Recipe:
    """(key, image uint8 [h, w, c]) -> uint8 [h, w, c], in the order of the options.

    flip        left and right exchanged, half of the time
    crop        a box with a share of the area from `crop` to 1 is enlarged to the whole; 0 is off
    ratio       its width over its height, within this factor of 1 (evenly in the logarithm)
    brightness  factor from 1 - brightness to 1 + brightness
    contrast    the same on distances from the mean luma
    saturation  the same on distances from each pixel's luma
    hue         turn of the colour circle from -hue to hue, at most 0.5
    jitter      how often these four are made, all or none
    grey        how often the image becomes its luma
    blur        largest deviation of a Gaussian, fraction of the shorter side; the least is 0.1
                pixels, and it is cut off after three of the largest; 0 is off
    blurred     how often it is made
    A strength of 0 costs nothing. Values are rounded once, at the end, halves to even. torchvision
    draws the order of the colour changes too.
    """
    if hue > 0.5:
        raise UserError(f"augment: hue = {hue} must be at most 0.5, half of the colour circle.")
    coloured = any((brightness, contrast, saturation, hue))

    def moved(x: jax.Array, draw: Draw) -> jax.Array:
        turned = draw.flip < 0.5
        if not crop:
            return geometry.flip(x, turned) if flip else x
        matrix = enlarging(draw.box, *x.shape[:2])
        mirror = geometry.zoom(1.0, jnp.where(turned, -1.0, 1.0) if flip else 1.0)
        return geometry.warp(x, geometry.compose(matrix, mirror))

    def jittered(x: jax.Array, draw: Draw) -> jax.Array:
        x = colour.brightness(x, 1 + brightness * draw.brightness) if brightness else x
        if contrast:
            x = colour.contrast(x, 1 + contrast * draw.contrast, colour.luma(x))
        x = colour.saturation(x, 1 + saturation * draw.saturation) if saturation else x
        return colour.hue(x, hue * draw.hue) if hue else x

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        draw = drawn(key, image, crop, ratio)
        x = moved(image.astype("float32"), draw)
        if coloured:
            x = jnp.where(draw.jitter < jitter, jittered(x, draw), x)
        if grey:
            x = jnp.where(draw.grey < grey, colour.saturation(x, 0.0), x)
        if blur:
            most = blur * min(image.shape[:2])
            deviation = SHARPEST + draw.deviation * max(0.0, most - SHARPEST)
            soft = colour.blur(x, deviation, reach=max(1, round(3 * most)))
            x = jnp.where(draw.blurred < blurred, soft, x)
        return colour.to_uint8(x)

    def describe(key: jax.Array, image: jax.Array) -> list[str]:
        draw = drawn(key, image, crop, ratio)
        top, left, tall, wide = (int(side) for side in draw.box)
        coloured = draw.jitter < jitter
        return worded({
            "flip": flip and draw.flip < 0.5,
            f"crop {tall}x{wide} at {top}, {left}": crop and (tall, wide) != image.shape[:2],
            f"brightness {1 + brightness * draw.brightness:.2f}": brightness and coloured,
            f"contrast {1 + contrast * draw.contrast:.2f}": contrast and coloured,
            f"saturation {1 + saturation * draw.saturation:.2f}": saturation and coloured,
            f"hue {hue * draw.hue:.2f}": hue and coloured,
            "grey": draw.grey < grey,
            "blur": blur and draw.blurred < blurred,
        })  # fmt: skip

    return Recipe(augment, describe)


class Draw(NamedTuple):
    """One image's parameters, always all of them: one turned on leaves the others as they were."""

    flip: jax.Array  # this and the next four from 0 to 1
    jitter: jax.Array
    grey: jax.Array
    blurred: jax.Array
    deviation: jax.Array
    brightness: jax.Array  # this and the next three from -1 to 1
    contrast: jax.Array
    saturation: jax.Array
    hue: jax.Array
    box: jax.Array  # [4] whole pixels: top, left, height, width


def drawn(key: jax.Array, image: jax.Array, crop: float, ratio: float) -> Draw:
    """The parameters for an image [h, w, c]."""
    key_draw, key_box = jax.random.split(key)
    even = jax.random.uniform(key_draw, (9,))
    box = draw_box(key_box, *image.shape[:2], least=crop, ratio=ratio)
    return Draw(*even[:5], *(2 * even[5:] - 1), box=box)


def draw_box(key: jax.Array, h: int, w: int, least: float, ratio: float) -> jax.Array:
    """Top, left, height and width [4] of a box inside the image, float32, whole pixels.

    As torchvision's RandomResizedCrop: the first of ten boxes that fits, or else the middle.
    """
    area, shape, y, x = jax.random.uniform(key, (4, TRIES))
    area = h * w * (least + (1 - least) * area)
    shape = jnp.exp((2 * shape - 1) * jnp.log(jnp.float32(ratio)))
    wide, tall = jnp.round(jnp.sqrt(area * shape)), jnp.round(jnp.sqrt(area / shape))
    fits = (wide >= 1) & (wide <= w) & (tall >= 1) & (tall <= h)
    top, left = jnp.floor(y * (h - tall + 1)), jnp.floor(x * (w - wide + 1))
    boxes = jnp.stack([top, left, tall, wide], -1)
    high, broad = min(h, round(w * ratio)), min(w, round(h * ratio))
    middle = jnp.array([(h - high) // 2, (w - broad) // 2, high, broad], jnp.float32)
    return jnp.where(fits.any(), boxes[fits.argmax()], middle)


def enlarging(box: jax.Array, h: int, w: int) -> jax.Array:
    """[3, 3] for `geometry.warp`: a box [4] of the image seen as large as the image."""
    top, left, tall, wide = box
    to_middle = geometry.shift((h - tall) / 2 - top, (w - wide) / 2 - left)
    return geometry.compose(to_middle, geometry.zoom(h / tall, w / wide))
