"""Noisy student, arXiv:1911.04252: a new network learns what a finished one has guessed."""

from lowlabel_jax.core.ranges import NonNegative, Probability
from lowlabel_jax.objectives.base import (
    Objective,
    labelled_metrics,
    outcome,
    pseudo_label_metrics,
)
from lowlabel_jax.objectives.forward import joint
from lowlabel_jax.objectives.losses import cross_entropy, soft_cross_entropy
from lowlabel_jax.objectives.thresholds import fixed


def noisy_student(
    *, threshold: Probability = 0.9, weight: NonNegative = 1.0, balanced: bool = False
) -> Objective:
    """Cross-entropy with labels and with a teacher's soft guesses, half weak and half strong views.

    The teacher is a finished run, `--config.teacher=RUN`: its averaged weights' probabilities on
    this run's unlabelled images, stored before the first step. Those surer than `threshold` count;
    the mean is over all images. balanced: all guessed classes teach as much, by as many images of
    each, the surest, repeated where there are too few (evaluation/guesses.py:balance).
    `lowlabel student` repeats it with the student as the teacher.
    """
    shown = ("labelled", "labelled_strong", "weak", "strong")

    def loss(params, state, views, key):
        (one, two, weak, strong), stats = joint(params, state, *map(views.get, shown), key=key)
        target = views["teacher"]
        kept, _ = fixed(threshold).weigh((), target, views["index"])
        counts = views["teacher_weight"] if balanced else kept
        known = (cross_entropy(one, views["label"]) + cross_entropy(two, views["label"])) / 2
        both = soft_cross_entropy(weak, target) + soft_cross_entropy(strong, target)
        taught = counts * both / 2
        metrics = labelled_metrics(one, views["label"], known)
        metrics |= pseudo_label_metrics(target, taught, views["truth"], kept)
        return outcome(known.mean(), weight * taught.mean(), stats, state.aux, metrics)

    return Objective((*shown, "teacher", *["teacher_weight"] * balanced), loss)
