"""What a data source is: labels in memory, images on request; and what a run knows about it."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.core import named
from lowlabel_jax.core.errors import UserError

BLOCK = 1000  # images read at once where a whole set is looked at
SHOWN = 10  # problems of a kind that a message lists


class Problem(NamedTuple):
    """One thing that is odd about data; `wrong` keeps a run from beginning."""

    kind: str  # "unreadable", "missing file", "unknown label", …
    detail: str
    path: str | None = None  # of an image below the root, or of the table
    line: int | None = None  # of the table, counted from 1 with its header
    wrong: bool = True


class BadData(UserError):
    """A UserError that knows each of its problems, for `lowlabel data-check`."""

    def __init__(self, problems: Sequence[Problem], hint: str = "") -> None:
        super().__init__(listed(problems), hint)
        self.problems = tuple(problems)


class Source(NamedTuple):
    """Images by set name: "train" (split, drawn from), and "test", "validation" if it has them."""

    class_names: tuple[str, ...]
    image_shape: tuple[int, ...]
    labels: dict[str, np.ndarray]  # set -> int32 [n]; -1 where the label is not known
    read: Callable[[str, np.ndarray], np.ndarray]  # (set, indices [m]) -> uint8 [m, h, w, c]
    fingerprint: str  # changes when any image or label does
    names: Mapping[str, Sequence[str]] = {}  # set -> a name for each image, unique; {}: by place
    digests: Mapping[str, Sequence[bytes]] = {}  # set -> SHA-256 of each image's file; {}: none
    records: Mapping[str, Sequence[Any]] = {}  # set -> inspection.Record of each file; {}: none
    draw: Callable[[str, np.ndarray, np.ndarray], np.ndarray] | None = None
    # (set, indices [m], seeds uint32 [m]) -> images cropped anew; None: they are always the same
    keep: Callable[[str], None] | None = None  # decode a whole set once, so that `read` is quick
    problems: tuple[Problem, ...] = ()  # what was noticed, left out or collapsed
    dtype: str = "uint8"  # of what `read` gives; "float32" for features, image_shape (f,)


class Info(NamedTuple):
    """What models, schedules and objectives may know about the data."""

    num_classes: int
    class_names: tuple[str, ...]
    image_shape: tuple[int, ...]
    sizes: dict[str, int]  # labelled, unlabelled, validation, test
    label_counts: tuple[int, ...] = ()  # labelled images of each class

    @property
    def num_unlabelled(self) -> int:
        """How many images the unlabelled set has: the length of per-example memories."""
        return self.sizes["unlabelled"]


def open_source(spec: Mapping[str, Any], image: Mapping[str, Any] | None = None) -> Source:
    """The source that a spec names; `image` is config["image"], for sources of files.

    Raises UserError where its data is not to be had.
    """
    return named.build("source", spec, image=image)


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


def digests(source: Source, name: str, indices: np.ndarray) -> list[bytes]:
    """The SHA-256 of each image: of its file where it has one, else of its pixels."""
    if name in source.digests:
        return [source.digests[name][i] for i in indices]
    return [digest for images in blocks(source, name, indices) for digest in image_hashes(images)]


def blocks(source: Source, name: str, indices: np.ndarray) -> Iterator[np.ndarray]:
    """The images uint8 [m, h, w, c] at these indices, BLOCK at a time: memory stays flat."""
    for start in range(0, len(indices), BLOCK):
        yield source.read(name, indices[start : start + BLOCK])


def keep(source: Source, name: str, wanted: int) -> None:
    """Have a set decoded once where at least half of it is wanted: forty labels of a large set are
    sooner read one by one."""
    if source.keep and 2 * wanted >= len(source.labels[name]):
        source.keep(name)


class Images:
    """The images of a set at some indices, read when a part is asked for: `images[500:1000]`."""

    def __init__(self, source: Source, name: str, indices: np.ndarray) -> None:
        self.source, self.name, self.indices = source, name, indices
        keep(source, name, len(indices))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, part: slice) -> np.ndarray:
        return self.source.read(self.name, self.indices[part])


def image_hashes(images: np.ndarray) -> list[bytes]:
    """The SHA-256 of each image's pixels: images uint8 [n, h, w, c]."""
    return [hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in images]


def image_name(source: Source, name: str, index: int) -> str:
    """What people call an image: its file, or "train[7]"."""
    return source.names[name][index] if name in source.names else f"{name}[{index}]"


def settle(problems: Sequence[Problem], on_bad: str, hint: str = "") -> tuple[Problem, ...]:
    """The problems, to be kept in Source.problems. Raises BadData where one is wrong.

    on_bad: "report" raises nothing, so that `lowlabel data-check` sees all that there is.
    """
    if any(problem.wrong for problem in problems) and on_bad != "report":
        raise BadData([problem for problem in problems if problem.wrong], hint)
    return tuple(problems)


def listed(problems: Sequence[Problem]) -> str:
    """Problems as a message: kind by kind the first ten, and how many there are."""
    lines = []
    for kind in dict.fromkeys(problem.kind for problem in problems):
        those = [problem for problem in problems if problem.kind == kind]
        lines.append(f"{len(those)} x {kind}:" if len(those) > 1 else f"{kind}:")
        lines += [f"  {where(problem)}{problem.detail}" for problem in those[:SHOWN]]
        lines += [f"  and {len(those) - SHOWN} more"] if len(those) > SHOWN else []
    return "\n".join(lines)


def where(problem: Problem) -> str:
    """ "labels.csv line 3: " or whatever is known of the place."""
    line = f"line {problem.line}" if problem.line else ""
    path = problem.path or ""
    path = path if path.isprintable() else repr(path)  # a name may hold a newline
    place = " ".join(part for part in (path, line) if part)
    return f"{place}: " if place else ""
