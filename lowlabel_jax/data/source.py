"""What a data source is: labels in memory, images on request; and what a run knows about it."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.core import named


class Source(NamedTuple):
    """Labelled and unlabelled images by set name: "train" (drawn from), "test", maybe others."""

    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    labels: dict[str, np.ndarray]  # set -> int32 [n]; -1 where the label is not known
    read: Callable[[str, np.ndarray], np.ndarray]  # (set, indices [m]) -> uint8 [m, h, w, c]
    fingerprint: str  # changes when any image or label does


class Info(NamedTuple):
    """What models, schedules and objectives may know about the data."""

    num_classes: int
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    sizes: dict[str, int]  # labelled, unlabelled, validation, test
    label_counts: tuple[int, ...] = ()  # labelled images of each class

    @property
    def num_unlabelled(self) -> int:
        """How many images the unlabelled set has: the length of per-example memories."""
        return self.sizes["unlabelled"]


def open_source(spec: Mapping[str, Any]) -> Source:
    """The source that a config names. Raises UserError where its data is not to be had."""
    return named.build("source", spec)


def from_arrays(
    class_names: Iterable[str], sets: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> Source:
    """A source of arrays in memory: set -> (images uint8 [n, h, w, c], labels int [n])."""
    labels = {name: np.asarray(label, np.int32) for name, (_, label) in sets.items()}
    shapes = {images.shape[1:] for images, _ in sets.values()}
    if len(shapes) != 1:
        raise ValueError(f"all sets must hold images of one shape, got {sorted(shapes)}")
    return Source(
        class_names=tuple(class_names),
        image_shape=shapes.pop(),
        labels=labels,
        read=lambda name, indices: sets[name][0][indices],
        fingerprint=fingerprint(sets),
    )


def fingerprint(sets: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """SHA-256 over the names, shapes, pixels and labels of all sets, in hex."""
    digest = hashlib.sha256()
    for name in sorted(sets):
        images, label = sets[name]
        digest.update(f"{name}{images.shape}{images.dtype}".encode())
        digest.update(np.ascontiguousarray(images).tobytes())
        digest.update(np.asarray(label, np.int32).tobytes())
    return digest.hexdigest()


def image_hashes(images: np.ndarray) -> list[bytes]:
    """The SHA-256 of each image's pixels: images uint8 [n, h, w, c]."""
    return [hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in images]
