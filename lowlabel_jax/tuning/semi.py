"""The semi-supervised method and its numbers: threshold, weight of the unlabelled loss, mu."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.core import named
from lowlabel_jax.tuning import look, trial
from lowlabel_jax.tuning.findings import finding
from lowlabel_jax.tuning.ground import Ground
from lowlabel_jax.tuning.judging import given_numbers, judge
from lowlabel_jax.tuning.phase import supervised
from lowlabel_jax.tuning.search import Values, better, choose, evidence, numbered, search

STUDENT = "noisy_student"  # taught by what the supervised phase has guessed
NAME, THRESHOLD, WEIGHT = "objective.name", "objective.threshold", "objective.weight"
METHODS = ("fixmatch", "freematch", "softmatch", STUDENT)  # docs/methods.md says why these
SHORT = 0.99  # the papers' memory of 0.999 outlasts a short phase
NUMBERS = ((0.6, 1.0), (0.9, 1.0), (0.8, 2.0), (0.95, 1.0), (0.8, 0.5))  # threshold, weight
PATH_MU = "batch.mu"


def learn(ground: Ground, config: Config) -> dict[str, Any]:
    """Method, then its numbers, then mu; each step keeps what it has unless clearly beaten.

    Trials begin with the weights that the supervised phase would hand over.
    """
    tried = _methods(config)[: max(ground.budget.semi // 2, 1)]
    teaches = any(values[NAME] == STUDENT for values in tried)
    warm, doubts = taught(ground, config, teaches)
    going_on = judge(ground, config, (THRESHOLD, WEIGHT), warm)
    from_scratch = judge(ground, config, (THRESHOLD, WEIGHT))

    def run(values: Values) -> Iterator[np.ndarray]:
        return from_scratch(values) if values[NAME] == STUDENT else going_on(values)

    rows = search(ground, "method", tried, {}, len(tried), run, "method")
    best, error = choose(rows)
    for what, share in (("numbers", 2 / 3), ("mu", 1)):
        room = ground.budget.semi - len(rows)
        tried = _others(config, best.values, what)[: math.ceil(share * room)]
        more = numbered(rows, search(ground, what, tried, {}, len(tried), run, what, 0))
        rows, (best, error) = [*rows, *more], better(best, error, more)
    kept = evidence(rows, best, error)
    found = [finding(config, path, value, kept["why"]) for path, value in best.values.items()]
    return {"label_noise": doubts, **kept, "findings": found}


def taught(
    ground: Ground, config: Config, teaches: bool = False
) -> tuple[list[Any], list[dict[str, Any]]]:
    """(for each fold the averaged variables after a supervised trial, labels that it doubts).

    teaches: its guesses of the unlabelled images are kept as well, for a student.
    """
    config, found, guesses = supervised(config), [], []
    given, steps = given_numbers(config, {}, ()), ground.budget.trial
    for fold in range(len(ground.folds)):
        made = trial.program(ground, config, fold, ground.whole(steps), list(given))
        state = trial.trained(ground, made, fold, given, steps)
        guesses.append(trial.guesses(ground, made, fold, state))
        if teaches:
            ground.teachers[fold] = trial.guesses(ground, made, fold, state, "unlabelled")
        found.append(jax.device_get(state.ema))
    return found, look.doubts(ground, guesses)


def _methods(config: Config) -> list[Values]:
    """The config's own method first, then the others that docs/methods.md names."""
    own = config.objective.to_dict()
    found: list[Values] = [{NAME: own["name"], **_numbers(own)}]
    for name in METHODS:
        if name != own["name"]:
            known = {k: o.default for k, o in named.options("objective", name).items()}
            decay = {"objective.decay": SHORT} if "decay" in known else {}
            taught_by = {"teacher": "phase"} if name == STUDENT else {}
            found.append({NAME: name, **_numbers(known), **decay, **taught_by})
    return found


def _numbers(options: Mapping[str, Any]) -> Values:
    """Threshold and weight of a method, where it has them."""
    both = (THRESHOLD, WEIGHT)
    return {p: options[name] for p in both if (name := p.rsplit(".", 1)[-1]) in options}


def _others(config: Config, best: Values, what: str) -> list[Values]:
    """What is tried of numbers or of mu, on top of the best values so far."""
    if what == "mu":
        mu = int(config.batch.mu)
        return [best | {PATH_MU: n} for n in (2 * mu, mu // 2) if n]
    pairs = ({THRESHOLD: t, WEIGHT: w} for t, w in NUMBERS)
    wanted = ({path: v for path, v in pair.items() if path in best} for pair in pairs)
    return [best | values for values in wanted if values]
