"""Augmentation, mixing, smoothing, dropout, weight decay: searched by levels of like distance."""

from collections.abc import Callable, Mapping
from typing import Any

from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.core import named
from lowlabel_jax.tuning import distance, presets
from lowlabel_jax.tuning.finals import final
from lowlabel_jax.tuning.ground import Ground
from lowlabel_jax.tuning.judging import judge
from lowlabel_jax.tuning.phase import of_phase, supervised
from lowlabel_jax.tuning.search import (
    Row,
    Trial,
    Values,
    better,
    choose,
    evidence,
    numbered,
    search,
)

STRONG = "augment.strong"
CLUSTERS = {cluster: f"{STRONG}.{cluster}" for cluster in distance.CLUSTERS}
MIXING = {  # setting -> what is tried of it
    "objective.mixup": (0.0, 0.2),
    "objective.cutmix": (0.0, 1.0),
    "objective.label_smoothing": (0.0, 0.1),
}
DECAY = (1.0, 0.2, 5.0)  # times the config's weight decay
DROPOUT, CUTOUT = 0.3, 0.5


def learn(ground: Ground, config: Config) -> dict[str, Any]:
    """The strong view and what else keeps the network from learning its labels by heart.

    The config's own settings are the first trial, and stay unless something is clearly better.
    """
    taught = supervised(config)
    if config.tune.preset:
        return by_preset(config, presets.load(config.tune.preset))
    analysis = distance.analyse(ground, taught)
    rows = _numbers(ground, taught, analysis)
    row, error = choose(rows)
    more = numbered(rows, _structure(ground, taught, row))
    rows, (row, error) = [*rows, *more], better(row, error, more)
    longer = _longer(ground, taught, row.values)
    last = final(ground, "regularisation", rows[0], row, error, longer)
    row = row if last.row.values == row.values else rows[0]
    kept = evidence(rows, row, last.error)
    kept |= {"why": kept["why"] + last.words, "final": [r.to_json() for r in last.rows]}
    found = of_phase(config, row.values, kept["why"])
    return {"distance": analysis, **kept, "preset": None, "findings": found}


def by_preset(config: Config, preset: Mapping[str, Any]) -> dict[str, Any]:
    """The evidence where nothing is searched: somebody else's settings."""
    why = f"from the preset {preset['name']}, not searched"
    found = of_phase(config, preset["values"], why)
    return {"trials": [], "preset": preset["name"], "why": why, "findings": found}


def _numbers(ground: Ground, config: Config, analysis: Mapping[str, Any]) -> list[Row]:
    """Trials of all that is a number: as it is, all clusters at one level, then TPE's choice."""
    import optuna

    choices = {CLUSTERS[cluster]: found["levels"] for cluster, found in analysis.items()}
    choices |= {path: list(values) for path, values in MIXING.items()}
    decay = float(config.optimizer.weight_decay) or 1e-4
    choices["optimizer.weight_decay"] = [decay * factor for factor in DECAY]
    space = {p: optuna.distributions.CategoricalDistribution(v) for p, v in choices.items()}
    plain = {path: values[0] for path, values in choices.items()}
    even = [
        plain | {CLUSTERS[c]: v for c, v in distance.of_level(analysis, level).items()}
        for level in (1, 3, 2)
    ]
    run = judge(ground, config, list(choices), whole=ground.budget.supervised)
    clusters = {f"{STRONG}.name": "clusters", f"{STRONG}.flip": _flips(config)}
    if isinstance(config.augment.strong.get("fill"), str):  # of RandAugment it is a grey level
        clusters[f"{STRONG}.fill"] = config.augment.strong.fill
    rows = search(
        ground,
        "regularisation",
        [{}, *even],
        space,
        ground.budget.regularisation,
        lambda values: run(clusters | values if values else {}),
        "regularisation",
    )
    return [r._replace(values=clusters | r.values if r.values else {}) for r in rows]


def _structure(ground: Ground, config: Config, best: Row) -> list[Row]:
    """Trials of what changes the program, on top of the best numbers: dropout, a hole, the flip."""
    tried: list[Values] = []
    if "dropout" in named.options("model", config.model.name) and not config.model.dropout:
        tried.append(best.values | {"model.dropout": DROPOUT})
    if best.values:
        tried.append(best.values | {f"{STRONG}.cutout": CUTOUT})
        if ground.source.image_shape[-1] == 3:  # a mirrored letter is another letter
            tried.append(best.values | {f"{STRONG}.flip": not best.values[f"{STRONG}.flip"]})
    tried = tried[: max(ground.budget.regularisation // 2 - 2, 0)]  # each must be compiled anew
    run = judge(ground, config, _floats(best.values), whole=ground.budget.supervised)
    return search(ground, "structure", tried, {}, len(tried), run, "regularisation", 0)


def _longer(ground: Ground, config: Config, values: Values) -> Callable[[int], Trial]:
    """steps -> what makes a trial of so many steps with values like these."""
    numbers, whole = _floats(values), ground.budget.supervised
    return lambda steps: judge(ground, config, numbers, steps=steps, whole=whole)


def _floats(values: Values) -> list[str]:
    """The settings whose values are numbers that a program takes as arguments."""
    return [path for path, value in values.items() if isinstance(value, float)]


def _flips(config: Config) -> bool:
    """Whether the config mirrors images already."""
    flip_shift = config.augment.weak.name == "flip_shift"
    return flip_shift or bool(config.augment.weak.get("flip", False))
