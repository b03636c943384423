"""What a row of a CSV says of an image, and everything that is wrong with it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lowlabel_jax.data.source import Problem
from lowlabel_jax.sources.csv_rows import Row
from lowlabel_jax.sources.image_paths import Lookup, is_below, meant, shown, unsafe

SETS = {
    **{"train": "train", "validation": "validation", "val": "validation", "test": "test"},
    "unlabelled": "unlabelled",  # training images whose label, if the row has one, is hidden
}


class Entry(NamedTuple):
    """What a sound row says."""

    line: int
    name: str  # its id
    path: str
    label: str  # "": not known
    set: str


class Columns(NamedTuple):
    """How many fields a row has, and where its id, label and perhaps set stand."""

    count: int
    id: int
    label: int
    split: int | None = None


def entry_of(
    row: Row, columns: Columns, root: Path, files: Lookup, allow_unlabelled: bool
) -> tuple[Entry | None, list[Problem]]:
    """(what a row says, None where it is wrong; what there is to say of it)."""
    if len(row.fields) != columns.count:
        said = f"{len(row.fields)} fields, the header has {columns.count}"
        return None, [Problem("wrong number of fields", said, line=row.line)]
    raw, label = row.fields[columns.id], row.fields[columns.label]
    name = raw if raw in files.files else raw.strip()
    split = "train" if columns.split is None else row.fields[columns.split]
    path, why = path_of(name, root, files)
    entry = Entry(row.line, name, path, label.strip(), SETS.get(split.strip().lower(), ""))
    if hidden := entry.set == "unlabelled":
        entry = entry._replace(set="train", label="")
    said = [*why, *_of_set(entry, split), *_of_label(entry, allow_unlabelled or hidden)]
    spaced = [text for text, used in ((raw, name), (label, label.strip())) if text != used]
    said += [Problem("spaces left out", f"around {text!r}", wrong=False) for text in spaced]
    sound = not any(problem.wrong for problem in said)
    return entry if sound else None, [problem._replace(line=row.line) for problem in said]


def _of_set(entry: Entry, split: str) -> Iterator[Problem]:
    if not entry.set:
        yield Problem(
            "unknown set", f"{split!r} is none of train, validation (val), test, unlabelled"
        )


def _of_label(entry: Entry, allow_unlabelled: bool) -> Iterator[Problem]:
    if entry.label:
        return
    if not allow_unlabelled:
        yield Problem("empty label", f"{entry.name!r} has none")
    elif entry.set in ("validation", "test"):
        yield Problem("unlabelled image to measure on", f"{entry.name!r} is in {entry.set}")


def path_of(name: str, root: Path, files: Lookup) -> tuple[str, list[Problem]]:
    """(the one file below root that an id means, what is wrong with it): "" where it is wrong."""
    if name in files.files:
        return name, []
    if not name:
        return "", [Problem("empty name", "no file is named")]
    if why := unsafe(name):
        return "", [Problem("unsafe name", f"{name!r} {why}")]
    candidates = meant(name, files)
    if len(candidates) == 1:
        return candidates[0], []
    if candidates:
        return "", [Problem("ambiguous name", f"{name!r} can be {shown(candidates)}")]
    real = os.path.realpath(root / name)  # a hidden file, or one through a link
    if not os.path.isfile(real):
        return "", [Problem("missing file", f"there is no {name!r} in {str(root)!r}")]
    if not is_below(real, os.path.realpath(root)):
        said = f"{name!r} leads to {real!r}, outside of {str(root)!r}"
        return "", [Problem("unsafe name", said)]
    return name, []
