"""Which images a run would train and measure on, and what is wrong with that or worth a look."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.configuration import resolve
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data import check as look_at
from lowlabel_jax.data import split_checks, splits
from lowlabel_jax.data.check import Near, Place, Scan
from lowlabel_jax.data.sets import Split, rows
from lowlabel_jax.data.source import Problem, Source, image_name
from lowlabel_jax.runs.data_check.data_given import Data
from lowlabel_jax.sources import image_files, listings

TINY = 10  # training images: a class of fewer is said
UNEQUAL = 3.0  # the largest class as a multiple of the smallest: above it that is said
SIDES = ("training", "validation", "test")  # what an image is for
MEMBERS = 6  # images of a group that a problem names


class Parts(NamedTuple):
    """The sets of a run, or those of the source where no config says how it is split."""

    labels: dict[str, np.ndarray]  # set -> int32 [n]: the source's "train", then the run's sets
    of: dict[str, np.ndarray]  # the source's set -> for each image its set in the run, "": none
    refusal: str = ""  # why a run would not begin with this split

    def side(self, place: Place) -> str:
        """What an image is for, one of SIDES, or "" for nothing."""
        part = str(self.of[place[0]][place[1]])
        return "training" if part in ("train", "labelled", "unlabelled") else part

    def sides(self, group: Sequence[Place]) -> list[str]:
        """What the images of a group are for, each once."""
        found = {self.side(place) for place in group}
        return [side for side in SIDES if side in found]


def parts_of(data: Data, source: Source) -> Parts:
    """How a run of the config would split the data; its source's own sets where none says so."""
    own = {name: np.full(len(label), name, object) for name, label in source.labels.items()}
    if not data.has_split:
        return Parts(source.labels, own)
    wanted, seed = data.config.split.to_dict(), resolve.seeds(data.config)["split"]
    refusal = ""
    try:
        split = splits.split_of(source, wanted, seed)
    except UserError as error:
        refusal, split = str(error), _unchecked(source, wanted, seed)
    if split is None:
        return Parts(source.labels, own, refusal)
    own["train"][:] = ""
    labels = {"train": source.labels["train"]}
    for name in Split._fields:
        place, indices, labels[name] = rows(source, split, name)
        kept = own[place][indices] == "labelled"  # such an image may be an unlabelled one too
        own[place][indices] = np.where(kept, "labelled", name)
    return Parts(labels, own, refusal)


def _unchecked(source: Source, wanted: Mapping[str, Any], seed: int) -> Split | None:
    """The split that a run would refuse, if there is one at all: to show what is wrong with it."""
    try:
        file = wanted["file"]
        return splits.read(Path(file), source) if file else splits.divide(source, wanted, seed)
    except UserError:
        return None


def opened(data: Data) -> Iterator[Problem]:
    """What was noticed when the data was opened, as wrong as the config takes it for."""
    skips = data.config.image.on_bad == "skip"
    for problem in data.problems:
        yield problem._replace(wrong=False) if skips and problem.kind == "unreadable" else problem


def hints(data: Data, problems: Sequence[Problem]) -> list[str]:
    """What to type about the problems that are wrong, as a run would say that refuses the data."""
    module = importlib.import_module(f"lowlabel_jax.sources.{data.config.source.name}")
    known = dict(getattr(module, "HINTS", {}))
    known |= {"unreadable": image_files.SKIP, "leakage": split_checks.LEAK}
    return [text for text in [listings.advice(problems, known)] if text]


def leakage(
    source: Source, parts: Parts, groups: Sequence[Sequence[Place]], allowed: bool
) -> Iterator[Problem]:
    """Images that a run would both train and measure on, or measure on twice.

    allowed: the run would leave them out of training.
    """
    for group in groups:
        sides = parts.sides(group)
        said = f"the same image for {' and '.join(sides)}: {_members(source, group)}"
        wrong = "training" in sides and not allowed
        yield Problem("leakage", said, image_name(source, *group[0]), wrong=wrong)
    if parts.refusal and not any("training" in parts.sides(group) for group in groups):
        yield Problem("split", " ".join(parts.refusal.split()))


def conflicts(source: Source, groups: Sequence[Sequence[Place]]) -> Iterator[Problem]:
    """Equal images under several labels."""
    for group in groups:
        if len({look_at.class_of(source, place) for place in group} - {None}) > 1:
            said = f"one image, several labels: {_members(source, group)}"
            yield Problem("conflict", said, image_name(source, *group[0]), wrong=False)


def near_ones(
    source: Source, parts: Parts, pairs: Sequence[Near], complete: bool
) -> Iterator[Problem]:
    """Nearly equal images on several sides, which flatter a score: never wrong, never removed."""
    for pair in pairs:
        sides = parts.sides([pair.first, pair.second])
        if len(sides) > 1:
            how = "mirrored, " if pair.mirrored else ""
            said = (
                f"nearly the same image ({how}correlation {pair.correlation:.2f}) for "
                f"{' and '.join(sides)}: {_members(source, [pair.first, pair.second])}"
            )
            yield Problem("near duplicate", said, image_name(source, *pair.first), wrong=False)
    if not complete:
        said = "so many images look alike that not all of their pairs were compared"
        yield Problem("near duplicate", said, wrong=False)


def constant(source: Source, scans: Mapping[str, Scan]) -> Iterator[Problem]:
    """Images of one colour."""
    for name, found in scans.items():
        for index in found.constant.tolist():
            said = "every pixel has the same colour"
            yield Problem("constant", said, image_name(source, name, index), wrong=False)


def few(counted: Mapping[str, Mapping[str, int]]) -> Iterator[Problem]:
    """Classes with no images in a set that has any, or with hardly any to train on."""
    full = {name for of in counted.values() for name, n in of.items() if n} - {"unlabelled"}
    for label, of in counted.items():
        for name in (name for name, n in of.items() if not n and name in full):
            said = f"class {label!r} has no image in {name}"
            yield Problem("empty class", said, wrong=False)
        if 0 < of["train"] < TINY:
            said = f"class {label!r} has {of['train']} images in train"
            yield Problem("tiny class", said, wrong=False)


def unequal(imbalance: Mapping[str, Any]) -> Iterator[Problem]:
    """Classes of very different sizes among the labelled images, or in "train" without a split."""
    name = "labelled" if "labelled" in imbalance else "train"
    of = imbalance.get(name)
    if of and of["ratio"] > UNEQUAL:
        large, small = of["largest"], of["smallest"]
        said = (
            f"class {large['class']!r} has {large['n']} images in {name} and {small['class']!r} "
            f"{small['n']}, {of['ratio']:.1f} times fewer: docs/imbalance.md says what to do"
        )
        yield Problem("imbalance", said, wrong=False)


def wide(source: Source) -> Iterator[Problem]:
    """Files far from square."""
    for name, records in source.records.items():
        for index, record in enumerate(records):
            if look_at.is_wide(record):
                said = f"{record.width} x {record.height} pixels: as a square little of it is left"
                yield Problem("far from square", said, image_name(source, name, index), wrong=False)


def _members(source: Source, group: Sequence[Place]) -> str:
    named = [
        f"{image_name(source, *place)} ({look_at.class_of(source, place) or 'no label'})"
        for place in group[:MEMBERS]
    ]
    more = [f"and {len(group) - MEMBERS} more"] if len(group) > MEMBERS else []
    return ", ".join([*named, *more])
