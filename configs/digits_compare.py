"""Digits with ONE label per class: supervised against FixMatch, twelve seeds, same labels.

python launch.py --config=configs/digits_compare.py --workdir=runs/cmp --sweep --workers=2
With `digits_compare.py:all` two variants join: supervised on the weak view, FixMatch unaligned.
"""

import digits_fixmatch

METHODS = {  # the baseline has the same network, steps, labels, and its better augmentation
    "fixmatch": {"objective.name": "fixmatch"},
    "supervised": {"objective.name": "supervised", "objective.strong": True, "batch.labelled": 20},
}
VARIANTS = {
    "fixmatch-unaligned": {"objective.name": "fixmatch", "objective.align": False},
    "supervised-weak": {"objective.name": "supervised", "batch.labelled": 20},
}


def get_config(which=""):
    """digits_fixmatch; sweep() changes what a method changes."""
    return digits_fixmatch.get_config()


def sweep(which="", seeds=range(12)):
    """Each method on each seed: the seed decides the labels, so the methods pair."""
    methods = {**METHODS, **VARIANTS} if which == "all" else METHODS
    for seed in seeds:
        for name, changes in methods.items():
            yield {"method": name, **changes, "seed": seed}
