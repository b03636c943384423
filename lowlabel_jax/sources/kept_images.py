"""Decoded images kept on disk: a set is decoded once, then read as a memory map.

They lie in the user's cache directory, never beside the images: images/FINGERPRINT/SET.npy, which
can be deleted at any time. The fingerprint changes when a file, a label or the crop does.
"""

import os
import shutil

import numpy as np
from rich.console import Console
from rich.progress import track

from lowlabel_jax.core import files, log
from lowlabel_jax.data.source import Source

LARGEST = 8 * 2**30  # bytes: a set that would take more is decoded anew each time it is read
AT_ONCE = 64  # images decoded between two marks of the bar
LONG = 2_000  # images, some seconds: from here on a bar shows progress


def kept(source: Source) -> Source:
    """The source, with `keep(set)` decoding a set once and `read` quick from then on."""
    folder = files.cache_directory() / "images" / source.fingerprint
    maps: dict[str, np.ndarray] = {}

    def keep(name: str) -> None:
        path, size = folder / f"{name}.npy", _bytes(source, name)
        if name in maps or not len(source.labels[name]):
            return
        if not path.exists() and not _fits(size):
            return
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _decode_all(source, name, path)
        maps[name] = np.load(path, mmap_mode="r", allow_pickle=False)

    def read(name: str, indices: np.ndarray) -> np.ndarray:
        return np.asarray(maps[name][indices]) if name in maps else source.read(name, indices)

    return source._replace(read=read, keep=keep)


def _bytes(source: Source, name: str) -> int:
    return len(source.labels[name]) * int(np.prod(source.image_shape))


def _fits(size: int) -> bool:
    """Whether so many bytes may be kept: not more than LARGEST, nor than half of the free disk."""
    place = files.cache_directory()
    place.mkdir(parents=True, exist_ok=True)
    if size <= min(LARGEST, shutil.disk_usage(place).free // 2):
        return True
    log.warn(f"{size / 2**30:.1f} GiB of decoded images are not kept; they are decoded as needed.")
    return False


def _decode_all(source: Source, name: str, path: os.PathLike) -> None:
    """Decode a set into a .npy file, whole or not at all."""
    n = len(source.labels[name])
    temporary = f"{path}.{os.getpid()}.tmp"
    images = np.lib.format.open_memmap(
        temporary, mode="w+", dtype=np.uint8, shape=(n, *source.image_shape)
    )
    quiet = n < LONG or not Console().is_terminal
    try:
        starts = range(0, n, AT_ONCE)
        for start in track(starts, f"decoding {name}", transient=True, disable=quiet):
            rows = np.arange(start, min(start + AT_ONCE, n))
            images[rows] = source.read(name, rows)
        images.flush()
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
