"""Which examples a step sees: a pure function of the step, so there is no iterator to save."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.data.source import Source
from lowlabel_jax.data.splits import Split

STREAMS = {"labelled": 0, "unlabelled": 1}  # each stream has an order of its own


class Feed(NamedTuple):
    """The training data of a run. Sizes are global: over all devices together."""

    resident: dict[str, dict[str, np.ndarray]]  # stream -> image uint8 [n, h, w, c], label [n]
    batch: Callable[[int], dict[str, Any]]  # step -> stream -> {"index": int32 [b]}


def resident_feed(
    source: Source,
    split: Split,
    sizes: dict[str, int],
    seed: int,
    columns: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> Feed:
    """A feed whose images lie on the device: the host sends a step's indices, no pixels.

    sizes: stream -> batch size; only the streams named there are loaded. The unlabelled stream's
    labels travel along for diagnostics (pseudo-label accuracy); no loss may look at them.
    columns: stream -> name -> values [n, …] that lie beside the images (a teacher's guesses).
    """
    rows = {stream: getattr(split, stream) for stream in sizes}
    labels = source.labels["train"]
    resident = {
        stream: {"image": source.read("train", found), "label": labels[found]}
        | dict((columns or {}).get(stream, {}))
        for stream, found in rows.items()
    }

    def batch(step: int) -> dict[str, Any]:
        return {
            stream: {"index": indices(step, size, len(rows[stream]), [seed, STREAMS[stream]])}
            for stream, size in sizes.items()
        }

    return Feed(resident, batch)


def indices(step: int, batch_size: int, n: int, seed: list[int]) -> np.ndarray:
    """int32 [b]: the examples of step number `step`, every epoch a fresh permutation of 0..n-1.

    A batch may reach over several epochs (10 labels, batch 40): every example then stands in it
    equally often, give or take one.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, offsets = np.divmod(places, n)
    orders = {e: np.random.default_rng([*seed, e]).permutation(n) for e in np.unique(epochs)}
    return np.array([orders[e][o] for e, o in zip(epochs, offsets, strict=True)], np.int32)
