"""Anomaly detection: training and validation see the normal classes alone, the test set sees all.

A run's classes stay those of the source, so that its test set says which anomalies are found.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from lowlabel_jax.core import log
from lowlabel_jax.core.errors import UserError, nearest, problems
from lowlabel_jax.data.sets import Split, brought, narrowed, rows
from lowlabel_jax.data.source import Source


def validated(source: Source, normal: Sequence[str]) -> Source:
    """The source, whose own validation set, where it has one, is of the normal classes alone.

    Its fingerprint stays: the tasks of one data set, each with its own normal class, compare.
    Raises UserError where a class is none of the source's, and where no class is left to be found.
    """
    if not normal:
        return source
    there = ", ".join(source.class_names)
    problems(_misfits(source.class_names, normal), f"name some, not all, of the classes: {there}.")
    if not brought(source, "validation"):
        return source
    known = is_normal(source, normal, source.labels["validation"])
    return narrowed(source, {"validation": np.flatnonzero(known)})


def kept(source: Source, split: Split, normal: Sequence[str]) -> Split:
    """The split, of which the test set alone has images of other classes, or of unknown ones.

    Raises UserError where no normal image is trained on, or none is held out for the threshold.
    """
    trained = [name for name in Split._fields if name != "test"]
    split = split._replace(**{name: _of(source, split, name, normal) for name in trained})
    if not len(split.unlabelled) or not len(split.labelled):
        raise UserError(
            f"no training image is of split.normal_classes = {tuple(normal)!r}.",
            "name classes that have images, or set aside fewer of them.",
        )
    if not len(rows(source, split, "validation")[1]):
        raise UserError(
            "no normal image is held out, and an anomaly's threshold is a quantile of theirs.",
            "set some aside: --config.split.validation.fraction=0.1.",
        )
    _warn_of_one_kind(source, split, normal)
    return split


def is_normal(source: Source, normal: Sequence[str], label: np.ndarray) -> np.ndarray:
    """bool [n]: whether labels int [n] (-1: not known) are of the normal classes."""
    return np.isin(label, [source.class_names.index(name) for name in normal])


def _of(source: Source, split: Split, name: str, normal: Sequence[str]) -> np.ndarray:
    indices = getattr(split, name)
    return indices[is_normal(source, normal, source.labels["train"][indices])]


def _misfits(names: Sequence[str], normal: Sequence[str]) -> Iterator[str]:
    for name in normal:
        if name not in names:
            yield f"split.normal_classes: no class {name!r}.{nearest(name, names)}"
    if set(names) <= set(normal):
        yield f"split.normal_classes has all classes: {', '.join(names)}."


def _warn_of_one_kind(source: Source, split: Split, normal: Sequence[str]) -> None:
    """A test set without normals, or without anomalies, measures less: say so at once."""
    there = is_normal(source, normal, rows(source, split, "test")[2])
    if len(there) and (there.all() or not there.any()):
        one = "normal" if there.all() else "of other classes"
        log.warn(f"all test images are {one}: no AUROC comes out of them.")
