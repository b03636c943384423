"""One look at every image of a source: hashes, values, sizes, copies, for `lowlabel data-check`."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.data.source import Source, digests, image_hashes
from lowlabel_jax.images import near
from lowlabel_jax.images.inspection import Record, dhash

BLOCK = 1000  # images read at once, fewer where they would take more than
BYTES = 2**25
FILES = 100  # images decoded at once
SAMPLE = 500  # files of a set that are decoded for mean and spread: a fixed draw, some seconds
WIDE = 3.0  # a long side of so many short ones is worth a look

Place = tuple[str, int]  # an image: (set, index)


class Scan(NamedTuple):
    """What one pass over the n images of a set finds."""

    hashes: list[bytes]  # [n] SHA-256, of files or pixels
    dhashes: np.ndarray  # uint64 [n]; [0] where images are too small to be told apart by them
    histogram: np.ndarray  # int [c, 256], how often each value occurs in each channel
    constant: np.ndarray  # indices of the images that show one colour alone
    measured: int  # images that the histogram is of


class Near(NamedTuple):
    """Two images that are nearly the same."""

    first: Place
    second: Place
    correlation: float  # of their pixels
    bits: int  # in which their hashes differ
    mirrored: bool


def scan(data: Source, name: str) -> Scan:
    """Every image of a set looked at once: its files as they were inspected, else its pixels."""
    return (_scan_files if name in data.records else _scan_arrays)(data, name)


def _scan_arrays(data: Source, name: str) -> Scan:
    """A block at a time, so that memory stays flat."""
    channels, count = data.image_shape[-1], len(data.labels[name])
    hashes, dhashes, constant = [], [], [np.zeros(0, np.int64)]
    histogram = np.zeros((channels, 256), np.int64)
    large = min(data.image_shape[:2]) >= near.SIDE
    block = min(BLOCK, max(1, BYTES // int(np.prod(data.image_shape))))
    for start in range(0, count, block):
        images = data.read(name, np.arange(start, min(start + block, count)))
        hashes += image_hashes(images)
        dhashes += [int(dhash(near.grey(image)), 16) for image in images] if large else []
        histogram += _histogram(images)
        constant.append(start + np.flatnonzero(_flat(images)))
    if name in data.digests:
        hashes = digests(data, name, np.arange(count))
    return Scan(hashes, np.array(dhashes, np.uint64), histogram, np.concatenate(constant), count)


def _scan_files(data: Source, name: str) -> Scan:
    """From the records; few images are decoded."""
    rows = np.sort(np.random.default_rng(0).permutation(len(data.labels[name]))[:SAMPLE])
    histogram = np.zeros((data.image_shape[-1], 256), np.int64)
    for some in _some(rows):
        histogram += _histogram(data.read(name, some))
    dhashes = np.array([int(record.dhash, 16) for record in data.records[name]], np.uint64)
    level = np.flatnonzero(dhashes == 0)  # of one colour, or never brighter to the right
    flat = [some[_flat(data.read(name, some))] for some in _some(level)]
    constant = np.concatenate([np.zeros(0, np.int64), *flat])
    return Scan(list(data.digests[name]), dhashes, histogram, constant, len(rows))


def _some(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Indices [n], FILES at a time."""
    for start in range(0, len(rows), FILES):
        yield rows[start : start + FILES]


def _histogram(images: np.ndarray) -> np.ndarray:
    """uint8 [n, h, w, c] -> int64 [c, 256]."""
    channels = range(images.shape[-1])
    return np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in channels])


def _flat(images: np.ndarray) -> np.ndarray:
    """uint8 [n, h, w, c] -> bool [n], whether all pixels of an image are equal."""
    return (images == images[:, :1, :1]).all(axis=(1, 2, 3))


