"""Images named in a CSV: a column of file names, a column of labels, perhaps one of sets.

All that is wrong with its rows is said at once, each with its line; nothing is guessed.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lowlabel_jax.core.errors import UserError, nearest
from lowlabel_jax.data.source import BadData, Problem, Source
from lowlabel_jax.sources import csv_rows, image_files
from lowlabel_jax.sources.image_files import Listing
from lowlabel_jax.sources.image_paths import find, lookup, shown
from lowlabel_jax.sources.listings import advice, class_problems
from lowlabel_jax.sources.table_entries import Columns, Entry, entry_of

HINTS = {
    "missing file": "set --config.source.images to the folder of the files, or take out the rows.",
    "unsafe name": "name files by their path below --config.source.images, with / between folders.",
    "ambiguous name": "write these names with their extensions.",
    "wrong number of fields": "put fields with a delimiter in them in quotes.",
    "empty name": "name a file in each row, or take out the row.",
    "empty label": "fill in these labels, or take the images as unlabelled: "
    "--config.source.allow_unlabelled=True",
    "unlabelled image to measure on": "label these rows, or write train for them.",
    "conflicting rows": "keep one row for each image.",
    "two spellings of a label": "spell each label in one way.",
    "unknown set": "write train, validation, test or unlabelled.",
    "classes differ": "every set needs the same labels.",
    "no labels": "set --config.source.label to the column of labels.",
    "one class only": "two labels or more are wanted; set --config.source.label to their column.",
}


def table(
    *,
    image: Any,
    path: str = "",
    images: str = "",
    id: str = "id",
    label: str = "label",
    split: str = "",
    delimiter: str = "",
    allow_unlabelled: bool = False,
) -> Source:
    """The images that the rows of the CSV PATH name, in UTF-8 and with a header.

    images: the folder of the files; "": the CSV's own. id, label: the columns of file names (with
    or without extension) and labels. split: a column of train, validation (or val), test and
    unlabelled (training images whose label is hidden); "": all rows are train. delimiter: "":
    comma, semicolon or tab, whichever the header has. allow_unlabelled: an empty label makes an
    unlabelled image, and no error.
    Raises UserError that names every row which is wrong, with its line.
    """
    if not path:
        raise UserError("the source 'table' has no file.", "add --config.source.path=FILE.csv.")
    file = _file(path)
    root = Path(images).expanduser() if images else file.parent
    if not root.is_dir():
        raise UserError(f"there is no folder {str(root)!r}.", "set --config.source.images.")
    wanted = [id, label, *([split] if split else [])]
    listing = list_table(file, root, wanted, delimiter, allow_unlabelled)
    return image_files.from_files(listing, image, advice(listing.problems, HINTS))


def list_table(
    file: Path, root: Path, wanted: Sequence[str], delimiter: str, allow_unlabelled: bool
) -> Listing:
    """What a CSV says of the files in root. wanted: the columns of ids, labels and perhaps sets.

    Raises UserError where it cannot be read as a table, and BadData where it has no sound row.
    """
    header, rows = csv_rows.read(file, wanted, delimiter)
    columns = Columns(len(header), *(header.index(name) for name in wanted))
    found = find(root)
    files, problems = lookup(found), [p._replace(wrong=False) for p in found.problems]
    entries = []
    for row in rows:
        entry, said = entry_of(row, columns, root, files, allow_unlabelled)
        problems += said
        entries += [entry] if entry else []
    entries = _once(entries, problems)
    problems += _spellings(entries)
    rest = sorted(set(found.images) - {entry.path for entry in entries})
    if rest:
        said = f"{len(rest)} images in {str(root)!r} are in no sound row: {shown(rest)}"
        problems.append(Problem("files without a row", said, wrong=False))
    return _listing(file, root, entries, problems)


def _listing(file: Path, root: Path, entries: list[Entry], problems: list[Problem]) -> Listing:
    """The entries by set, in the order of the file."""
    sets = {name: [e for e in entries if e.set == name] for name in ("train", "validation", "test")}
    sets = {name: those for name, those in sets.items() if those}
    labels = {name: {e.label for e in those if e.label} for name, those in sets.items()}
    names = tuple(sorted(labels.get("train", ())))
    if not names:
        problems.append(Problem("no labels", "no row of the set train is sound and has a label"))
    elif not any(problem.wrong for problem in problems):  # else classes lack what its rows said
        problems += class_problems(labels)
    problems = [p if p.path else p._replace(path=str(file)) for p in problems]
    if not names:
        raise BadData([p for p in problems if p.wrong], advice(problems, HINTS))
    number = {label: k for k, label in enumerate(names)} | {"": -1}
    sets = {name: [e for e in those if e.label in number] for name, those in sets.items()}
    return Listing(
        root,
        names,
        {name: [e.path for e in those] for name, those in sets.items()},
        {
            name: np.array([number[e.label] for e in those], np.int32)
            for name, those in sets.items()
        },
        {name: [e.name for e in those] for name, those in sets.items()},
        tuple(problems),
    )


def _once(entries: Sequence[Entry], problems: list[Problem]) -> list[Entry]:
    """One entry for each image: rows that say the same are one, rows that differ are none."""
    first: dict[str, Entry] = {}
    torn = set()
    for entry in entries:
        other = first.setdefault(entry.path, entry)
        if other is entry:
            continue
        mine, theirs = (
            f"{e.label!r} in {e.set}" if e.label else "unlabelled" for e in (entry, other)
        )
        if mine != theirs:
            torn.add(entry.path)
            said = f"{entry.name!r} is {mine} here, and {theirs} on line {other.line}"
            problems.append(Problem("conflicting rows", said, line=entry.line))
        else:
            said = f"{entry.name!r} is there on line {other.line} already"
            problems.append(Problem("row left out", said, line=entry.line, wrong=False))
    return [entry for path, entry in first.items() if path not in torn]


def _spellings(entries: Sequence[Entry]) -> Iterator[Problem]:
    """Labels that seem to be one label written in two ways: 1 and 1.0, cat and Cat."""
    counts = Counter(entry.label for entry in entries)
    lines = {entry.label: entry.line for entry in reversed(entries)}
    alike: dict[object, list[str]] = {}
    for label in sorted(counts, key=lines.__getitem__):
        alike.setdefault(_meaning(label), []).append(label)
    for same in (those for those in alike.values() if len(those) > 1):
        said = " and ".join(f"{x!r} (line {lines[x]}, {counts[x]} rows)" for x in same)
        yield Problem("two spellings of a label", said, line=lines[same[1]])


def _meaning(label: str) -> object:
    """What is the same for labels that a person takes for the same."""
    plain = " ".join(unicodedata.normalize("NFKC", label).casefold().strip("\"'").split())
    try:
        number = float(plain)
    except ValueError:
        return plain
    return number if np.isfinite(number) else plain


def _file(path: str) -> Path:
    file = Path(path).expanduser()
    if file.is_file():
        return file
    folder = file if file.is_dir() else file.parent
    known = [entry.name for entry in folder.glob("*") if entry.suffix in (".csv", ".tsv", ".txt")]
    what = "is a folder" if file.is_dir() else "is not there"
    raise UserError(
        f"the table {path!r} {what}.{nearest(file.name, known)}",
        f"set --config.source.path to a CSV file; in {str(folder)!r} there are: "
        f"{shown(sorted(known)) or 'none'}.",
    )
