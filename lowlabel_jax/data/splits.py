"""Which training images are labelled, unlabelled, validation, test: exact, seeded, kept as a file.

Lists of indices into the source's "train" set. A file made once can be given to other runs, so
that methods meet the same labels and their results pair.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lowlabel_jax.core import files, log
from lowlabel_jax.core.errors import UserError, problems
from lowlabel_jax.data import amounts, held_out, normal, split_table
from lowlabel_jax.data.sets import NONE, Split, rows
from lowlabel_jax.data.source import Info, Source
from lowlabel_jax.data.split_checks import check_classes, check_leaks, check_source


def split_of(
    source: Source, config: Mapping[str, Any], seed: int, kept: Path | None = None
) -> Split:
    """A run's split: as kept by itself before, else a shared file's, else drawn. Writes nothing.

    config: config["split"], with all its keys. Raises UserError where it cannot be had, and where
    an image would be both trained and measured on.
    """
    problems(held_out.misfits(config))
    if known := set(config["unknown_classes"]) & set(source.class_names):
        raise ValueError(f"open the source by unknown.without first: it still knows {known}")
    check_source(source)
    if kept and kept.exists():
        split = read(kept, source)
    elif config["file"]:
        split = read(Path(config["file"]), source)
    else:
        split = divide(source, config, seed)
    split = check_leaks(source, split, config["allow_duplicates"])
    if config["normal_classes"]:
        return normal.kept(source, split, config["normal_classes"])
    check_classes(source, split, config["allow_fewer"])
    return split


def divide(source: Source, config: Mapping[str, Any], seed: int) -> Split:
    """Draw a split: what is measured on, then the labelled images, then the unlabelled ones.

    Every image of a class has a place in one order: asking for more labels keeps those one had.
    Raises UserError naming the classes that have too few images.
    """
    drawn = held_out.set_aside(source, config, seed)
    measured = np.concatenate(list(drawn.aside.values()))
    left = [_less(order, measured, source) for order in drawn.orders]
    known = _labelled(left, source.class_names, config)
    others = _unlabelled(left, known, measured, source, config)
    aside = {name: np.sort(found) for name, found in drawn.aside.items()}
    if config["folds"]:
        known, part = held_out.fold(known, source.class_names, config)
        aside["validation"] = np.sort(part)
    labelled = np.sort(np.concatenate(known))
    both = config["unlabelled_includes_labelled"]
    return Split(labelled, np.union1d(others, labelled) if both else others, **aside)


def _less(order: np.ndarray, taken: np.ndarray, source: Source) -> np.ndarray:
    """An order [n] of training images without those that are taken."""
    free = np.ones(len(source.labels["train"]), bool)
    free[taken] = False
    return order[free[order]]


def _labelled(
    left: list[np.ndarray], class_names: tuple[str, ...], config: Mapping[str, Any]
) -> list[np.ndarray]:
    """The first images of each class's order: as many as are asked for, or a long tail of them."""
    have = np.array([len(order) for order in left])
    wanted, gamma = amounts.counts(config["labelled"], have), config["labelled_imbalance"]
    if gamma != 1:
        wanted = amounts.long_tail(int(wanted[0]), gamma, len(have))
    taken = amounts.enough(wanted, have, class_names, "labelled", config["allow_fewer"])
    return [order[:n] for order, n in zip(left, taken, strict=True)]


def _unlabelled(
    left: list[np.ndarray],
    known: list[np.ndarray],
    measured: np.ndarray,
    source: Source,
    config: Mapping[str, Any],
) -> np.ndarray:
    """Every image that is neither measured on nor labelled, or a long tail of them."""
    gamma, everything = config["unlabelled_imbalance"], np.arange(len(source.labels["train"]))
    if gamma == 1:
        return _less(everything, np.concatenate([measured, *known]), source)
    if (source.labels["train"] < 0).any():
        raise UserError(
            "split.unlabelled_imbalance counts the classes of the unlabelled images, and "
            f"{(source.labels['train'] < 0).sum()} images have no label.",
            "leave it out, or leave these images out of the source.",
        )
    rest = [order[len(found) :] for order, found in zip(left, known, strict=True)]
    have = np.array([len(order) for order in rest])
    wanted = amounts.long_tail(int(have[amounts.largest(gamma)]), gamma, len(have))
    given = (source.class_names, "unlabelled", config["allow_fewer"])
    taken = amounts.enough(wanted, have, *given)
    return np.sort(np.concatenate([order[:n] for order, n in zip(rest, taken, strict=True)]))


def write(path: Path, split: Split, source: Source) -> None:
    """Keep a split as JSON, with the fingerprint of the data that its indices point into.

    Beside it split_label.csv says the same for people; the JSON has its SHA-256.
    """
    table = split_table.write_table(path.with_name(split_table.NAME), split, source)
    lists = {name: indices.tolist() for name, indices in split._asdict().items()}
    about = {"data_fingerprint": source.fingerprint, "table_sha256": table}
    files.write_json(path, about | lists)


def read(path: Path, source: Source) -> Split:
    """A kept split. Raises UserError where it was made for other data, or is none."""
    kept = files.read_json(path)
    needed = {"data_fingerprint", *Split._fields} - set(Split._field_defaults)
    if not isinstance(kept, dict) or not needed <= kept.keys():
        raise UserError(f"{path} is not a split.", "give the split.json that a run keeps.")
    if kept["data_fingerprint"] != source.fingerprint:
        raise UserError(
            f"the split {path} was made for other data than the source gives now.",
            "give the data it was made for, or start in a new --workdir.",
        )
    split = Split(*(np.asarray(kept.get(name, NONE), np.int64) for name in Split._fields))
    _warn_of_edits(path, kept)
    return split


def _warn_of_edits(path: Path, kept: Mapping[str, Any]) -> None:
    """The CSV is a view: who changes it should know that the split stays as it was."""
    table = path.with_name(split_table.NAME)
    if table.exists() and kept.get("table_sha256") not in (None, files.sha256(table)):
        log.warn(f"{table} was changed; the split is that of {path.name}, as it was made.")


def examples(source: Source, split: Split, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 [n, h, w, c], labels int32 [n]) of a run's set, read at once."""
    place, indices, label = rows(source, split, name)
    return source.read(place, indices), label


def info_of(source: Source, split: Split) -> Info:
    """What the run may know about its data."""
    sizes = {name: len(rows(source, split, name)[1]) for name in Split._fields}
    k = len(source.class_names)
    labels = np.bincount(rows(source, split, "labelled")[2], minlength=k)
    return Info(k, source.class_names, source.image_shape, sizes, tuple(labels.tolist()))
