"""Digits with 20 labels: FixMatch's settings searched for by Optuna, scored on 20 more labels.

python launch.py --config=configs/digits_search.py --workdir=runs/search --search=12 --score=loss
With --workers=2 two trials at a time.

docs/search.md goes through it. 20 images tell an accuracy in steps of .05, so that many trials
tie: the loss tells them apart.
"""

import digits_fixmatch


def get_config():
    """digits_fixmatch, shorter, with as many validation images as labels and looks at them."""
    config = digits_fixmatch.get_config()
    config.split.labelled = {"per_class": 2}
    config.split.validation = {"per_class": 2}  # more would be labels to train on
    config.objective.ramp = 0.0  # 20 labels guess better than 10
    config.length = {"steps": 400}
    config.evaluate_every = 40
    config.checkpoint.every = 200
    return config


def space(trial):
    """What a trial changes: a path of the config and what Optuna suggests for it."""
    return {
        "optimizer.rate.peak": trial.suggest_float("optimizer.rate.peak", 0.01, 0.5, log=True),
        "optimizer.weight_decay": trial.suggest_float(
            "optimizer.weight_decay", 1e-5, 1e-2, log=True
        ),
        "objective.threshold": trial.suggest_float("objective.threshold", 0.5, 0.95),
        "batch.mu": trial.suggest_int("batch.mu", 1, 7),
        "augment.strong.rotate": trial.suggest_float("augment.strong.rotate", 5.0, 45.0),
    }
