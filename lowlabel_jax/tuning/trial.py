"""Short runs that settings are judged by.

Trials that differ in numbers alone share one compiled step: the phase is built inside of the traced
function, from a config in which those numbers are arguments. Only what changes the program (a
method, a batch size, dropout) is compiled anew.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lowlabel_jax.augment.views import VIEWS
from lowlabel_jax.configuration import load
from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.configuration.resolve import resolve
from lowlabel_jax.core import parallel
from lowlabel_jax.data import feed, splits
from lowlabel_jax.data.sets import Split
from lowlabel_jax.data.source import Images
from lowlabel_jax.evaluation import calibration, evaluate
from lowlabel_jax.ops.compiling import compile_options
from lowlabel_jax.training import build
from lowlabel_jax.tuning.ground import Ground

Numbers = Mapping[str, float]  # dotted path of a setting -> its value
IN_PHASE = ("objective", "optimizer")  # sections that a resolved config keeps in its phases
DOUBT = 0.02  # share of a guess that is spread evenly: one sure mistake must not outweigh the rest


class Program(NamedTuple):
    """A compiled step, and what it is fed with."""

    config: dict[str, Any]  # resolved
    phase: build.Phase
    step: parallel.Mapped  # (state, batch, resident, numbers) -> (state, metrics)
    predict: evaluate.Predict

    @property
    def images(self) -> int:
        """Images that a step passes through the network, all views together."""
        return images_a_step(self.phase)


def images_a_step(phase: build.Phase) -> int:
    """Images that a step of a phase passes through the network, all views together."""
    return sum(phase.batch_sizes[VIEWS[view][0]] for view in phase.objective.views if view in VIEWS)


def program(
    ground: Ground, config: Config, fold: int, steps: int, numbers: Sequence[str] = ()
) -> Program:
    """The program of a config of one phase with so many steps; `numbers` are its arguments.

    A trial may stop sooner: the steps are those by which the rate falls and what ramps up does.

    Made once for each structure: folds with as many images of each class share one. The config's
    own phases are left out.
    """
    split = ground.folds[fold]
    resolved = single(ground, config, split, steps)
    known = with_numbers(resolved, dict.fromkeys(numbers, 0.0))
    key = json.dumps([known, sorted(numbers), len(split.validation)])
    if key not in ground.programs:
        ground.programs[key] = _made(resolved, len(split.validation))
    return ground.programs[key]


def single(ground: Ground, config: Config, split: Split, steps: int) -> dict[str, Any]:
    """The config, resolved, as a run of one phase with so many steps."""
    with (config := load.override(config, {})).unlocked():
        config.phases, config.order, config.length = {}, (), {"steps": steps}
        config.patience, config.steps_per_call = 0, 1  # a trial is looked at after every step
        rate = config.optimizer.rate
        if "warmup" in rate:
            own = rate.warmup if isinstance(rate.warmup, int) else 0
            rate.warmup = min(steps // 10, int(own), ground.budget.warmup)
    return resolve(config, splits.info_of(ground.source, split), ground.source.fingerprint)


def _made(config: dict[str, Any], validation: int) -> Program:
    phase = build.phase(config, 0)

    def step(state, batch, resident, numbers):
        inner = build.phase(with_numbers(config, numbers), 0)
        new, metrics = inner.step.fn(state.replace(tx=inner.tx), batch, resident)
        return new.replace(tx=state.tx), metrics

    devices = parallel.device_count(config["devices"])
    options = compile_options(jax.default_backend())
    mapped = parallel.mapped(step, devices, donate=True, options=options)
    return Program(config, phase, mapped, predictor(config, phase.apply_fn, validation))


def with_numbers(config: Mapping[str, Any], numbers: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved config with other numbers at dotted paths of a config ("optimizer.rate.peak")."""
    made = dict(config)
    for path, value in numbers.items():
        names = path.split(".")
        if names[0] in IN_PHASE:
            made["phases"] = [_put(made["phases"][0], names, value)]
        else:
            made = _put(made, names, value)
    return made


def _put(section: Mapping[str, Any], names: Sequence[str], value: Any) -> dict[str, Any]:
    """The section with a value at a path, itself left as it was."""
    first, *rest = names
    if rest:
        value = _put(section[first], rest, value)
    return {**section, first: value}


