"""A file's bytes to one array: RGB or grey, upright, 8 bits, or a reason why not.

Pillow decodes, with what is left to its caller settled: which formats may be opened (EPS would
start Ghostscript), how many pixels (from the header, before any memory is taken), what lies under
alpha (white), how 16 bits become 8 (by the range, where Pillow's own conversion saturates), and
which way is up (EXIF). A file that is cut short is refused, never filled up with grey.
"""

import contextlib
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
SHOWN = 12  # bytes of a file of another kind that are quoted: enough to know HTML or PDF by


class BadImage(Exception):
    """A file that holds no image to train on; the text says why in a few plain words."""


def decode(file: Path | BinaryIO, channels: int = 3, max_megapixels: float = 64.0) -> np.ndarray:
    """The whole image of a file, uint8 [h, w, channels], which may be read-only.

    channels: 3 RGB, 1 grey. Of an animation it is the first frame; colour profiles are not applied.
    Raises BadImage where there is no such image, and OSError where the file cannot be read.
    """
    return pixels(load(file, max_megapixels), channels)


def load(file: Path | BinaryIO, max_megapixels: float = 64.0) -> Image.Image:
    """The decoded, upright image of a file in the mode that it is stored in. Raises as decode."""
    if isinstance(file, os.PathLike):
        if not stat.S_ISREG(os.stat(file).st_mode):  # opening a pipe would wait for its writer
            raise BadImage("it is not a regular file")
        with open(file, "rb") as stream:
            return load(stream, max_megapixels)
    with _pillow(file):
        image = Image.open(file, formats=FORMATS)
        width, height = image.size
        if width * height > max_megapixels * 1e6:
            raise BadImage(f"it has {width} x {height} pixels, over {max_megapixels:g} megapixels")
        image.load()
        _turn(image)
        return image


def _turn(image: Image.Image) -> None:
    """Put a loaded image upright, in place, as far as its EXIF can be read."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:  # of EXIF's other tags: Pillow writes them anew once the image is turned
        return


def pixels(image: Image.Image, channels: int = 3) -> np.ndarray:
    """A loaded image of any mode as uint8 [h, w, channels], which may be read-only.

    Raises BadImage for numbers of which it is not known what is white.
    """
    with _pillow():
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            return np.repeat(_scaled(image)[..., None], channels, axis=2)
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image.convert("RGBA"))
        if image.mode not in ("RGB", "L"):
            image = image.convert("RGB")
        if channels == 1:
            return np.asarray(image.convert("L"))[..., None]
        return np.asarray(image.convert("RGB") if image.mode == "L" else image)


def _scaled(image: Image.Image) -> np.ndarray:
    """A grey image of more than 8 bits as uint8 [h, w], by the range of its numbers, rounded."""
    values = np.asarray(image)
    if image.mode == "F":
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= 1):  # so that NaN is refused too
            raise BadImage(
                f"its pixels are floating-point numbers from {low:g} to {high:g}, "
                "and only from 0 to 1 it is known what is black and white"
            )
        return np.floor(values * 255 + 0.5).astype(np.uint8)
    if image.mode == "I" and image.format not in ("PNG", "PPM"):  # there Pillow's "I" is 16 bits
        raise BadImage("its pixels are 32-bit whole numbers, and it is not known which is white")
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


class _Silence:
    """Pillow's warnings unheard while any thread is inside.

    catch_warnings alone would not do: it sets the filters of the whole process, and threads that
    leave in another order than they came would put back the wrong ones.
    """

    def __init__(self) -> None:
        self.lock, self.threads, self.before = threading.Lock(), 0, contextlib.ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            self.threads += 1
            if self.threads == 1:
                self.before.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"PIL\.")

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.threads -= 1
            if not self.threads:
                self.before.close()


SILENCE = _Silence()


@contextlib.contextmanager
def _pillow(file: BinaryIO | None = None) -> Iterator[None]:
    """What Pillow raises about an image as BadImage; its warnings unheard."""
    try:
        with SILENCE:
            yield
    except (BadImage, MemoryError):
        raise
    except UnidentifiedImageError:
        raise BadImage(_unknown(file)) from None
    except Image.DecompressionBombError:  # Pillow's own limit holds whatever max_megapixels says
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise BadImage(f"it has over {limit:.0f} megapixels, which Pillow does not open") from None
    except Exception as error:  # broken files make Pillow raise nearly anything
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the image's
        raise BadImage(str(error) or type(error).__name__) from None


def _unknown(file: BinaryIO | None) -> str:
    """Why a file that Pillow does not know is not an image."""
    if file is None:
        return "it is not an image"
    file.seek(0)
    if not (start := file.read(SHOWN)):
        return "the file is empty"
    return f"it is not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file: it begins with {start!r}"
