"""What is known of every image file after one look: hashed, decoded to its end, and remembered.

The records lie in the user's cache directory and are used again for files whose size and time of
change are the same; nothing is written where the images lie.
"""

import concurrent.futures
import functools
import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import PIL
from PIL import Image
from rich.console import Console
from rich.progress import track

from lowlabel_jax.core import files, log
from lowlabel_jax.images.decoding import BadImage, load, pixels

VERSION = 1  # of what a record says: another number makes old records unused
AT_ONCE = 256  # files between two marks of the bar
LONG = 1_000  # files, some seconds: from here on a bar shows progress


class Record(NamedTuple):
    """What one look at a file found."""

    size: int = 0  # bytes
    mtime_ns: int = 0
    sha256: str = ""  # of the file, in hex
    width: int = 0  # pixels, upright
    height: int = 0
    mode: str = ""  # Pillow's
    format: str = ""  # Pillow's
    problem: str = ""  # "": it is sound
    dhash: str = ""  # 64 bits in hex: of similar pictures few differ


def inspect(root: Path, paths: Sequence[str], max_megapixels: float = 64.0) -> list[Record]:
    """A record of each file below root, in the order of paths. Files seen before are not opened."""
    place = _kept_in(root, max_megapixels)
    known, records = _kept(place), [Record()] * len(paths)

    def one(start: int, i: int) -> None:
        path = paths[start + i]
        records[start + i] = _record(root / path, known.get(path), max_megapixels)

    quiet = len(paths) < LONG or not Console().is_terminal
    starts = range(0, len(paths), AT_ONCE)
    try:
        for start in track(starts, "looking at every image", transient=True, disable=quiet):
            many(functools.partial(one, start), min(AT_ONCE, len(paths) - start))
    finally:  # an interruption loses nothing that was seen
        looked = dict(zip(paths, records, strict=True))
        fresh = {path: r for path, r in looked.items() if r.sha256 and known.get(path) != r}
        if fresh:
            _keep(place, {**known, **fresh})
    return records


def many(work: Callable[[int], None], n: int) -> None:
    """work(0), …, work(n - 1) on as many threads as there are cores, this one among them.

    Raises what the first work to fail raises; work that has not begun by then is not done.
    """
    places, stop = iter(range(n)), threading.Event()

    def run() -> None:
        try:
            for place in places:  # shared: each place goes to one thread
                if stop.is_set():
                    return
                work(place)
        except BaseException:
            stop.set()
            raise

    helpers = [_pool().submit(run) for _ in range(min(cores(), n) - 1)] if n >= 4 else []
    try:
        run()
    finally:
        begun = [helper for helper in helpers if not helper.cancel()]
        concurrent.futures.wait(begun)
    for helper in begun:
        helper.result()


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def _pool() -> concurrent.futures.ThreadPoolExecutor:
    """The threads that help, made once. A caller works too, so work may itself call many."""
    return concurrent.futures.ThreadPoolExecutor(max(1, cores() - 1), "lowlabel-images")


os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of its parent's threads


def dhash(grey: np.ndarray) -> str:
    """uint8 [h, w] -> 16 hex digits: whether each of 8 x 8 fields is darker than the next one."""
    small = np.asarray(Image.fromarray(grey).resize((9, 8), Image.Resampling.BOX), np.int16)
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes().hex()


def _record(path: Path, old: Record | None, max_megapixels: float) -> Record:
    """What is known of a file, from before where it has not changed."""
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            return Record(problem="it is not a regular file")
        if old and (old.size, old.mtime_ns) == (found.st_size, found.st_mtime_ns):
            return old
        with open(path, "rb") as file:
            return look(file, Record(found.st_size, found.st_mtime_ns), max_megapixels)
    except FileNotFoundError:
        link = os.path.islink(path)
        return Record(problem="it is a link to nothing" if link else "there is no such file")
    except OSError as error:
        return Record(problem=error.strerror or str(error))
    except ValueError:  # of os.stat
        return Record(problem="its name holds a NUL")


def look(file: BinaryIO, record: Record, max_megapixels: float) -> Record:
    """The record completed by reading a file from its start. Raises OSError where that fails."""
    digest = hashlib.file_digest(file, "sha256")  # pyright: ignore[reportArgumentType]
    record = record._replace(sha256=digest.hexdigest())
    try:
        image = load(file, max_megapixels)
        grey = pixels(image, 1)[..., 0]
    except BadImage as error:
        return record._replace(problem=str(error))
    return record._replace(
        width=image.width,
        height=image.height,
        mode=image.mode,
        format=image.format or "",
        dhash=dhash(grey),
    )


def _kept_in(root: Path, max_megapixels: float) -> Path:
    """Where the records of a root are kept."""
    key = json.dumps([str(root.resolve()), max_megapixels, VERSION, PIL.__version__])
    name = hashlib.sha256(key.encode()).hexdigest()
    return files.cache_directory() / "inspections" / f"{name}.json"


def _kept(place: Path) -> dict[str, Record]:
    """The records kept from before; none where there are none or the file is broken."""
    try:
        kept = json.loads(place.read_text(encoding="utf-8"))
        return {path: Record(*values) for path, values in kept.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _keep(place: Path, records: Mapping[str, Record]) -> None:
    """Keep the records for the next time, if the disk takes them."""
    try:
        files.write_text(place, json.dumps(records))
    except OSError as error:
        log.warn(f"{place} cannot be written ({error}): every image will be decoded again.")