def started(ground: Ground, made: Program, warm: Any = None) -> Any:
    """The state before a trial's first step, on the devices; warm: the variables to begin with."""
    state = build.new_state(made.config, made.phase)
    state = state.started_with(warm) if warm else ground.start(made.config)(state)
    return parallel.replicate(state, parallel.device_count(made.config["devices"]))


def steps_of(
    ground: Ground, made: Program, fold: int, state: Any, numbers: Iterable[Numbers]
) -> Iterator[tuple[Any, Any]]:
    """(state, metrics) after each step on a fold, with the numbers that the step is given."""
    devices = parallel.device_count(made.config["devices"])
    how = {**made.config["feed"], "balanced": made.config["batch"]["balanced"]}
    seed, sizes = made.config["seeds"]["order"], made.phase.batch_sizes
    beside = {"unlabelled": {"teacher": ground.teachers[fold]}} if fold in ground.teachers else None
    fed = feed.open_feed(ground.source, ground.folds[fold], sizes, seed, beside, **how)
    try:
        resident = parallel.replicate(fed.resident, devices)
        for step, given in enumerate(numbers):
            batch = parallel.shard(fed.batch(step), devices)
            arguments = {name: jnp.float32(value) for name, value in given.items()}
            state, metrics = made.step(state, batch, resident, arguments)
            ground.spent.update(steps=1, images=made.images)
            yield state, metrics
    finally:
        fed.close()


def trained(
    ground: Ground, made: Program, fold: int, numbers: Numbers, steps: int, warm: Any = None
) -> Any:
    """The state after so many steps on a fold."""
    state = started(ground, made, warm)
    for now, _ in steps_of(ground, made, fold, state, itertools.repeat(numbers, steps)):
        state = now
    return state


def looks(
    ground: Ground,
    made: Program,
    fold: int,
    numbers: Numbers,
    at: Sequence[int],
    warm: Any = None,
) -> Iterator[np.ndarray]:
    """Train; after each of the steps `at` what the averaged weights cost on the fold's validation
    images, float64 [n], at the temperature that suits them."""
    state = started(ground, made, warm)
    every, label = itertools.repeat(numbers, at[-1]), truth(ground, fold)
    for step, (now, _) in enumerate(steps_of(ground, made, fold, state, every), 1):
        if step in at:
            yield bounded(tempered(guesses(ground, made, fold, now), label), label)


def guesses(
    ground: Ground, made: Program, fold: int, state: Any, of: str = "validation"
) -> np.ndarray:
    """The averaged weights' probabilities [n, k] for a set of the fold."""
    images = Images(ground.source, "train", getattr(ground.folds[fold], of))
    return made.predict({"ema": state.ema}, images)["ema"]


def truth(ground: Ground, fold: int) -> np.ndarray:
    """The labels [n] of the fold's validation images."""
    return ground.source.labels["train"][ground.folds[fold].validation]


def tempered(probs: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Probabilities [n, k] as sure as suits labels [n] best; as they are where some are no numbers.

    On few labels a setting that learns quickly is soon too sure, and its loss grows beyond that of
    one which has learnt nothing, while it guesses better: what is judged is the guesses, not that.
    """
    if not np.isfinite(probs).all():
        return probs
    return calibration.scaled(probs, calibration.fit_temperature(calibration.log_of(probs), label))


def bounded(probs: np.ndarray, label: np.ndarray) -> np.ndarray:
    """float64 [n]: -log of what probabilities [n, k] leave to labels [n], less a doubt.

    Infinite where they are no numbers: a trial that diverged is worse than any other.
    """
    p = probs[np.arange(len(label)), label].astype(np.float64)
    p = (1 - DOUBT) * p + DOUBT / probs.shape[1]
    return np.where(np.isfinite(p), -np.log(np.where(p > 0, p, 1)), np.inf)


def predictor(config: Mapping[str, Any], apply_fn: Any, n: int) -> evaluate.Predict:
    """A network as a function of images, about n at a time."""
    devices = parallel.device_count(config["devices"])
    size = min(config["batch"]["evaluation"], n)
    return evaluate.predictor(apply_fn, -(-size // devices) * devices, devices)
