"""The records of a prepared TFDS split: labels and encoded images, any of them at any time."""

import hashlib
import io
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track

from lowlabel_jax.core import files, log
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data.source import Problem
from lowlabel_jax.images.decoding import BadImage, decode
from lowlabel_jax.images.inspection import VERSION, Record, look, many

AT_ONCE = 256  # records held at a time where a whole split is looked at
LONG = 5_000  # records, about a second of small ones: from here on a bar shows progress


Shape = tuple[int, int, int]  # (height, width, channels)


class Records(NamedTuple):
    """A split, its images not decoded."""

    split: str  # in TFDS' words
    examples: Any  # TFDS' random access
    image: str  # the two features' names
    label: str
    folder: Path  # where the set lies

    def called(self, row: int) -> str:
        """What people call a record."""
        return f"{self.folder.parent.name} {self.split}[{row}]"

    def images(self, rows: Sequence[int] | np.ndarray) -> list[bytes]:
        """The encoded images at these places [m]."""
        return [example[self.image] for example in self.examples.__getitems__([*map(int, rows)])]


def records(builder: Any, split: str, image: str, label: str) -> Records:
    """A split of a prepared set. Raises UserError where there is none such, or nothing in it."""
    import tensorflow_datasets as library

    features = builder.info.features.items()
    pictures = [name for name, feature in features if type(feature).__name__ == "Image"]
    decoders = {name: library.decode.SkipDecoding() for name in pictures}
    try:
        examples = builder.as_data_source(split=split, decoders=decoders)
    except (ValueError, AssertionError) as error:
        known = ", ".join(builder.info.splits)
        raise UserError(
            f"the dataset {builder.name!r} has no images in a split {split!r} ({error}).",
            f"there are: {known}; set --config.source.train, .validation and .test, in parts of "
            'one split if need be: "train[:90%]" and "train[90%:]".',
        ) from None
    return Records(split, examples, image, label, Path(builder.data_path))


def blocks(found: Records, doing: str) -> Iterator[tuple[range, list[bytes], list[int]]]:
    """(places, encoded images, labels) of all records in turn, with a bar where that takes long."""
    n = len(found.examples)
    quiet = n < LONG or not Console().is_terminal
    title = f"{doing} {found.split}"
    for start in track(range(0, n, AT_ONCE), title, transient=True, disable=quiet):
        rows = range(start, min(start + AT_ONCE, n))
        examples = found.examples.__getitems__(list(rows))
        yield (
            rows,
            [example[found.image] for example in examples],
            [int(example[found.label]) for example in examples],
        )


def looked_at(found: Records, max_megapixels: float) -> tuple[np.ndarray, list[Record]]:
    """(labels int32 [n], a record of each image), every image decoded once and remembered.

    What was found lies in the user's cache directory, and holds until a file of the set changes.
    """
    place = kept_in(found, max_megapixels).with_suffix(".json")
    try:
        labels, kept = json.loads(place.read_text(encoding="utf-8"))
        return np.array(labels, np.int32), [Record(*values) for values in kept]
    except (OSError, ValueError, TypeError):  # not there, or broken: looked at again
        pass
    seen, labels = [Record()] * len(found.examples), []
    for rows, contents, some in blocks(found, "looking at every image of"):

        def one(i: int, rows: range = rows, contents: list[bytes] = contents) -> None:
            seen[rows[i]] = look(io.BytesIO(contents[i]), Record(len(contents[i])), max_megapixels)

        many(one, len(rows))
        labels += some
    try:
        files.write_text(place, json.dumps([labels, seen]))
    except OSError as error:
        log.warn(f"{place} cannot be written ({error}): every image will be decoded again.")
    return np.array(labels, np.int32), seen


def exactly(content: bytes, shape: Shape, max_megapixels: float) -> np.ndarray:
    """An encoded image as uint8 [h, w, c]. Raises BadImage where it has another shape."""
    decoded = decode(io.BytesIO(content), shape[-1], max_megapixels)
    if decoded.shape != shape:
        raise BadImage(f"it has the shape {decoded.shape}, not {shape} as the metadata says")
    return decoded


def known(found: Records, name: str, labels: np.ndarray) -> np.ndarray:
    """The labels int32 [n]. Raises UserError where some of validation or test are not known."""
    if name != "train" and (labels < 0).any():
        raise UserError(
            f"{(labels < 0).sum()} of the {len(labels)} images of {found.split!r} have no label.",
            f"set --config.source.{name} to a split with labels, or to nothing.",
        )
    return labels


def unreadable(found: Records, bad: Mapping[int, str], on_bad: str) -> list[Problem]:
    """What is wrong with images (place -> why), in their order."""
    if bad and on_bad == "skip":
        log.warn(f"{len(bad)} of {len(found.examples)} images cannot be read and are left out.")
    return [
        Problem("unreadable", f"{found.called(row)}: {bad[row]}", wrong=on_bad != "skip")
        for row in sorted(bad)
    ]


def sound(n: int, bad: Container[int]) -> np.ndarray:
    """The places [m] of n images less those of bad ones."""
    return np.array([row for row in range(n) if row not in bad], np.int64)


def kept_in(found: Records, max_megapixels: float) -> Path:
    """Where to keep what is known of a split: named by its files' sizes and times of change."""
    lying = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(found.folder.iterdir())
    ]
    key = [str(found.folder.resolve()), lying, found.split, found.image, found.label]
    name = hashlib.sha256(json.dumps([*key, max_megapixels, VERSION]).encode()).hexdigest()
    return files.cache_directory() / "inspections" / f"tfds-{name}"
