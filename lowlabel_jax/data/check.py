"""One pass over a set of images: their hashes, values and oddities, for `lowlabel data-check`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.data.source import Source, image_hashes

BLOCK = 1000  # images read at once

Place = tuple[str, int]  # an image: (set, index)


class Scan(NamedTuple):
    """What one pass over the n images of a set finds."""

    hashes: list[bytes]  # [n]
    histogram: np.ndarray  # int [c, 256], how often each value occurs in each channel
    constant: np.ndarray  # indices of the images that show one colour alone


def scan(data: Source, name: str) -> Scan:
    """Every image of a set looked at once, a block at a time."""
    channels, count = data.image_shape[-1], len(data.labels[name])
    hashes, constant = [], [np.arange(0)]
    histogram = np.zeros((channels, 256), np.int64)
    for start in range(0, count, BLOCK):
        images = data.read(name, np.arange(start, min(start + BLOCK, count)))
        hashes += image_hashes(images)
        for c in range(channels):
            histogram[c] += np.bincount(images[..., c].ravel(), minlength=256)
        flat = (images == images[:, :1, :1]).all(axis=(1, 2, 3))
        constant.append(start + np.flatnonzero(flat))
    return Scan(hashes, histogram, np.concatenate(constant))


def numbers(found: Scan) -> dict[str, Any]:
    """Size, range of values, and per channel their mean and standard deviation, of 0 to 255."""
    values = np.arange(256)
    seen = np.flatnonzero(found.histogram.sum(0)).tolist()
    shares = found.histogram / np.maximum(found.histogram.sum(1, keepdims=True), 1)
    mean = shares @ values
    spread = np.sqrt((shares * np.square(values - mean[:, None])).sum(1))
    return {
        "n": len(found.hashes),
        "range": [seen[0], seen[-1]] if seen else None,
        "mean": mean.tolist(),
        "std": spread.tolist(),
    }


def copies(scans: Mapping[str, Scan]) -> list[list[Place]]:
    """The groups of two or more images that are equal to the last bit, within sets and across."""
    places: dict[bytes, list[Place]] = {}
    for name, found in scans.items():
        for index, digest in enumerate(found.hashes):
            places.setdefault(digest, []).append((name, index))
    return [group for group in places.values() if len(group) > 1]


def by_set(group: list[Place]) -> list[list[Place]]:
    """The images of a group set by set."""
    names = dict.fromkeys(name for name, _ in group)
    return [[place for place in group if place[0] == name] for name in names]


def class_of(data: Source, place: Place) -> str | None:
    """The name of an image's class; None where its label is not known."""
    label = int(data.labels[place[0]][place[1]])
    return data.class_names[label] if label >= 0 else None


def counts(data: Source) -> dict[str, dict[str, int]]:
    """class -> set -> how many images."""
    return {
        label: {name: int((of == k).sum()) for name, of in data.labels.items()}
        for k, label in enumerate(data.class_names)
    }
