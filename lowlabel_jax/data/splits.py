"""Which training images are labelled, unlabelled or validation: exact, seeded, kept as a file.

Lists of indices into the source's "train" set. A file made once can be given to other runs, so
that methods meet the same labels and their results pair.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data.source import Info, Source, image_hashes

UNITS = ("per_class", "total", "fraction")


class Split(NamedTuple):
    """Sorted indices into the source's training set."""

    labelled: np.ndarray
    unlabelled: np.ndarray
    validation: np.ndarray


def divide(
    labels: np.ndarray,
    class_names: tuple[str, ...],
    *,
    labelled: Mapping[str, float],
    validation: Mapping[str, float],
    unlabelled_includes_labelled: bool,
    seed: int,
) -> Split:
    """labels [n] (-1: unknown) -> a split, classes balanced or in proportion, counts exact.

    Validation images are set aside first and are in neither of the other sets. Every image of a
    class has a place in one seeded order: asking for more labels keeps those one had.
    Raises UserError naming the class that has too few images.
    """
    orders = [
        np.random.default_rng([seed, k]).permutation(np.flatnonzero(labels == k))
        for k in range(len(class_names))
    ]
    have = np.array([len(order) for order in orders])
    held = counts(validation, have)
    wanted = counts(labelled, have)
    for k, name in enumerate(class_names):
        if held[k] + wanted[k] > have[k]:
            asked = f"{wanted[k]} labelled" + (f" and {held[k]} validation" if held[k] else "")
            raise UserError(
                f"class {name!r} has {have[k]} images but {asked} ones are asked for.",
                "lower --config.split.labelled or --config.split.validation.",
            )
    aside = [order[:m] for order, m in zip(orders, held, strict=True)]
    known = [order[m : m + n] for order, m, n in zip(orders, held, wanted, strict=True)]
    rest = np.setdiff1d(np.arange(len(labels)), np.concatenate(aside))
    if not unlabelled_includes_labelled:
        rest = np.setdiff1d(rest, np.concatenate(known))
    return Split(np.sort(np.concatenate(known)), rest, np.sort(np.concatenate(aside)))


def counts(amount: Mapping[str, float], have: np.ndarray) -> np.ndarray:
    """How many images of each class [k]: {"per_class": 4}, {"total": 40} or {"fraction": 0.1}.

    A total is shared evenly, the first classes taking the remainder; a fraction follows the
    classes' sizes by largest remainder. Either way the sum is exact.
    """
    (unit, value), *more = [(u, v) for u, v in amount.items() if v is not None]
    if more or unit not in UNITS:
        raise UserError(f"an amount of images has one unit of {UNITS}, got {dict(amount)}.")
    if unit == "per_class":
        return np.full(len(have), int(value))
    if unit == "total":
        even, left = divmod(int(value), len(have))
        return np.full(len(have), even) + (np.arange(len(have)) < left)
    shares = have * float(value)
    whole = np.floor(shares).astype(int)
    missing = round(shares.sum()) - whole.sum()
    first = np.argsort(-(shares - whole), kind="stable")[:missing]
    whole[first] += 1
    return whole


def split_of(
    source: Source, config: Mapping[str, Any], seed: int, kept: Path | None = None
) -> Split:
    """A run's split: as kept by itself before, else a shared file's, else drawn. Writes nothing."""
    if kept and kept.exists():
        split = read(kept, source)
    elif config["file"]:
        split = read(Path(config["file"]), source)
    else:
        split = divide(
            source.labels["train"],
            source.class_names,
            labelled=config["labelled"],
            validation=config["validation"],
            unlabelled_includes_labelled=config["unlabelled_includes_labelled"],
            seed=seed,
        )
    check_leaks(source, split)
    return split


def write(path: Path, split: Split, source: Source) -> None:
    """Keep a split as JSON, with the fingerprint of the data that its indices point into."""
    lists = {name: indices.tolist() for name, indices in split._asdict().items()}
    files.write_json(path, {"data_fingerprint": source.fingerprint, **lists})


def read(path: Path, source: Source) -> Split:
    """A kept split. Raises UserError where it was made for other data."""
    kept = files.read_json(path)
    if kept["data_fingerprint"] != source.fingerprint:
        raise UserError(
            f"the split {path} was made for other data than the source gives now.",
            "give the data it was made for, or start in a new --workdir.",
        )
    return Split(*(np.asarray(kept[name], np.int64) for name in Split._fields))


def check_leaks(source: Source, split: Split) -> None:
    """Raise UserError where an image to be measured on is also one to be trained on, by content."""
    trained = np.union1d(split.labelled, split.unlabelled)
    seen = set(image_hashes(source.read("train", trained)))
    measured = {"validation": source.read("train", split.validation)}
    if "test" in source.labels:
        measured["test"] = source.read("test", np.arange(len(source.labels["test"])))
    for name, images in measured.items():
        both = [i for i, digest in enumerate(image_hashes(images)) if digest in seen]
        if both:
            raise UserError(
                f"{len(both)} {name} images are also training images (first: {name} {both[0]}).",
                "remove the copies: a score on them would flatter.",
            )


def examples(source: Source, split: Split, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 [n, h, w, c], labels int [n]) of a run's validation, test or labelled set."""
    if name in Split._fields:
        rows = getattr(split, name)
        return source.read("train", rows), source.labels["train"][rows]
    label = source.labels.get(name, np.zeros(0, np.int32))
    return source.read(name, np.arange(len(label))) if len(label) else label, label


def info_of(source: Source, split: Split) -> Info:
    """What the run may know about its data."""
    sizes = {name: len(indices) for name, indices in split._asdict().items()}
    sizes["test"] = len(source.labels.get("test", ()))
    k = len(source.class_names)
    labels = np.bincount(source.labels["train"][split.labelled], minlength=k)
    return Info(k, source.class_names, source.image_shape, sizes, tuple(labels.tolist()))
