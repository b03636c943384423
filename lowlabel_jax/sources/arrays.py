"""Images that already lie in arrays: one .npz file, no pickle, read into memory at once.

It holds x_train, y_train, x_test, y_test, and may hold class_names (text, one for each class):
images uint8 [n, h, w] (grey) or [n, h, w, c], all of one size, labels whole numbers [n] from 0, and
-1 in y_train where the label is not known. `np.savez("my.npz", x_train=…)` makes one.
What the file declares is compared before anything is allocated, and nothing is unpacked to disk.
"""

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from lowlabel_jax.core.errors import UserError, nearest
from lowlabel_jax.core.ranges import Natural, NonNegative
from lowlabel_jax.data.source import Source, from_arrays
from lowlabel_jax.sources.limits import DEFLATE, refuse_large

KEYS = ("x_train", "y_train", "x_test", "y_test")
UNREADABLE = (  # what zipfile and numpy raise for a file that is broken, packed oddly or encrypted
    *(ValueError, OSError, EOFError, TypeError, RuntimeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)


def arrays(
    *, path: str = "", train: Natural = 0, test: Natural = 0, most_gib: NonNegative = 0.0
) -> Source:
    """The images and labels of an .npz file; of each set the first `train` and `test`, 0 for all.

    most_gib: a file whose arrays declare more is refused unread; 0: half of the machine's memory.
    Without class_names the classes are called by their numbers. Raises UserError that names the
    file and the array for whatever is not as said above.
    """
    found = _load(path, most_gib)
    sets = {
        "train": _set(path, found, "train", train, lowest=-1),
        "test": _set(path, found, "test", test, lowest=0),
    }
    if sets["train"][0].shape[1:] != sets["test"][0].shape[1:]:
        shapes = " and ".join(f"{name} {images.shape[1:]}" for name, (images, _) in sets.items())
        raise UserError(f"{path}: the images of its sets have other shapes, {shapes}.")
    return from_arrays(_class_names(path, found), sets)


def _load(path: str, most_gib: float) -> dict[str, np.ndarray]:
    """Every array of the file that is ours, by name."""
    if not path:
        raise UserError("the source 'arrays' has no file.", "add --config.source.path=FILE.npz.")
    if not Path(path).is_file():
        raise UserError(f"there is no file {path!r}.", "set --config.source.path to an .npz file.")
    try:
        with zipfile.ZipFile(path) as file:
            there = [name[:-4] for name in file.namelist() if name.endswith(".npy")]
            _check_keys(path, there)
            wanted = [key for key in (*KEYS, "class_names") if key in there]
            size, packed = sum(_declared(file, key) for key in wanted), Path(path).stat().st_size
            if size > packed * DEFLATE:
                raise ValueError(f"it declares {size} bytes, which a file of {packed} cannot hold")
            refuse_large(path, size, most_gib)
            return {key: _array(file, key) for key in wanted}
    except UNREADABLE as error:
        raise UserError(
            f"{path} is not an .npz file of plain arrays ({error}).",
            "save it anew with np.savez; arrays of Python objects are not read.",
        ) from None


def _declared(file: zipfile.ZipFile, key: str) -> int:
    """The bytes of an array. Raises ValueError where its header and the zip's entry disagree."""
    member = file.getinfo(f"{key}.npy")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{key} is packed in another way than numpy's")
    with file.open(member) as stream:
        dtype, size = _header(stream)
        start = stream.tell()
    if dtype.hasobject:
        raise ValueError(f"{key} holds Python objects")
    if size != member.file_size - start:
        raise ValueError(f"{key} declares {size} bytes but has {member.file_size - start}")
    return size


def _header(stream: IO[bytes]) -> tuple[np.dtype, int]:
    """(dtype, bytes of all elements) as an .npy file declares them; nothing is evaluated."""
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):  # what numpy writes for plain arrays; later headers may fill the memory
        raise ValueError(f"version {version} of the .npy format is not read")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    return dtype, math.prod(shape) * dtype.itemsize


def _array(file: zipfile.ZipFile, key: str) -> np.ndarray:
    with file.open(f"{key}.npy") as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _check_keys(path: str, there: list[str]) -> None:
    for key in KEYS:
        if key not in there:
            close = nearest(key, [name for name in there if name not in KEYS])
            raise UserError(
                f"{path} has no array {key!r}.{close} It has: {', '.join(there) or 'none'}.",
                f"save it with np.savez(FILE, {', '.join(f'{k}=…' for k in KEYS)}).",
            )


def _set(
    path: str, found: dict[str, np.ndarray], name: str, first: int, lowest: int
) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 [n, h, w, c], labels int32 [n]) of one set, checked."""
    images, label = found[f"x_{name}"], found[f"y_{name}"]
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or not images.size:
        raise UserError(
            f"{path}: x_{name} is {images.dtype} {list(images.shape)}, "
            "not uint8 [n, h, w] or [n, h, w, c].",
            "give the pixels as they are, 0 to 255: x.astype('uint8').",
        )
    if label.ndim == 2 and label.shape[1] == 1:  # as Keras gives those of CIFAR
        label = label[:, 0]
    if label.dtype.kind not in "iu" or label.ndim != 1:
        raise UserError(
            f"{path}: y_{name} is {label.dtype} {list(label.shape)}, not whole numbers [n].",
            "give each image's class as a number from 0.",
        )
    if len(images) != len(label):
        raise UserError(f"{path}: {len(images)} images in x_{name}, {len(label)} labels for them.")
    if label.min() < lowest:
        meant = ", or -1 where it is not known" if lowest < 0 else ", all of them known"
        raise UserError(f"{path}: y_{name} has {label.min()}.", f"classes count from 0{meant}.")
    images = images if images.ndim == 4 else images[..., None]
    last = first or len(images)
    return images[:last], label[:last].astype(np.int32)


def _class_names(path: str, found: dict[str, np.ndarray]) -> list[str]:
    """The names of all classes. Raises UserError where a label has none."""
    classes = int(max(found["y_train"].max(), found["y_test"].max())) + 1
    if "class_names" not in found:
        return [str(k) for k in range(classes)]
    names = [str(name) for name in found["class_names"].reshape(-1)]
    if len(names) < classes or len(set(names)) < len(names):
        raise UserError(
            f"{path}: {len(names)} class_names ({', '.join(names[:12])}) "
            f"for labels up to {classes - 1}.",
            "give each class one name of its own.",
        )
    return names
