"""Where numbers stop being finite: what is said, and what is kept so that the step can be repeated.

nan_capture.npz holds the step, its images as places in the split, the seeds, and the step of the
newest checkpoint; `lowlabel debug-nan RUN` takes it from there.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from lowlabel_jax.core import files, processes
from lowlabel_jax.core.errors import Diverged
from lowlabel_jax.training import checkpoint
from lowlabel_jax.training.phases import Progress

CAPTURE = "nan_capture.npz"
NONE_YET = -1  # in place of a checkpoint's step
TOO_MANY = "after {} skipped steps (skip_bad_steps) the update"
SHOWN = {"loss": "loss", "rate": "learning rate", "gradient_norm": "gradient norm"}


class Call(NamedTuple):
    """One call of the device: what was given and what came back."""

    first: int  # optimiser steps before it
    count: int  # steps that it took
    metrics: Any  # of one step, or of several: [count, …]
    batch: Any  # stream -> index [d, b/d] or [d, b/d, count], perhaps images

    def each(self) -> Iterator[dict[str, Any]]:
        """The metrics of each step on the host, waited for."""
        found = jax.device_get(self.metrics)
        if self.count == 1:
            yield found
            return
        for number in range(self.count):
            yield jax.tree.map(lambda x, i=number: x[i], found)

    def indices(self, number: int) -> dict[str, np.ndarray]:
        """stream -> the places [b] in the split's list that step `number` of the call saw."""
        found = {stream: np.asarray(rows["index"]) for stream, rows in self.batch.items()}
        chosen = (i if self.count == 1 else i[..., number] for i in found.values())
        return dict(zip(found, (index.reshape(-1) for index in chosen), strict=True))


def diverged(
    config: Mapping[str, Any],
    directory: Path,
    what: str,
    progress: Progress,
    call: Call,
    number: int | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Diverged:
    """The error for a step that is not finite, kept in nan_capture.npz.

    number: which step of the call; None: its last one. metrics: its own, to be shown.
    """
    number = call.count - 1 if number is None else number
    step, shown = call.first + number, ""
    if metrics:
        values = {name: metrics[key] for key, name in SHOWN.items()}
        found = [f"{name} {total / count:.3g}" for name, (total, count) in values.items()]
        shown = f" ({', '.join(found)})"
    good = checkpoint.steps(directory)
    if processes.first():
        seeds = {f"seed/{name}": seed for name, seed in config["seeds"].items()}
        seen = {f"index/{stream}": index for stream, index in call.indices(number).items()}
        newest = good[-1] if good else NONE_YET
        kept = {"step": step, "phase": progress.phase, "checkpoint": newest, **seeds, **seen}
        files.write_npz(directory / CAPTURE, **kept)
    last = f"Last good checkpoint: step {good[-1]}." if good else "There is no checkpoint yet."
    return Diverged(
        f"{what} is not finite at step {step + 1}{shown}. {last}",
        "lower optimizer.rate.peak, set optimizer.clip_norm=1.0, or warm up longer "
        f"(optimizer.rate.warmup). `lowlabel debug-nan {directory}` finds the operation.",
    )
