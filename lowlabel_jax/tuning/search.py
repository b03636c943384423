"""A search on Optuna: its samplers, its pruner, its storage in the run's directory.

What was tried is on disk before the next trial begins. A search that was killed goes on with the
trial it was in, and ends as one that was not: each suggestion has a seed of its own, made of the
number of trials that are finished.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.core import log
from lowlabel_jax.tuning.ground import Ground
from lowlabel_jax.tuning.studies import journal, quiet, said

Values = dict[str, Any]  # dotted path of a setting -> its value
Trial = Callable[[Values], Iterator[np.ndarray]]  # after each look, losses [folds, n] of validation


class Row(NamedTuple):
    """One trial that has ended."""

    number: int
    values: Values
    losses: np.ndarray  # [folds, n] at its last look
    looks: tuple[float, ...]  # mean loss at each look
    state: str  # complete, pruned (stopped early) or failed (not finite)

    @property
    def mean(self) -> float:
        """The mean loss over folds and images."""
        return float(self.losses.mean())

    def to_json(self) -> dict[str, Any]:
        """What the evidence says of it; null for what is not finite."""
        of_folds = [float(x) if math.isfinite(x) else None for x in self.losses.mean(1)]
        mean = self.mean if math.isfinite(self.mean) else None
        looks = [x if math.isfinite(x) else None for x in self.looks]
        return {
            "number": self.number,
            "values": self.values,
            "loss": of_folds,
            "mean": mean,
            "looks": looks,
            "state": self.state,
        }


def search(
    ground: Ground,
    name: str,
    first: Sequence[Values],
    space: Mapping[str, Any],
    trials: int,
    run: Trial,
    what: str,
    least: int = 1,
) -> list[Row]:
    """At most so many trials: those of `first` in turn, then what TPE suggests of the space.

    space: path -> an Optuna distribution. A trial that is worse than half of those before it at a
    look is stopped there (successive halving, arXiv:1810.05934). Past the deadline only the first
    `least` are made: the config as it was, which others are held against.
    """
    with quiet():
        study = _study(ground, name)
        for number in range(len(_rows(study)), trials if space else min(trials, len(first))):
            if ground.late and number >= least:
                break
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a value of `first` may lie off the grid
                row = _one(study, ground.seed, number, first, space, run)
            value = f"{row.mean:.3f}" if math.isfinite(row.mean) else "not finite"
            log.say(f"  {what} {number + 1}/{trials}: {said(row.values)}  loss {value}")
        return _rows(study)


def choose(rows: Sequence[Row], default: int = 0) -> tuple[Row, float]:
    """The row to take, and the standard error of its difference from the default's.

    The best of those that came to their end, if it beats the default by more than one standard
    error of their paired difference over the validation images; else the default.
    """
    mine = rows[default]
    ended = [row for row in rows if row.state == "complete" and math.isfinite(row.mean)]
    best = min(ended, key=lambda row: row.mean, default=mine)
    if best is mine or not math.isfinite(mine.mean):
        return best, 0.0
    apart = (best.losses - mine.losses).ravel()
    error = float(apart.std(ddof=1) / math.sqrt(apart.size)) if apart.size > 1 else math.inf
    return (best, error) if apart.mean() < -error else (mine, error)


def better(best: Row, error: float, more: Sequence[Row]) -> tuple[Row, float]:
    """The best row so far and its standard error, after more trials on top of it."""
    row, found = choose([best, *more])
    return (best, error) if row is best else (row, found)


def numbered(rows: Sequence[Row], more: Sequence[Row]) -> list[Row]:
    """More rows, numbered on from those before them."""
    return [row._replace(number=len(rows) + i) for i, row in enumerate(more)]


def evidence(rows: Sequence[Row], best: Row, error: float) -> dict[str, Any]:
    """What a part keeps of its trials, the first of which is the config as it was."""
    return {
        "trials": [row.to_json() for row in rows],
        "chosen": best.number,
        "standard_error": error,
        "why": f"calibrated validation loss {best.mean:.3f} against {rows[0].mean:.3f} as it was "
        f"(standard error of the difference {error:.3f}, {len(rows)} trials)",
    }


def _one(
    study: Any, seed: int, number: int, first: Sequence[Values], space: Any, run: Trial
) -> Row:
    """Make one trial and keep it."""
    import optuna

    study.sampler = optuna.samplers.TPESampler(seed=1_000 * seed + number, n_startup_trials=2)
    if number < len(first):  # what lies off the space teaches TPE nothing
        values, inside = dict(first[number]), set(space) <= set(first[number])
        study.sampler = optuna.samplers.PartialFixedSampler(values, study.sampler)
        trial = study.ask(dict(space) if inside else {})
    else:
        trial = study.ask(dict(space))
        values = dict(trial.params)
    trial.set_user_attr("values", values)
    looks, losses, pruned = [], np.zeros((0, 0)), False
    for look, losses in enumerate(run(values), 1):
        looks.append(float(losses.mean()))
        trial.report(looks[-1], look)
        if not math.isfinite(looks[-1]):
            break
        pruned = trial.should_prune() and number > 0  # asked once a look: Optuna counts the asking
        if pruned:
            break
    state = "complete" if math.isfinite(looks[-1]) else "failed"
    trial.set_user_attr("losses", np.round(losses, 6).tolist() if state == "complete" else None)
    trial.set_user_attr("looks", looks if state == "complete" else looks[:-1])
    trial.set_user_attr("state", "pruned" if pruned else state)
    worst = optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.COMPLETE
    study.tell(trial, None if pruned else (looks[-1] if state == "complete" else 1e6), state=worst)
    return _rows(study)[-1]


def _study(ground: Ground, name: str) -> Any:
    """The study as it stands on disk; a trial that was cut short counts for nothing."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = journal(ground.directory / "optuna.log")
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
    study = optuna.create_study(
        storage=storage, study_name=name, load_if_exists=True, pruner=pruner
    )
    for trial in study.get_trials(deepcopy=False):
        if not trial.state.is_finished():
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _rows(study: Any) -> list[Row]:
    """The trials that have ended, in their order."""
    import optuna

    done = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    kept = [t.user_attrs for t in study.get_trials(deepcopy=False, states=done)]
    return [
        Row(
            number,
            dict(found["values"]),
            np.array([[math.inf]] if found["losses"] is None else found["losses"]),
            tuple(found["looks"]),
            found["state"],
        )
        for number, found in enumerate(kept)
    ]
