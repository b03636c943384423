"""Where a run stands between steps, as data that is saved: never hidden in a loop variable."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from lowlabel_jax.training.plateau import stabilised

Number = float | list[float]  # a metric's total or mean: a list where it is one for each class


@dataclass(frozen=True)
class Progress:
    """The host's half of the state. All of it is JSON."""

    step: int = 0  # optimiser steps done since the run began
    phase: int = 0  # which phase of config["phases"] this is
    began: int = 0  # the step at which it began
    best: float | None = None  # lowest validation loss of this phase
    best_step: int | None = None
    stale: int = 0  # evaluations since then
    sums: dict[str, list[Number]] = field(default_factory=dict)  # metrics since the last log line
    alarms: dict[str, int] = field(default_factory=dict)  # training/alarms.py's memory
    losses: list[float] = field(default_factory=list)  # of this phase's looks, for its plateau
    skipped: int = 0  # steps of the run left out so far, for not being finite

    def to_json(self) -> dict[str, Any]:
        """The progress as JSON gives it back."""
        return asdict(self)


def advance(progress: Progress, loss: float) -> Progress:
    """The progress after a look at the validation set."""
    progress = replace(progress, losses=[*progress.losses, loss])
    if progress.best is None or loss < progress.best:
        return replace(progress, best=loss, best_step=progress.step, stale=0)
    return replace(progress, stale=progress.stale + 1)


def ending(progress: Progress, phase: Mapping[str, Any]) -> str:
    """What has ended the phase: "steps", "patience", "plateau", or "" while nothing has."""
    if progress.step - progress.began >= phase["steps"]:
        return "steps"
    if phase["patience"] and progress.stale >= phase["patience"]:
        return "patience"
    return "plateau" * (bool(phase["plateau"]) and stabilised(progress.losses, phase["plateau"]))


def next_phase(progress: Progress) -> Progress:
    """The progress at the start of the phase after this one."""
    began, number = progress.step, progress.phase + 1
    return Progress(step=began, phase=number, began=began, skipped=progress.skipped)


def add(sums: Mapping[str, list[Number]], metrics: Mapping[str, Any]) -> dict[str, list[Number]]:
    """Running (total, count) pairs with one step's metrics added, in double precision, as JSON.

    A total is a number or a vector [k], as the metric's is.
    """
    zero = (0.0, 0.0)
    return {
        name: [
            np.add(old, np.asarray(new, np.float64)).tolist()
            for old, new in zip(sums.get(name, zero), pair, strict=True)
        ]
        for name, pair in sorted(metrics.items())
    }


def means(sums: Mapping[str, list[Number]]) -> dict[str, Number | None]:
    """What is printed: totals over counts; None where nothing was counted."""
    return {
        name: np.divide(total, count).tolist() if count else None
        for name, (total, count) in sums.items()
    }