def numbers(found: Scan) -> dict[str, Any]:
    """Size, range of values, and per channel their mean and standard deviation, of 0 to 255."""
    values = np.arange(256)
    seen = np.flatnonzero(found.histogram.sum(0)).tolist()
    shares = found.histogram / np.maximum(found.histogram.sum(1, keepdims=True), 1)
    mean = shares @ values
    spread = np.sqrt((shares * np.square(values - mean[:, None])).sum(1))
    return {
        "n": len(found.hashes),
        "measured": found.measured,
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


def near_copies(
    scans: Mapping[str, Scan], small: Callable[[str, np.ndarray], np.ndarray]
) -> tuple[list[Near], bool]:
    """(pairs that are nearly but not wholly the same, most alike first; whether all were compared).

    small: (set, indices [m]) -> uint8 [m, near.SIDE, near.SIDE], asked for as few as can be.
    """
    places = [(name, i) for name, found in scans.items() for i in range(len(found.dhashes))]
    hashes = [found.hashes[i] for found in scans.values() for i in range(len(found.dhashes))]
    pairs = near.close(np.concatenate([found.dhashes for found in scans.values()]))
    both = zip(pairs.first, pairs.second, strict=True)
    differ = np.array([hashes[a] != hashes[b] for a, b in both], bool)
    first, second, bits = pairs.first[differ], pairs.second[differ], pairs.bits[differ]
    used, place = np.unique(np.concatenate([first, second]), return_inverse=True)
    thumbs = _thumbnails([places[i] for i in used], small)
    correlation, turned = near.alike(thumbs, place[: len(first)], place[len(first) :])
    order = np.argsort(-correlation, kind="stable")
    found = [
        Near(
            places[first[m]],
            places[second[m]],
            float(correlation[m]),
            int(bits[m]),
            bool(turned[m]),
        )
        for m in order[correlation[order] >= near.ALIKE]
    ]
    return found, pairs.complete


def _thumbnails(
    places: Sequence[Place], small: Callable[[str, np.ndarray], np.ndarray]
) -> np.ndarray:
    """uint8 [n, near.SIDE, near.SIDE] of places that are sorted by set, a block at a time."""
    made = [np.zeros((0, near.SIDE, near.SIDE), np.uint8)]
    for name in dict.fromkeys(name for name, _ in places):
        rows = np.array([index for other, index in places if other == name])
        made += [small(name, some) for some in _some(rows)]
    return np.concatenate(made)


def by_set(group: Sequence[Place]) -> list[list[Place]]:
    """The images of a group set by set."""
    names = dict.fromkeys(name for name, _ in group)
    return [[place for place in group if place[0] == name] for name in names]


def class_of(data: Source, place: Place) -> str | None:
    """The name of an image's class; None where its label is not known."""
    label = int(data.labels[place[0]][place[1]])
    return data.class_names[label] if label >= 0 else None


def counts(class_names: Sequence[str], labels: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """class -> set -> how many images. labels: set -> int [n], -1 counted nowhere."""
    found = {
        name: np.bincount(label[label >= 0], minlength=len(class_names)).tolist()
        for name, label in labels.items()
    }
    return {
        label: {name: of[k] for name, of in found.items()} for k, label in enumerate(class_names)
    }


def imbalance(counted: Mapping[str, int]) -> dict[str, Any] | None:
    """class -> images: the largest class, the smallest that is not empty, and their ratio."""
    present = {label: n for label, n in counted.items() if n}
    if not present:
        return None
    large, small = max(present, key=present.__getitem__), min(present, key=present.__getitem__)
    return {
        "largest": {"class": large, "n": present[large]},
        "smallest": {"class": small, "n": present[small]},
        "ratio": present[large] / present[small],
    }


def sizes(records: Sequence[Record]) -> dict[str, Any]:
    """Width and height of the smallest, middle and largest image; modes and formats, counted."""
    if not records:
        return {}
    by_area = sorted((r.width * r.height, r.width, r.height) for r in records)
    middle = len(by_area) // 2
    chosen = {"smallest": by_area[0], "median": by_area[middle], "largest": by_area[-1]}
    return {
        **{name: list(of[1:]) for name, of in chosen.items()},
        "distinct": len(set(by_area)),
        "modes": dict(Counter(r.mode for r in records).most_common()),
        "formats": dict(Counter(r.format for r in records).most_common()),
    }


def is_wide(record: Record) -> bool:
    """Whether an image is far from square, so that a square cut from it shows little of it."""
    return max(record.width, record.height) > WIDE * min(record.width, record.height)
