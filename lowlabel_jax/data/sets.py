"""A run's sets: lists of places in its source's sets, and where each of them lies."""

from typing import NamedTuple

import numpy as np

from lowlabel_jax.data.source import Source

MEASURED = ("validation", "test")
NONE = np.zeros(0, np.int64)


class Split(NamedTuple):
    """Sorted indices int64 [n] into the source's training set."""

    labelled: np.ndarray
    unlabelled: np.ndarray
    validation: np.ndarray
    test: np.ndarray = NONE


def brought(source: Source, name: str) -> bool:
    """Whether the source has images of its own for a set that a run is measured on."""
    return name in MEASURED and len(source.labels.get(name, ())) > 0


def rows(source: Source, split: Split, name: str) -> tuple[str, np.ndarray, np.ndarray]:
    """(the source's set, indices [n] into it, labels int32 [n]) of a run's set; nothing is read.

    Validation and test are the source's own where it brings them, else drawn from "train".
    """
    place = name if brought(source, name) else "train"
    label = source.labels[place]
    indices = np.arange(len(label)) if place == name else getattr(split, name)
    return place, indices, label[indices]
