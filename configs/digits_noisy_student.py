"""Digits with 40 labels: noisy student in rounds, a teacher and three students in turn.

lowlabel student digits_noisy_student --workdir=runs/ns     # 3 min on 2 busy cores

The config as it is trains the teacher, on labels alone. STUDENT is what the students change: any
config file may have one, and `lowlabel student` takes any config. --student.objective.threshold=0.5
is for the students alone, --teacher.x.y=VALUE for the teacher, --config.x.y=VALUE for all.
docs/methods/noisy_student.md has what came out.
"""

import digits_fixmatch

from lowlabel_jax.configuration.argument import choose

STUDENT = {
    "objective.name": "noisy_student",
    "objective.balanced": True,  # as in the paper
    "batch.labelled": 10,  # two views of each, and 30 unlabelled images
    "model.dropout": 0.3,  # noise of the student's own, beside its views
}


def get_config(which=""):
    """labels=40|20|10: the network, views and steps of digits_methods."""
    labels = choose(which, labels=(40, 20, 10))["labels"]
    config = digits_fixmatch.get_config()
    config.objective = {"name": "supervised", "strong": True}
    config.split.labelled = {"total": labels}
    config.batch.labelled = 20  # as the students, who take two views of ten
    config.length = {"steps": 2000 if labels == 10 else 1000}
    config.checkpoint.every = 500
    return config
