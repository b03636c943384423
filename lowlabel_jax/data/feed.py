"""Which examples a step sees: a pure function of the step, so there is no iterator to save."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data.ahead import Ahead
from lowlabel_jax.data.source import Images, Source
from lowlabel_jax.data.splits import Split

STREAMS = {"labelled": 0, "unlabelled": 1}  # each stream has an order of its own
CROPS = 7  # sets a stream's draws of crops apart from its epochs' permutations
BALANCED = 8  # likewise for the orders of balanced batches

Columns = Mapping[str, Mapping[str, np.ndarray]]


class Feed(NamedTuple):
    """The training data of a run. Sizes are global: over all devices together."""

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
) -> Feed:
    """The feed of a run: resident where the images fit, else streamed. The same batches from both.

    sizes: stream -> batch size; only the streams named there are loaded. limit_gib: what the
    images may take on each device. balanced: every class equally often in the labelled batches.
    columns: stream -> name -> values [n, …] that lie beside the images (a teacher's guesses).
    Raises UserError where mode is resident for images that are cropped anew at each step.
    """
    given = (source, split, sizes, seed, columns, balanced)
    if mode == "resident" and source.draw:
        raise UserError(
            "feed.mode=resident keeps each image in one crop, but image.crop draws a new one.",
            "set --config.feed.mode=auto, or --config.image.crop=centre and crop on the device: "
            "--config.augment.weak.name=photo.",
        )
    if mode == "streamed" or source.draw or (mode == "auto" and _gib(source, split) > limit_gib):
        return streamed_feed(*given, threads=threads)
    return resident_feed(*given)


def resident_feed(
    source: Source,
    split: Split,
    sizes: dict[str, int],
    seed: int,
    columns: Columns | None = None,
    balanced: bool = False,
) -> Feed:
    """A feed whose images lie on the device: the host sends a step's indices, no pixels."""
    resident = _beside(source, split, sizes, columns)
    for stream in sizes:
        resident[stream]["image"] = Images(source, "train", getattr(split, stream))[:]
    order = _order(source, split, sizes, seed, balanced)
    return Feed(resident, lambda step: {s: {"index": rows} for s, rows in order(step).items()})


def streamed_feed(
    source: Source,
    split: Split,
    sizes: dict[str, int],
    seed: int,
    columns: Columns | None = None,
    balanced: bool = False,
    threads: int = 0,
) -> Feed:
    """A feed that sends each step's images, uint8, read by threads ahead of time.

    They come from the disk cache where it has them. Crops drawn anew have a seed by their address:
    stream, step and place in the batch.
    """
    order = _order(source, split, sizes, seed, balanced)
    if source.keep and not source.draw:
        source.keep("train")

    def images(stream: str, found: np.ndarray, step: int) -> np.ndarray:
        rows = getattr(split, stream)[found]
        if not source.draw:
            return source.read("train", rows)
        rng = np.random.default_rng([seed, STREAMS[stream], CROPS, step])
        return source.draw("train", rows, rng.integers(2**32, size=len(rows), dtype=np.uint32))

    def make(step: int) -> dict[str, Any]:
        return {s: {"index": i, "image": images(s, i, step)} for s, i in order(step).items()}

    ahead = Ahead(make, threads)
    return Feed(_beside(source, split, sizes, columns), ahead, ahead.close)


def _gib(source: Source, split: Split) -> float:
    """What the images of both streams take on a device, in GiB."""
    count = len(split.labelled) + len(split.unlabelled)
    return count * float(np.prod(source.image_shape)) / 2**30


def _beside(
    source: Source, split: Split, sizes: Mapping[str, int], columns: Columns | None
) -> dict[str, dict[str, np.ndarray]]:
    """What lies on the devices beside the images: stream -> label [n], and the columns.

    The unlabelled stream's labels travel along for diagnostics (pseudo-label accuracy); no loss
    may look at them.
    """
    label = source.labels["train"]
    return {
        stream: {"label": label[getattr(split, stream)], **(columns or {}).get(stream, {})}
        for stream in sizes
    }


def _order(
    source: Source, split: Split, sizes: Mapping[str, int], seed: int, balanced: bool
) -> Callable[[int], dict[str, np.ndarray]]:
    """order(step) -> stream -> int32 [b], the places in the split's list that a step sees."""
    label, classes = source.labels["train"][split.labelled], len(source.class_names)

    def of(stream: str, step: int) -> np.ndarray:
        key = [seed, STREAMS[stream]]
        if balanced and stream == "labelled":
            return balanced_indices(step, sizes[stream], label, classes, key)
        return indices(step, sizes[stream], len(getattr(split, stream)), key)

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
