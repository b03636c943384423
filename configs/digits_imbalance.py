"""Digits with uneven labels, 40 zeros down to 2 nines: four ways to train, six draws of the labels.

python launch.py --config=configs/digits_imbalance.py --workdir=runs/imbalance --sweep --workers=2

The test set has as many nines as zeros. docs/imbalance.md has what came out. Views, batch and steps
are such that every way comes to fit its labels: by the labelled accuracy, not by test images.
"""

import digits_fixmatch

METHODS = {
    "plain": {},
    "weights": {"objective.balanced": True},
    "balanced-batches": {"batch.balanced": True},
    "logit-adjustment": {"objective.logit_adjustment": 1.0},
}


def get_config():
    """The network and views of digits_fixmatch, its labels alone."""
    config = digits_fixmatch.get_config()
    config.objective = {"name": "supervised"}  # on weak views: on strong ones 400 steps are too few
    config.split.labelled = {"per_class": 40}  # of the largest class: 131 labels in all
    config.split.labelled_imbalance = 20.0
    config.split.validation = {"per_class": 20}  # for the temperature; nothing else looks at it
    config.batch.labelled = 40
    config.length = {"steps": 400}
    config.checkpoint.every = 400
    return config


def sweep(seeds=range(6)):
    """Each way on each seed: the seed decides the labels, so they pair."""
    for seed in seeds:
        for name, changes in METHODS.items():
            yield {"method": name, **changes, "seed": seed}
