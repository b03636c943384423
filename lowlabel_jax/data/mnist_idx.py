"""MNIST, and what is kept in its form (Fashion-MNIST, KMNIST): four idx files in a folder."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data.source import Source, from_arrays

PREFIXES = {"train": "train", "test": "t10k"}
IMAGES, LABELS = 2051, 2049  # magic numbers: unsigned bytes of three axes, and of one


def mnist_idx(*, path: str = "data/mnist") -> Source:
    """The folder's train-* and t10k-* files, .gz or not, read into memory; classes by number.

    Raises UserError that names the file which is missing, cut short or something else.
    """
    folder = Path(path)
    sets = {}
    for name, prefix in PREFIXES.items():
        images = _read(folder, f"{prefix}-images-idx3-ubyte", IMAGES)
        label = _read(folder, f"{prefix}-labels-idx1-ubyte", LABELS)
        if len(images) != len(label) or not len(label):
            raise UserError(
                f"{folder}: {len(images)} {name} images and {len(label)} labels for them."
            )
        sets[name] = (images[..., None], label)
    classes = max(int(label.max()) for _, label in sets.values()) + 1
    return from_arrays([str(k) for k in range(classes)], sets)


def _read(folder: Path, name: str, magic: int) -> np.ndarray:
    """uint8 [n, h, w] or [n]: magic, then the length of each axis, all big-endian, then bytes."""
    path = _find(folder, name)
    content = _content(path)
    start = 4 * (magic % 256 + 1)  # the number's last byte is that of axes
    header, body = content[:start], content[start:]
    first, *shape = np.frombuffer(header[: len(header) // 4 * 4], ">i4").tolist() or [-1]
    if first != magic:
        raise UserError(f"{path} begins with {first}, not with idx's {magic}.", "fetch it again.")
    if len(body) != np.prod(shape):
        said = " x ".join(map(str, shape))
        raise UserError(f"{path} says {said} bytes but has {len(body)}.", "fetch it again.")
    return np.frombuffer(body, np.uint8).reshape(shape)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise UserError(
        f"there is no {name}[.gz] in {str(folder)!r}.",
        "set --config.source.path to the folder with MNIST's four idx files.",
    )


def _content(path: Path) -> bytes:
    """The bytes of a file, unpacked. Raises UserError where they cannot be."""
    content = path.read_bytes()
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be unpacked ({error}).", "fetch it again.") from None
