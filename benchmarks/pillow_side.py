"""The same augmentations by Pillow, scipy and numpy, image after image: what ours are held against.

`strong` is fixmatch_ra; `affine_pillow` and `affine_scipy` move an image as `standard` does, the
latter channel by channel as Keras' ImageDataGenerator did.
"""

import functools
import math
import random

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

AFFINE = Image.Transform.AFFINE
GREY = (127, 127, 127)


def moved(picture: Image.Image, *matrix: float) -> Image.Image:
    """Image.transform with grey beyond the edge."""
    return picture.transform(picture.size, AFFINE, matrix, fillcolor=GREY)


OPERATIONS = {
    "identity": lambda p, m: p,
    "autocontrast": lambda p, m: ImageOps.autocontrast(p),
    "equalize": lambda p, m: ImageOps.equalize(p),
    "solarize": ImageOps.solarize,
    "posterize": ImageOps.posterize,
    "color": lambda p, m: ImageEnhance.Color(p).enhance(m),
    "contrast": lambda p, m: ImageEnhance.Contrast(p).enhance(m),
    "brightness": lambda p, m: ImageEnhance.Brightness(p).enhance(m),
    "sharpness": lambda p, m: ImageEnhance.Sharpness(p).enhance(m),
    "rotate": lambda p, m: p.rotate(m, fillcolor=GREY),
    "shear_x": lambda p, m: moved(p, 1, m, 0, 0, 1, 0),
    "shear_y": lambda p, m: moved(p, 1, 0, 0, m, 1, 0),
    "translate_x": lambda p, m: moved(p, 1, 0, m * p.width, 0, 1, 0),
    "translate_y": lambda p, m: moved(p, 1, 0, 0, 0, 1, m * p.height),
}


def weak(rng: random.Random, image: np.ndarray) -> np.ndarray:
    """flip_shift of uint8 [h, w, c]: flipped half of the time, moved by an eighth of the side."""
    h, w, _ = image.shape
    image, most = image[:, ::-1] if rng.random() < 0.5 else image, h // 8
    padded = np.pad(image, ((most, most), (most, most), (0, 0)), mode="reflect")
    y, x = rng.randrange(2 * most + 1), rng.randrange(2 * most + 1)
    return padded[y : y + h, x : x + w]


def strong(rng: random.Random, image: np.ndarray) -> np.ndarray:
    """fixmatch_ra of uint8 [h, w, c]: float32 [h, w, c] in [-1, 1]."""
    picture = Image.fromarray(weak(rng, image))
    for name in rng.choices(list(OPERATIONS), k=2):
        if rng.random() < 0.5:
            level, sign = rng.randint(1, 9) / 10, rng.choice((-1, 1))
            picture = OPERATIONS[name](picture, strength(level, sign)[name])
    y, x = rng.randrange(picture.height), rng.randrange(picture.width)
    half = picture.height // 4
    picture = picture.copy()
    ImageDraw.Draw(picture).rectangle((x - half, y - half, x + half - 1, y + half - 1), GREY)
    return normalised(np.asarray(picture))


def strength(level: float, sign: int) -> dict[str, float]:
    """fixmatch_ra's magnitudes, written down again: a Python without JAX reads this file, too."""
    enhance = 0.1 + 1.8 * level
    return {
        **dict.fromkeys(("identity", "autocontrast", "equalize"), 0),
        **dict.fromkeys(("color", "contrast", "brightness", "sharpness"), enhance),
        **dict.fromkeys(("shear_x", "shear_y"), sign * 0.3 * level),
        **dict.fromkeys(("translate_x", "translate_y"), sign * 10 / 32 * level),
        "rotate": sign * 30 * level,
        "solarize": 256 - int(256 * level),
        "posterize": 4 - int(4 * level),
    }


def normalised(image: np.ndarray) -> np.ndarray:
    """uint8 -> float32 in [-1, 1]."""
    return image.astype(np.float32) * (1 / 127.5) - 1


def affine_pillow(rng: random.Random, image: np.ndarray) -> np.ndarray:
    """uint8 [h, w, c] moved by one bilinear transform of Pillow, float32 [h, w, c] in [-1, 1]."""
    h, w, _ = image.shape
    matrix, shift = drawn(rng, h, w)
    # Pillow counts (x, y) and from corners: the same map with its rows and columns exchanged.
    (yy, yx), (xy, xx) = matrix.tolist()
    y, x = shift.tolist()
    data = (xx, xy, x, yx, yy, y)
    picture = Image.fromarray(image)
    turned = picture.transform((w, h), AFFINE, data, Image.Resampling.BILINEAR)
    return normalised(np.asarray(turned))


def affine_scipy(rng: random.Random, image: np.ndarray) -> np.ndarray:
    """The same by scipy, linear, channel by channel, its edges repeated."""
    from scipy import ndimage

    matrix, shift = drawn(rng, *image.shape[:2])
    by = functools.partial(ndimage.affine_transform, matrix=matrix, offset=shift, order=1)
    wide = image.astype(np.float32)
    channels = [by(wide[..., c], mode="nearest") for c in range(image.shape[-1])]
    return np.stack(channels, -1) * (1 / 127.5) - 1


def drawn(rng: random.Random, h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """Matrix [2, 2] and offset [2] of an inverse map about the centre; (row, column), as scipy's.

    Flip, rotation by 40 degrees at most, shear by 11.5, zoom and shift by a fifth.
    """
    turn, lean = math.radians(rng.uniform(-40, 40)), math.radians(rng.uniform(-11.5, 11.5))
    tall, wide = rng.uniform(0.8, 1.2), rng.uniform(0.8, 1.2) * rng.choice((-1, 1))
    cos, sin = math.cos(turn), math.sin(turn)
    leaning = np.array([[1, 0], [-math.tan(lean), 1]])
    matrix = np.array([[cos, sin], [-sin, cos]]) @ leaning @ np.diag([1 / tall, 1 / wide])
    centre = np.array([(h - 1) / 2, (w - 1) / 2])
    away = np.array([rng.uniform(-0.2, 0.2) * h, rng.uniform(-0.2, 0.2) * w])
    return matrix, centre - matrix @ (centre + away)
