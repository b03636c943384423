"""A split for people: counts by class and set as text, every image's set as a CSV."""

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from lowlabel_jax.core import files
from lowlabel_jax.data.sets import Split, brought, rows
from lowlabel_jax.data.source import Source, image_name

NAME = "split_label.csv"
COLUMNS = ("id", "label", "type")
TYPES = {  # an image that is in two sets, unlabelled and labelled, is of the later one
    "unlabelled": "unlabelled",
    "labelled": "train",
    "validation": "validation",
    "test": "test",
}
CLASSES = 12  # up to so many are listed one by one


def write_table(path: Path, split: Split, source: Source) -> str:
    """Write a CSV with the columns id, label, type; its SHA-256 in hex.

    type is train, validation, test or unlabelled; images in no set are left out. The source
    `table` reads it with split="type". An id that a spreadsheet would compute is written as
    "./id": the same file, and no formula.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(_lines(split, source))
    data = text.getvalue().encode("utf-8", "surrogateescape")  # names of files need not be UTF-8
    files.write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


def _lines(split: Split, source: Source) -> Iterator[tuple[str, str, str]]:
    """(id, class or "", type) of every image, in the source's order."""
    kinds: dict[int, str] = {}
    for name, kind in TYPES.items():
        kinds |= dict.fromkeys(getattr(split, name).tolist(), kind)
    yield from _rows(source, "train", dict(sorted(kinds.items())))
    for name in (name for name in TYPES if brought(source, name)):
        yield from _rows(source, name, dict.fromkeys(range(len(source.labels[name])), name))


def _rows(source: Source, place: str, kinds: Mapping[int, str]) -> Iterator[tuple[str, str, str]]:
    for index, kind in kinds.items():
        name, label = image_name(source, place, index), source.labels[place][index]
        said = source.class_names[label] if label >= 0 else ""
        yield files.without_formula(name), said, kind


def describe(source: Source, split: Split) -> str:
    """How many images of each class are in each set; of many classes the least and the most."""
    labels = {name: rows(source, split, name)[2] for name in Split._fields}
    k = len(source.class_names)
    table = np.stack([np.bincount(label[label >= 0], minlength=k) for label in labels.values()], 1)
    if k <= CLASSES:
        lines = dict(zip(source.class_names, table, strict=True))
    else:
        lines = {"least of a class": table.min(0), "most of a class": table.max(0)}
    if unknown := [int((label < 0).sum()) for label in labels.values()]:
        lines |= {"no label": unknown} if any(unknown) else {}
    lines[f"all {k} classes" if k > CLASSES else "all"] = [len(of) for of in labels.values()]
    width = max(5, *(len(name) for name in lines))
    head = f"{'class':<{width}}" + "".join(f"{name:>12}" for name in labels)
    return "\n".join([head, *(_line(name, width, counts) for name, counts in lines.items())])


def _line(name: str, width: int, counts: np.ndarray | list[int]) -> str:
    return f"{name:<{width}}" + "".join(f"{count:>12,}" for count in counts)
