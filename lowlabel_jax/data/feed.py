"""Which examples a step sees: a pure function of the step, so there is no iterator to save."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data.ahead import Ahead
from lowlabel_jax.data.source import Images, Source, keep
from lowlabel_jax.data.splits import Split

STREAMS = {"labelled": 0, "unlabelled": 1}  # each stream has an order of its own
CROPS = 7  # sets a stream's draws of crops apart from its epochs' permutations
BALANCED = 8  # likewise for the orders of balanced batches

Columns = Mapping[str, Mapping[str, np.ndarray]]
Rows = Mapping[str, np.ndarray]  # stream -> its images, as indices [n] into the training set
Order = Callable[[int], dict[str, np.ndarray]]


class Feed(NamedTuple):
    """The training data of a run. Sizes are global, over all devices together; of several
    processes each is given its own part of a batch.
    """

    resident: dict[str, dict[str, np.ndarray]]  # stream -> name -> [n, …], kept on the devices
    batch: Callable[[int], dict[str, Any]]  # step -> stream -> {"index": int32 [b], maybe "image"}
    close: Callable[[], None] = lambda: None


def open_feed(
    source: Source,
    split: Split,
    sizes: dict[str, int],
    seed: int,
    columns: Columns | None = None,
    *,
    mode: str = "auto",
    limit_gib: float = 1.0,
    threads: int = 0,
    balanced: bool = False,
    part: tuple[int, int] = (0, 1),
) -> Feed:
    """The feed of a run: resident where the images fit, else streamed. The same batches from both.

    sizes: stream -> batch size; only the streams named there are loaded. limit_gib: what the
    images may take on each device. balanced: every class equally often in the labelled batches.
    columns: stream -> name -> values [n, …] that lie beside the images (a teacher's guesses).
    part: (which, of how many) equal parts of each batch is wanted, for one of several processes.
    Raises UserError where mode is resident for images that are cropped anew at each step.
    """
    if mode == "resident" and source.draw:
        raise UserError(
            "feed.mode=resident keeps each image in one crop, but image.crop draws a new one.",
            "set --config.feed.mode=auto, or --config.image.crop=centre and crop on the device: "
            "--config.augment.weak.name=photo.",
        )
    rows = {stream: getattr(split, stream) for stream in sizes}
    beside = _beside(source, rows, columns)
    order = _order(source, rows, sizes, seed, balanced)
    if mode == "streamed" or source.draw or (mode == "auto" and _gib(source, rows) > limit_gib):
        return _streamed(source, rows, beside, order, seed, threads, part)
    return _resident(source, rows, beside, order, part)


def _resident(source: Source, rows: Rows, beside: Any, order: Order, part: Any) -> Feed:
    """A feed whose images lie on the device: the host sends a step's indices, no pixels."""
    for stream, found in rows.items():
        beside[stream]["image"] = Images(source, "train", found)[:]
    return Feed(beside, lambda step: {s: {"index": _own(i, part)} for s, i in order(step).items()})


def _own(batch: np.ndarray, part: tuple[int, int]) -> np.ndarray:
    """The part of a batch [b, …] that one of several processes feeds: [b / of, …]."""
    number, of = part
    return batch[len(batch) * number // of : len(batch) * (number + 1) // of]


def _streamed(
    source: Source, rows: Rows, beside: Any, order: Order, seed: int, threads: int, part: Any
) -> Feed:
    """A feed that sends each step's images, uint8, read by threads ahead of time.

    They come from the disk cache where it has them. Crops drawn anew have a seed by their address:
    stream, step and place in the batch.
    """
    if not source.draw:
        keep(source, "train", sum(len(found) for found in rows.values()))

    def images(stream: str, found: np.ndarray, step: int) -> np.ndarray:
        mine = rows[stream][_own(found, part)]
        if not source.draw:
            return source.read("train", mine)
        rng = np.random.default_rng([seed, STREAMS[stream], CROPS, step])
        seeds = rng.integers(2**32, size=len(found), dtype=np.uint32)
        return source.draw("train", mine, _own(seeds, part))

    def make(step: int) -> dict[str, Any]:
        return {
            s: {"index": _own(i, part), "image": images(s, i, step)} for s, i in order(step).items()
        }

    ahead = Ahead(make, threads)
    return Feed(beside, ahead, ahead.close)


def _gib(source: Source, rows: Rows) -> float:
    """What the images of the streams in use take on a device, in GiB."""
    count = sum(len(found) for found in rows.values())
    return count * float(np.prod(source.image_shape)) * np.dtype(source.dtype).itemsize / 2**30


def _beside(
    source: Source, rows: Rows, columns: Columns | None
) -> dict[str, dict[str, np.ndarray]]:
    """What lies on the devices beside the images: stream -> label [n], and the columns.

    The unlabelled stream's labels travel along for diagnostics (pseudo-label accuracy); no loss
    may look at them.
    """
    return {
        stream: {"label": source.labels["train"][found], **(columns or {}).get(stream, {})}
        for stream, found in rows.items()
    }


def _order(
    source: Source, rows: Rows, sizes: Mapping[str, int], seed: int, balanced: bool
) -> Order:
    """order(step) -> stream -> int32 [b], the places in the split's list that a step sees."""
    label, classes = source.labels["train"][rows["labelled"]], len(source.class_names)

    def of(stream: str, step: int) -> np.ndarray:
        key = [seed, STREAMS[stream]]
        if balanced and stream == "labelled":
            return balanced_indices(step, sizes[stream], label, classes, key)
        return indices(step, sizes[stream], len(rows[stream]), key)

    return lambda step: {stream: of(stream, step) for stream in sizes}


def indices(step: int, batch_size: int, n: int, seed: list[int]) -> np.ndarray:
    """int32 [b]: the examples of step number `step`, every epoch a fresh permutation of 0..n-1.

    A batch may reach over several epochs (10 labels, batch 40): every example then stands in it
    equally often, give or take one.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, offsets = np.divmod(places, n)
    orders = {e: np.random.default_rng([*seed, e]).permutation(n) for e in np.unique(epochs)}
    return np.array([orders[e][o] for e, o in zip(epochs, offsets, strict=True)], np.int32)


def balanced_indices(
    step: int, batch_size: int, labels: np.ndarray, num_classes: int, seed: list[int]
) -> np.ndarray:
    """int32 [b]: the examples of step number `step`, every class of labels [n] equally often.

    Classes take turns in one seeded order that goes on from batch to batch, so that in each batch
    they differ by one at most and the surplus moves on. A class whose turn it is gives its next
    image, every epoch of its own a fresh permutation. Classes without images have no turn.
    """
    have = np.bincount(labels, minlength=num_classes)
    turns = np.random.default_rng([*seed, BALANCED, num_classes]).permutation(num_classes)
    turns = turns[have[turns] > 0]
    rounds, turn = np.divmod(np.arange(step * batch_size, (step + 1) * batch_size), len(turns))
    classes = turns[turn]
    epochs, places = np.divmod(rounds, have[classes])
    addresses = list(zip(classes.tolist(), epochs.tolist(), strict=True))
    orders = {
        (k, epoch): np.random.default_rng([*seed, BALANCED, k, epoch]).permutation(
            np.flatnonzero(labels == k)
        )
        for k, epoch in set(addresses)
    }
    return np.array([orders[a][i] for a, i in zip(addresses, places, strict=True)], np.int32)
