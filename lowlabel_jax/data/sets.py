"""A run's sets: lists of places in its source's sets, and where each of them lies."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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


def narrowed(source: Source, stay: Mapping[str, np.ndarray]) -> Source:
    """The source with only the images at indices `stay[set]` [n] in each of these sets."""
    draw = source.draw

    def old(name: str, indices: np.ndarray) -> np.ndarray:
        return stay[name][indices] if name in stay else indices

    def those(of: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        return {n: [v[i] for i in stay[n]] if n in stay else v for n, v in of.items()}

    labels = {n: label[stay[n]] if n in stay else label for n, label in source.labels.items()}
    return source._replace(
        labels=labels,
        read=lambda name, indices: source.read(name, old(name, indices)),
        draw=draw and (lambda name, rows, seeds: draw(name, old(name, rows), seeds)),
        names=those(source.names),
        digests=those(source.digests),
        records=those(source.records),
    )
