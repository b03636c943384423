"""Digits with 20 labels: one setting of FixMatch at a time, eight draws of the labels.

python launch.py --config=configs/digits_ablations.py:threshold --workdir=runs/threshold --sweep
Questions: threshold, mu, ema, batch_norm, strength, labels. docs/ablations.md has what came out.

The first value of a question is what digits_fixmatch has. Nothing was chosen by test images.
"""

import digits_fixmatch

from lowlabel_jax.configuration.argument import choose

BASE = digits_fixmatch.get_config()
STRONG = BASE.augment.strong.to_dict()
WEAK = BASE.augment.weak.to_dict()


def values(path, *given):
    """{"threshold=0.8": {"objective.threshold": 0.8}, …}: one setting at each of these values."""
    return {f"{path.rsplit('.', 1)[-1]}={value}": {path: value} for value in given}


def strength(factor):
    """The strong view with all its changes this many times as large, from a weak view's up."""
    strong = {k: v for k, v in STRONG.items() if isinstance(v, float)}
    least = {k: WEAK.get(k, 0.0) for k in strong}
    return {
        f"augment.strong.{k}": round(least[k] + factor * (v - least[k]), 4)
        for k, v in strong.items()
    }


SUPERVISED = {"objective.name": "supervised", "objective.strong": True, "batch.labelled": 20}
QUESTIONS = {
    "threshold": values("objective.threshold", 0.8, 0.0, 0.5, 0.95, 0.99),
    "mu": values("batch.mu", 3, 1, 2, 5, 7),
    "ema": values("ema.decay", 0.99, 0.0, 0.9, 0.999),
    "batch_norm": {
        "joint": {},
        "split": {"objective.split": True},  # weak views normalised apart, moving no statistics
        "averaged": {"ema.batch_stats": True},  # running statistics averaged as weights are
        "momentum=0.999": {"model.momentum": 0.999},  # the paper's, of 2^20 steps
        "momentum=0.8": {"model.momentum": 0.8},
    },
    "strength": {f"strength={factor}": strength(factor) for factor in (1.0, 0.0, 0.5, 1.5)},
    "labels": {
        f"{name}-{labels}": {**changes, "split.labelled.total": labels}
        for labels in (10, 20, 40, 80, 160)
        for name, changes in {"supervised": SUPERVISED, "fixmatch": {}}.items()
    },
}


def get_config(which="threshold"):
    """digits_fixmatch with 20 labels and 600 steps; the question changes what sweep() yields."""
    choose(which, question=tuple(QUESTIONS))
    config = digits_fixmatch.get_config()
    config.split.labelled = {"total": 20}
    config.length = {"steps": 600}
    config.checkpoint.every = 600
    return config


def sweep(which="threshold", seeds=range(8)):
    """Each value of a question on each seed: the seed decides the labels, so that values pair."""
    for seed in seeds:
        for name, changes in QUESTIONS[
            choose(which, question=tuple(QUESTIONS))["question"]
        ].items():
            yield {"method": name, **changes, "seed": seed}
