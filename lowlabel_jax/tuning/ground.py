"""Where trials are made: the data, the labelled images that validate, and the clock."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.core.errors import Interrupted
from lowlabel_jax.data import held_out
from lowlabel_jax.data.sets import NONE, Split
from lowlabel_jax.data.source import Source
from lowlabel_jax.state import TrainState
from lowlabel_jax.tuning.budgets import Budget

MANY = 1_000  # labels of which a tenth can be spared for the run's own validation set
FEW = 10  # labels of a class below which two folds are all that there can be
TENTH = 10  # parts of which one validates, where labels are MANY
LOOKED_AT = 2  # folds that trials are made on: more would cost more than they tell


class Ground(NamedTuple):
    """What every part of tuning is given beside the config that it may change."""

    source: Source
    split: Split  # the run's own
    folds: tuple[Split, ...]  # of its labelled images: what trials train on and validate on
    start: Callable[[dict[str, Any]], Callable[[TrainState], TrainState]]  # of a resolved config
    directory: Path  # tuning/ of the run
    budget: Budget
    seed: int
    deadline: float  # of the monotonic clock: no trial begins after it, and what there is counts
    stop: float  # likewise, but the rest is left for another day
    programs: dict[str, Any]  # compiled steps by structure, filled by trial.program
    teachers: dict[int, np.ndarray]  # fold -> guesses [n, k] of its unlabelled images, by semi
    spent: Counter  # "steps" and "images" of trials so far, counted by trial.steps_of

    def whole(self, steps: int) -> int:
        """Steps over which the rate of a supervised trial falls: its phase's, if not its own."""
        return max(steps, self.budget.supervised)

    @property
    def late(self) -> bool:
        """Whether the time for learning is over. Raises Interrupted where all time is."""
        now = time.monotonic()
        if now >= self.stop:
            raise Interrupted("stopped while learning; what was found so far is kept", 0)
        return now >= self.deadline


def validation_of(split: Split, classes: int, asked: bool) -> tuple[int, str]:
    """(parts that the labelled images are cut into, in words); 0 for a set that the config asks
    for. Validation images are labelled ones and never more than those that train (arXiv:1804.09170,
    section 4.6), unless the config asks for it.
    """
    n = len(split.labelled)
    if asked:
        return 0, f"{len(split.validation)} held out, as the config asks"
    if n >= MANY:
        return TENTH, f"{-(-n // 10)} of the {n} labels held out"
    parts = 2 if n < FEW * classes else 5
    return parts, f"{parts} folds of the {n} labels, all of which the run itself trains on"


def folds_of(source: Source, split: Split, parts: int) -> tuple[Split, ...]:
    """The splits that trials are made on, at most LOOKED_AT of them; none where labels are too few.

    An image that validates is not among a trial's unlabelled ones either.
    """
    if not parts:
        return (split,)
    label, names = source.labels["train"][split.labelled], source.class_names
    known = [split.labelled[label == k] for k in range(len(names))]
    if min(map(len, known)) < 2:
        return ()
    found = []
    for i in range(1 if parts == TENTH else min(parts, LOOKED_AT)):
        wanted = {"folds": parts, "fold": i, "allow_fewer": True}
        kept, part = held_out.fold(known, names, wanted)
        unlabelled = np.setdiff1d(split.unlabelled, part)
        found.append(Split(np.sort(np.concatenate(kept)), unlabelled, np.sort(part), NONE))
    return tuple(found)
