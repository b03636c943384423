"""An image of any size to a square of one size: which part of it, and how pixels are averaged.

Training draws its crops from the stream of each image's own address; evaluation always takes the
same one.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

TRIES = 10  # shapes that random_resized draws before it takes the central square, as torchvision
RATIO = 4 / 3  # its widest and, inverted, its tallest shape
CENTRAL = 224 / 256  # share of the short side that ImageNet networks are evaluated on
BLOCK = 2**20  # numbers that are widened at once


class Fit(NamedTuple):
    """How images become squares: the keys of config["image"] that say so."""

    size: int  # side of the result, in pixels
    crop: str  # centre, random, random_resized, stretch
    margin: int  # pixels left out on each side by centre and random
    smallest: float  # least share of the area that random_resized takes
    resample: str  # area, bilinear, bicubic, lanczos
    channels: int  # 3: RGB, 1: grey

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the result."""
        return (self.size, self.size, self.channels)

    @property
    def varied(self) -> bool:
        """Whether training sees another crop of an image each time."""
        return self.crop in ("random", "random_resized")


class Box(NamedTuple):
    """A part of an image, in whole pixels."""

    top: int
    left: int
    height: int
    width: int


def fit(image: np.ndarray, how: Fit, draw: np.random.Generator | None = None) -> np.ndarray:
    """uint8 [h, w, c] -> uint8 [size, size, c]: a crop drawn from `draw`, else the fixed one."""
    top, left, height, width = box(image.shape[0], image.shape[1], how, draw)
    return resized(image[top : top + height, left : left + width], how.size, how.resample)


def box(height: int, width: int, how: Fit, draw: np.random.Generator | None = None) -> Box:
    """Which part of an image of this size is taken.

    Fixed: the central square of the short side less both margins (all of it where they leave
    nothing), for random_resized 7/8 of it, the usual 224 of 256. Drawn: a square of the same side
    anywhere, for random_resized a random share and shape (arXiv:1409.4842 as in torchvision).
    """
    if how.crop == "stretch":
        return Box(0, 0, height, width)
    short = min(height, width)
    if how.crop == "random_resized":
        drawn = _random_resized(height, width, how.smallest, draw) if draw else None
        return drawn or _central(height, width, max(1, round(short * CENTRAL)))
    side = short - 2 * how.margin if short > 2 * how.margin else short
    if how.crop == "centre" or draw is None:
        return _central(height, width, side)
    return _somewhere(height, width, side, side, draw)


def _central(height: int, width: int, side: int) -> Box:
    return Box((height - side) // 2, (width - side) // 2, side, side)


def _somewhere(height: int, width: int, tall: int, wide: int, draw: np.random.Generator) -> Box:
    """A box of this size, each of its places as likely."""
    top, left = draw.integers(height - tall + 1), draw.integers(width - wide + 1)
    return Box(int(top), int(left), tall, wide)


def _random_resized(
    height: int, width: int, smallest: float, draw: np.random.Generator
) -> Box | None:
    """A box of a random share of the area and a random shape; None where none drawn fits in."""
    for _ in range(TRIES):
        area = height * width * draw.uniform(smallest, 1.0)
        ratio = np.exp(draw.uniform(-np.log(RATIO), np.log(RATIO)))
        wide, tall = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < wide <= width and 0 < tall <= height:
            return _somewhere(height, width, tall, wide, draw)
    return None


def resized(image: np.ndarray, size: int, resample: str) -> np.ndarray:
    """uint8 [h, w, c] -> uint8 [size, size, c], whatever the proportion."""
    if image.shape[:2] == (size, size):
        return image
    if resample == "area":
        return _area(image, size)
    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))
    picture = picture.resize((size, size), Image.Resampling[resample.upper()])
    return np.asarray(picture).reshape(size, size, image.shape[2])


def _area(image: np.ndarray, size: int) -> np.ndarray:
    """The exact mean over the part of the image that each new pixel covers, halves rounded up.

    Pillow's BOX takes or leaves old pixels whole, and is off by up to half of the range where the
    sides do not divide: 130 grey levels from 192 to 224. Whole numbers make this exact.
    """
    height, width, channels = image.shape
    total = height * width  # what the overlaps of one new pixel add up to
    dtype = np.int32 if 256 * total < 2**31 else np.int64
    rows = _along(_overlaps(height, size), image.reshape(height, -1), dtype)
    rows = rows.reshape(size, width, channels)
    turned = [rows[..., c].T for c in range(channels)]  # 8 times quicker than swapping axes of all
    columns = _along(_overlaps(width, size), np.concatenate(turned, axis=1), dtype)
    means = ((columns + total // 2) // total).astype(np.uint8)
    return np.ascontiguousarray(means.reshape(size, channels, size).transpose(2, 0, 1))


def _along(overlaps: Any, values: np.ndarray, dtype: type) -> np.ndarray:
    """overlaps [size, n] @ values [n, m], by blocks: a photo in wide integers never lies whole."""
    block = max(1, BLOCK // len(values))
    starts = range(0, values.shape[1], block)
    narrow = (values[:, start : start + block] for start in starts)
    parts = [overlaps @ part.astype(dtype, copy=False) for part in narrow]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


@functools.lru_cache(2048)
def _overlaps(length: int, size: int) -> Any:
    """Sparse int32 [size, length]: by how much new pixel i and old pixel j overlap.

    In units of 1 / size of an old pixel, so that all is whole: new ones are `length` long.
    """
    from scipy.sparse import csr_array

    cuts = np.union1d(np.arange(size + 1) * length, np.arange(length + 1) * size)
    new, old = cuts[:-1] // length, cuts[:-1] // size
    firsts = np.searchsorted(new, np.arange(size + 1))
    return csr_array((np.diff(cuts).astype(np.int32), old, firsts), shape=(size, length))
