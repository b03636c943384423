"""MNIST, and what is kept in its form (Fashion-MNIST, KMNIST): four idx files in a folder.

A file is read as far as its header says and no further, and not at all where it cannot hold that.
"""

import gzip
import math
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.core.ranges import NonNegative
from lowlabel_jax.data.source import Source, from_arrays
from lowlabel_jax.sources.limits import DEFLATE, refuse_large

PREFIXES = {"train": "train", "test": "t10k"}
IMAGES, LABELS = 2051, 2049  # magic numbers: unsigned bytes of three axes, and of one
AT_ONCE = 2**20  # bytes read together


def mnist_idx(*, path: str = "data/mnist", most_gib: NonNegative = 0.0) -> Source:
    """The folder's train-* and t10k-* files, .gz or not, read into memory; classes by number.

    most_gib: a file that declares more is refused unread; 0: half of the machine's memory.
    Raises UserError that names the file which is missing, cut short or something else.
    """
    folder = Path(path)
    sets = {}
    for name, prefix in PREFIXES.items():
        images = _read(folder, f"{prefix}-images-idx3-ubyte", IMAGES, most_gib)
        label = _read(folder, f"{prefix}-labels-idx1-ubyte", LABELS, most_gib)
        if len(images) != len(label) or not len(label):
            raise UserError(
                f"{folder}: {len(images)} {name} images and {len(label)} labels for them."
            )
        sets[name] = (images[..., None], label)
    classes = max(int(label.max()) for _, label in sets.values()) + 1
    return from_arrays([str(k) for k in range(classes)], sets)


def _read(folder: Path, name: str, magic: int, most_gib: float) -> np.ndarray:
    """uint8 [n, h, w] or [n]: magic, then the length of each axis, all big-endian, then bytes."""
    path = _find(folder, name)
    try:
        opened: Any = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rb") as stream:
            return _content(path, stream, magic, most_gib)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}).", "fetch it again.") from None


def _content(path: Path, stream: IO[bytes], magic: int, most_gib: float) -> np.ndarray:
    axes = magic % 256  # the number's last byte is that of axes
    header = stream.read(4 * (axes + 1))
    first, *shape = np.frombuffer(header[: len(header) // 4 * 4], ">u4").tolist() or [-1]
    if first != magic:
        raise UserError(f"{path} begins with {first}, not with idx's {magic}.", "fetch it again.")
    size, said = math.prod(shape), f"{path} says {' x '.join(map(str, shape))} bytes"
    packed, ratio = path.stat().st_size, DEFLATE if path.suffix == ".gz" else 1
    if len(shape) < axes or size > packed * ratio:
        raise UserError(f"{said}, which a file of {packed} cannot hold.", "fetch it again.")
    refuse_large(path, size, most_gib)
    body = _exactly(stream, size)
    if len(body) < size or stream.read(1):
        has = "more" if len(body) == size else len(body)
        raise UserError(f"{said} but has {has}.", "fetch it again.")
    return np.frombuffer(body, np.uint8).reshape(shape)


def _exactly(stream: IO[bytes], size: int) -> bytearray:
    """So many bytes, or all that there are: memory grows with what comes, not with what is said."""
    body = bytearray()
    while len(body) < size and (part := stream.read(min(AT_ONCE, size - len(body)))):
        body += part
    return body


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise UserError(
        f"there is no {name}[.gz] in {str(folder)!r}.",
        "set --config.source.path to the folder with MNIST's four idx files.",
    )
