"""Digits with 10, 20 or 40 labels: every method on the same labels, network, views and steps.

python launch.py --config=configs/digits_methods.py:labels=10 --workdir=runs/m10 --sweep --workers=2

docs/methods.md has the table that came out and what it says. Methods have their papers' settings
but for what stands below with its reason; nothing was chosen by test images.
"""

import digits_fixmatch

from lowlabel_jax.configuration.argument import choose

METHODS = {
    "supervised": {"objective.strong": True, "batch.labelled": 20},
    "supervised-weak": {"objective.name": "supervised", "batch.labelled": 20},
    "pseudo_label": {},
    "pi_model": {},
    "temporal_ensembling": {},
    "mean_teacher": {},
    "vat": {"objective.radius": 0.87},  # the paper's 6 over 3,072 values is as much over 64
    "ict": {},
    "mixmatch": {"objective.ramp": 0.4},  # the paper's climb of 16,384 steps: at 31 it collapses
    "remixmatch": {"objective.ramp": 0.4, "objective.rotation_weight": 0.0},  # 6 turned is 9
    "uda": {},
    "fixmatch": {"objective.threshold": 0.8, "objective.align": True, "objective.ramp": 0.2},
    "fixmatch-paper": {"objective.name": "fixmatch"},
    "flexmatch": {},
    "freematch": {"objective.decay": 0.99},  # the papers' 0.999 remembers half of this run
    "softmatch": {"objective.decay": 0.99},
    "adamatch": {"objective.decay": 0.99},
    "defixmatch": {},
    "simmatch": {},
}
BEST = (
    "supervised",
    "supervised-weak",
    "fixmatch",
    "flexmatch",
    "freematch",
    "softmatch",
    "adamatch",
)  # six seeds


CHOICES = {"labels": (10, 20, 40), "methods": ("all", "best")}


def get_config(which=""):
    """labels=10|20|40, methods=all|best: half of the steps of digits_fixmatch above ten labels."""
    labels = choose(which, **CHOICES)["labels"]
    config = digits_fixmatch.get_config()
    config.objective = {"name": "supervised"}  # each method begins with its own defaults
    config.split.labelled = {"total": labels}
    if labels > 10:
        config.length = {"steps": 1000}
        config.checkpoint.every = 500
    return config


def sweep(which="", seeds=range(3), more=range(3, 6)):
    """Each method on three seeds, the best on three more at ten labels; students after teachers."""
    chosen = choose(which, **CHOICES)
    names = METHODS if chosen["methods"] == "all" else BEST
    rows = [(name, seed) for seed in seeds for name in names]
    rows += [(name, seed) for seed in more for name in BEST if chosen["labels"] == 10]
    for name, seed in rows:
        yield {"method": name, "objective.name": name, **METHODS[name], "seed": seed}
    for seed in seeds if names is METHODS else ():
        teacher = f"{{sweep}}/supervised-seed{seed}"
        yield {
            "method": "noisy_student",
            "objective.name": "noisy_student",
            "teacher": teacher,
            "seed": seed,
        }
