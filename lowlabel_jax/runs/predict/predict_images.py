"""The images that `lowlabel predict` is given, files or arrays, and each as its run was trained.

Files are decoded and cropped by the code that evaluation uses (sources/image_files.py), so that an
image gives here what it would give in a test set.
"""

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.images.crops import Fit, fit
from lowlabel_jax.images.decoding import BadImage, decode, pixels
from lowlabel_jax.images.inspection import many
from lowlabel_jax.sources.image_files import fit_of
from lowlabel_jax.sources.image_paths import is_hidden, is_image_name

Item = str | np.ndarray  # a path, or uint8 [h, w, c] of any size


class Shown(NamedTuple):
    """How images become what a run was trained on."""

    shape: tuple[int, int, int]  # (height, width, channels)
    how: Fit
    max_megapixels: float


def shown_as(config: Mapping[str, Any]) -> Shown:
    """What config["image"] says; a run on arrays takes the central square at the arrays' size."""
    height, width, channels = config["info"]["image_shape"]
    how = fit_of(config["image"])._replace(size=height, channels=channels)
    return Shown((height, width, channels), how, config["image"]["max_megapixels"])


def expand(wanted: Iterable[str], stdin: bool = True) -> list[str]:
    """Every image that is meant, in the order given; those of a folder sorted by name.

    wanted: files, folders (all images below), patterns with *, and "-" for a list on stdin.
    Raises UserError where there is no such file, or no image.
    """
    found: list[str] = []
    for name in wanted:
        if name == "-" and stdin:
            found += listed(sys.stdin.read())
        elif os.path.isdir(name):
            inside = below(name)
            if not inside:
                raise UserError(f"there is no image in {name!r}.", "give a folder with images.")
            found += inside
        elif not os.path.lexists(name) and (matches := sorted(glob.glob(name, recursive=True))):
            found += [path for path in matches if not os.path.isdir(path)]
        elif not os.path.lexists(name):
            raise UserError(f"there is no file {name!r}.", "give a file, a folder or a pattern.")
        else:
            found.append(name)
    if not found:
        raise UserError("no image was named.", "give files, folders, or - for a list on stdin.")
    return found


def listed(text: str) -> list[str]:
    """The paths of a list: one a line, or ended by NULs, which survives names with line ends."""
    paths = text.split("\0") if "\0" in text else [line.rstrip("\r") for line in text.split("\n")]
    return [path for path in paths if path]


def below(folder: str) -> list[str]:
    """All images below a folder, by name, and what there cannot be looked into.

    Links are followed, but no folder twice; a name may be any bytes, as os.fsencode gives them.
    """
    found, seen = [], set()
    for here, folders, names in os.walk(folder, onerror=_note(found), followlinks=True):
        if (real := os.path.realpath(here)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        found += [
            os.path.join(here, name)
            for name in names
            if is_image_name(name) and not is_hidden(name)
        ]
    return sorted(found)


def _note(found: list[str]) -> Any:
    return lambda error: found.append(error.filename)


def read(items: Sequence[Item], as_shown: Shown) -> tuple[np.ndarray, list[str | None]]:
    """(uint8 [n, h, w, c], why each could not be read or None). Raises UserError as `fitted`."""
    images = np.zeros((len(items), *as_shown.shape), np.uint8)
    errors: list[str | None] = [None] * len(items)

    def one(i: int) -> None:
        try:
            images[i] = fitted(_decoded(items[i], as_shown), as_shown)
        except (BadImage, OSError, ValueError) as error:  # ValueError: a NUL in a path
            errors[i] = str(getattr(error, "strerror", None) or error)

    many(one, len(items))
    return images, errors


def _decoded(item: Item, as_shown: Shown) -> np.ndarray:
    """uint8 [h, w, channels] of a file or an array; of an array grey is made of RGB, or turned."""
    channels = as_shown.how.channels
    if isinstance(item, str):
        return decode(Path(item), channels, as_shown.max_megapixels)
    if item.shape[2] == channels:
        return item
    picture = item[..., 0] if item.shape[2] == 1 else item
    return pixels(Image.fromarray(np.ascontiguousarray(picture)), channels)


def fitted(image: np.ndarray, as_shown: Shown) -> np.ndarray:
    """uint8 [h, w, c] as the run's images. Raises UserError where those are no squares."""
    height, width, _ = as_shown.shape
    if height == width:
        return fit(image, as_shown.how)
    if image.shape == as_shown.shape:
        return image
    raise UserError(
        f"the run was trained on images of {height}x{width}, and only squares are cut.",
        f"give arrays of {height}x{width}, or evaluate it on arrays: lowlabel evaluate RUN.",
    )


def items_of(images: Any) -> list[Item]:
    """What Python code gives: one or several paths or uint8 arrays [h, w, c], or [n, h, w, c].

    Paths may be folders and patterns too. Raises UserError for anything else.
    """
    one = isinstance(images, str | os.PathLike) or len(getattr(images, "shape", "nhwc")) != 4
    if one:
        return list(_items(images))
    if not isinstance(images, Iterable):
        kind = type(images).__name__
        raise UserError(f"{kind} is no image.", "give paths, or uint8 arrays [h, w, c].")
    return [item for image in images for item in _items(image)]


def _items(image: Any) -> Iterator[Item]:
    """The images that one path stands for, or one array."""
    if isinstance(image, str | os.PathLike):
        yield from expand([os.fsdecode(image)], stdin=False)
        return
    array = _array(image)
    if array.dtype != np.uint8:
        kind = f"an array of {array.dtype}" if hasattr(image, "dtype") else type(image).__name__
        raise UserError(
            f"images are paths or uint8 arrays, and this is {kind}.",
            "of numbers from 0 to 1 make (255 * x).round().astype('uint8').",
        )
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        raise UserError(
            f"an image is [h, w, c] with 1, 3 or 4 channels; this has the shape {array.shape}.",
            "add its channel to a grey one: x[..., None].",
        )
    yield array


def _array(image: Any) -> np.ndarray:
    try:
        return np.asarray(image)
    except (ValueError, TypeError):  # nested lists of unequal lengths
        return np.empty(0, object)
