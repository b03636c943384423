"""The learning rate for the batch size: a range test (arXiv:1506.01186), then trials around it."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.core import named
from lowlabel_jax.training import build
from lowlabel_jax.tuning import trial
from lowlabel_jax.tuning.finals import final
from lowlabel_jax.tuning.findings import finding
from lowlabel_jax.tuning.ground import Ground
from lowlabel_jax.tuning.judging import RATE, judge, looks_at
from lowlabel_jax.tuning.phase import supervised
from lowlabel_jax.tuning.search import Trial, choose, search

RANGE = {"sgd": (1e-4, 10.0)}  # rates that a test runs through; of the others (Adam and its kind):
ADAPTIVE = (1e-6, 1.0)
MEMORY = 0.9  # of the smoothed loss
EARLY = 10  # points that are left out of its reading
FALL = 0.02  # share of the loss that must go before the curve says anything
WORSE = 2.0  # times its least: the smoothed loss has diverged
AROUND = (1.0, 3.0, 0.3, 10.0, 0.1, 1.8, 0.55)  # times the suggestion, in the order of trying


def learn(ground: Ground, config: Config) -> dict[str, Any]:
    """The rate: as the config has it, or one around the test's if that is clearly better.

    Tried on the supervised phase: the semi-supervised one has the same labels and more steps.
    """
    taught = supervised(config)
    tested, before = range_test(ground, taught), float(config.optimizer.rate.peak)
    suggested = tested["suggested"] or before
    tried = [before, *(suggested * factor for factor in AROUND[: ground.budget.rates])]
    whole = ground.budget.supervised
    rows = search(
        ground,
        "rate",
        [{RATE: float(rate)} for rate in dict.fromkeys(tried)],
        {},
        len(tried),
        judge(ground, taught, whole=whole),
        "learning rate",
    )
    row, error = choose(rows)
    why = (
        f"calibrated validation loss {row.mean:.3f} against {rows[0].mean:.3f} at {before:.3g} "
        f"(standard error of the difference {error:.3f}); {said(tested)}"
    )
    halfway = {RATE: math.sqrt(row.values[RATE] * before)}  # a long run may want a rate between

    def longer(steps: int) -> Trial:
        return judge(ground, taught, steps=steps, whole=whole)

    last = final(ground, "rate", rows[0], row, error, longer, [halfway])
    why, chosen = why + last.words, last.row.values[RATE]
    return {
        "range": tested,
        "halving": [_line(ground, r.values[RATE], r) for r in rows],
        "trials": [r.to_json() for r in rows],
        "final": [r.to_json() for r in last.rows],
        "chosen": chosen,
        "standard_error": last.error,
        "why": why,
        "findings": [finding(config, RATE, chosen, why)],
    }


def said(tested: dict[str, Any]) -> str:
    """What a range test suggests, in words."""
    if tested["suggested"] is None:
        return "the range test saw no fall, so rates around the config's own were tried"
    return f"the range test suggests {tested['suggested']:.3g}"


def range_test(ground: Ground, config: Config) -> dict[str, Any]:
    """Train with a rate that grows at each step: the curve, and what it suggests."""
    steps = ground.budget.trial
    low, high = RANGE.get(config.optimizer.name, ADAPTIVE)
    rates = np.geomspace(low, high, steps)
    made = trial.program(ground, config, 0, ground.whole(steps), [RATE])
    given = ({RATE: peak} for peak in peaks(made.config, rates))
    loss, state = [], trial.started(ground, made)
    for _, metrics in trial.steps_of(ground, made, 0, state, given):
        total, count = jax.device_get(metrics["loss"])
        loss.append(float(total / count))
        if not math.isfinite(loss[-1]) or diverged(smoothed(loss)):
            break
    even = math.log(len(ground.source.class_names))
    return reading(rates[: len(loss)].tolist(), loss, even)


def peaks(config: dict[str, Any], rates: np.ndarray) -> list[float]:
    """The peak with which the config's schedule gives rates [s] at steps 0 to s - 1.

    Schedules are linear in their peak, so that the program of the trials serves here too.
    """
    spec = config["phases"][0]
    known = {"total_steps": spec["steps"], "info": build.info(config)}
    known["batch_size"] = config["batch"]["labelled"]
    at = [
        named.build("rate", {**spec["optimizer"]["rate"], "peak": peak}, **known)
        for peak in (1.0, 2.0)
    ]
    pairs = [[float(schedule(step)) for schedule in at] for step in range(len(rates))]
    return [float(1 + (rate - a) / (b - a)) for rate, (a, b) in zip(rates, pairs, strict=True)]


def reading(rates: list[float], loss: list[float], even: float) -> dict[str, Any]:
    """What a range test says: the curve, smoothed; where it falls most steeply in the logarithm of
    the rate, where it is lowest, where it has diverged; and the suggestion, a tenth of the lowest.

    The suggestion is None where the loss has not fallen below its start and below `even`, what a
    guess costs that is the same for all classes: such a test has nothing to say, for a high rate
    that ruins a network makes it guess evenly, and its loss falls to there too. The first points
    are left out of the reading: an average of few is not smooth.
    """
    finite = [x for x in loss if math.isfinite(x)]
    smooth, rates = smoothed(finite), rates[: len(finite)]
    over = len(finite) < len(loss) or diverged(smooth)
    first = min(EARLY, max(len(smooth) - 2, 0))
    lowest = first + int(np.argmin(smooth[first:])) if smooth else 0
    slope = np.gradient(smooth, np.log(rates)) if len(rates) > 1 else np.zeros(1)
    steepest = first + int(np.argmin(slope[first : lowest + 1]))
    fell = bool(smooth) and smooth[lowest] < (1 - FALL) * min(smooth[first], even)
    return {
        "rate": rates,
        "loss": finite,
        "smoothed": smooth,
        "steepest": rates[steepest] if fell else None,
        "lowest": rates[lowest] if fell else None,
        "diverges": rates[-1] if over and rates else None,
        "suggested": rates[lowest] / 10 if fell else None,
    }


def smoothed(loss: list[float]) -> list[float]:
    """A moving average with MEMORY, freed of its start at zero as Adam's moments are."""
    found, average = [], 0.0
    for step, value in enumerate(loss, 1):
        average = MEMORY * average + (1 - MEMORY) * value
        found.append(average / (1 - MEMORY**step))
    return found


def diverged(smooth: list[float]) -> bool:
    """Whether a smoothed loss has left its least behind."""
    return len(smooth) > 10 and smooth[-1] > WORSE * min(smooth)


def _line(ground: Ground, rate: float, row: Any) -> dict[str, Any]:
    """One candidate's way through the looks."""
    steps: Iterator[int] = iter(looks_at(ground.budget.trial))
    rungs = [{"step": s, "loss": x} for s, x in zip(steps, row.looks, strict=False)]
    return {
        "rate": rate,
        "rungs": rungs,
        "state": {"complete": "kept", "pruned": "stopped"}.get(row.state, row.state),
    }
