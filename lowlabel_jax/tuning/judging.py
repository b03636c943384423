"""How a trial is judged: trained on every fold, looked at on its way, stopped where it is worse."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lowlabel_jax.configuration import load
from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.tuning import trial
from lowlabel_jax.tuning.findings import applied, finding
from lowlabel_jax.tuning.ground import Ground
from lowlabel_jax.tuning.search import Trial, Values

RATE = "optimizer.rate.peak"  # an argument of every program, so that many parts share one


def judge(
    ground: Ground,
    config: Config,
    numbers: Sequence[str] = (),
    warm: Sequence[Any] = (),
    steps: int = 0,
    whole: int = 0,
) -> Trial:
    """run(values) -> losses [folds, n] after each look.

    values: path -> value. Those in `numbers` are arguments of one program; others change it.
    warm: the variables that each fold's trials begin with; none: first weights.
    steps: of a trial; 0: as many as the budget says.
    whole: steps of the phase that a trial is the beginning of; 0: the trial is all of it. The rate
        falls over these: one that falls by a short trial's end flatters high rates, which the
        phase, ended by its plateau long before, never sees lowered.
    """
    steps, folds = steps or ground.budget.trial, range(len(ground.folds))

    def run(values: Values) -> Iterator[np.ndarray]:
        given = given_numbers(config, values, numbers)
        fixed = [finding(config, p, v, "") for p, v in values.items() if p not in given]
        changed = applied(config, fixed)
        ways = []
        for fold in folds:
            made = trial.program(ground, changed, fold, max(steps, whole), list(given))
            start = warm[fold] if warm else None
            ways.append(trial.looks(ground, made, fold, given, looks_at(steps), start))
        for found in zip(*ways, strict=True):
            yield stacked(list(found))

    return run


def given_numbers(config: Config, values: Values, numbers: Sequence[str]) -> dict[str, float]:
    """The arguments of a trial: the rate, and those of its values that are numbers."""
    rate = {RATE: float(load.find(config, RATE))}
    return rate | {path: float(values[path]) for path in (RATE, *numbers) if path in values}


def looks_at(steps: int) -> list[int]:
    """The steps after which a trial is looked at: half and all of them. Sooner would be unfair to
    what learns slowly and ends well, as strong augmentation does."""
    return sorted({max(steps // 2, 1), steps})


def stacked(parts: list[np.ndarray]) -> np.ndarray:
    """[folds, n] of each fold's losses [n_i]; folds may differ by one image: the surplus is cut."""
    least = min(map(len, parts))
    return np.stack([part[:least] for part in parts])
