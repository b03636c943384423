"""Four clusters of changes, each with one magnitude: what a search turns instead of ten knobs.

At magnitude 1 each change is drawn evenly up to the range below; a magnitude m has m times as much.
The colour ranges are SimCLR's at strength 1, arXiv:2002.05709 appendix A.
"""

from typing import NamedTuple

import jax

from lowlabel_jax.augment import colour, moving
from lowlabel_jax.augment.recipe import Recipe, worded
from lowlabel_jax.core.ranges import Fraction, Magnitude, NonNegative, on

SHIFT, ZOOM, SHEAR = 0.3, 0.4, 20.0  # of the side, of the factor, degrees
VALUE, SATURATION, HUE = 0.8, 0.8, 0.2  # of the factors, of the colour circle
CONTRAST, GAMMA = 0.8, 1.0  # of the factor; the power from 1 / 2 to 2
SHARPNESS = 1.0  # of the factor: from a Gaussian blur to as much sharper
BLUR = 1 / 32  # that Gaussian's deviation, fraction of the shorter side; at least 1 pixel


def clusters(
    *,
    flip: bool = False,
    rotate: NonNegative = 0.0,
    spatial: Magnitude = 0.0,
    hsv: Magnitude = 0.0,
    contrast: Magnitude = 0.0,
    blur: Magnitude = 0.0,
    cutout: Fraction = 0.0,
    fill: str = "reflect",
) -> Recipe:
    """(key, image uint8 [h, w, c]) -> uint8 [h, w, c], in the order of the options.

    flip      left and right exchanged, half of the time
    rotate    degrees about the centre, either way
    spatial   shift to 0.3 of the side and zoom by 0.6 to 1.4, each axis by itself; shear to 20
              degrees
    hsv       value (brightness) times 0.2 to 1.8; of three channels also the distances from each
              pixel's luma (saturation) times 0.2 to 1.8, and hue turned by up to 0.2 of the circle
    contrast  distances from the image's mean times 0.2 to 1.8; gamma, a power from 1/2 to 2, evenly
              in its logarithm
    blur      distances from the image's own Gaussian blur times 0 (blurred) to 2 (sharpened); its
              deviation is 1/32 of the shorter side and at least 1 pixel
    cutout    side of a grey square, fraction of the shorter side; the same for all images
    fill      what is seen beyond the edge: "nearest", "reflect", "wrap" or "constant" (black)
    All are drawn anew for each image, and always, so that one cluster leaves the draws of the
    others as they are. A magnitude of 0 costs nothing; one that is traced is always computed, and
    at 0 gives the image back. Values are rounded once, at the end, halves to even.
    """
    reach = moving.Reach(flip, ZOOM * spatial, SHEAR * spatial, rotate, SHIFT * spatial)
    moving.check(reach, fill)
    idle = not any(map(on, (*reach, hsv, contrast, blur, cutout)))

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        if idle:
            return image
        draw, key_hole = drawn(key)
        x = moving.moved(image.astype("float32"), draw.moves, reach, fill)
        if on(hsv):
            x = toned(x, draw, hsv)
        if on(contrast):
            x = colour.contrast(x, 1 + CONTRAST * contrast * draw.contrast)
            x = colour.gamma(x, (1 + GAMMA * contrast) ** draw.gamma)
        if on(blur):
            deviation = max(1.0, BLUR * min(image.shape[:2]))
            x = colour.sharpness(x, 1 + SHARPNESS * blur * draw.sharpness, deviation)
        if on(cutout):
            x = colour.cutout(key_hole, x, cutout)
        return colour.to_uint8(x)

    def describe(key: jax.Array, image: jax.Array) -> list[str]:
        draw, _ = drawn(key)
        coloured = hsv if image.shape[-1] == 3 else 0.0
        return worded({
            **moving.words(draw.moves, reach, *image.shape[:2]),
            f"value {1 + VALUE * hsv * draw.value:.2f}": hsv,
            f"saturation {1 + SATURATION * hsv * draw.saturation:.2f}": coloured,
            f"hue {HUE * hsv * draw.hue:.2f}": coloured,
            f"contrast {1 + CONTRAST * contrast * draw.contrast:.2f}": contrast,
            f"gamma {(1 + GAMMA * contrast) ** draw.gamma:.2f}": contrast,
            f"sharpness {1 + SHARPNESS * blur * draw.sharpness:.2f}": blur,
            "cutout": cutout,
        })  # fmt: skip

    return Recipe(augment, describe)


class Draw(NamedTuple):
    """One image's parameters, each evenly in [-1, 1), drawn together and always all of them."""

    moves: moving.Draw
    value: jax.Array
    saturation: jax.Array
    hue: jax.Array
    contrast: jax.Array
    gamma: jax.Array
    sharpness: jax.Array


def drawn(key: jax.Array) -> tuple[Draw, jax.Array]:
    """One image's parameters, and the key of its hole."""
    key_draw, key_hole = jax.random.split(key)
    even = jax.random.uniform(key_draw, (13,), minval=-1.0)
    return Draw(moving.Draw(*even[:7]), *even[7:]), key_hole


def toned(x: jax.Array, draw: Draw, hsv: jax.Array | float) -> jax.Array:
    """x float32 [h, w, c] with another value and, of three channels, saturation and hue."""
    x = colour.brightness(x, 1 + VALUE * hsv * draw.value)
    if x.shape[-1] != 3:
        return x
    x = colour.saturation(x, 1 + SATURATION * hsv * draw.saturation)
    return colour.hue(x, HUE * hsv * draw.hue)
