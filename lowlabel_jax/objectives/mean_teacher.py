"""Mean Teacher, arXiv:1703.01780: the student agrees with the average of its own past weights."""

import jax

from lowlabel_jax.core.ranges import NonNegative, Probability
from lowlabel_jax.objectives.base import (
    Objective,
    labelled_metrics,
    linear_ramp,
    outcome,
    pseudo_label_metrics,
)
from lowlabel_jax.objectives.forward import separate
from lowlabel_jax.objectives.losses import cross_entropy, guess, squared_error


def mean_teacher(
    *, total_steps: int, weight: NonNegative = 50.0, ramp: Probability = 0.4
) -> Objective:
    """Mean squared error between the two networks' probabilities on two weak views.

    The teacher is state.ema, normalised by its own batch (train mode); the statistics of both
    unlabelled forwards are dropped. The weight climbs in a line over `ramp` of the phase.
    """

    def loss(params, state, views, key):
        labelled, stats = separate(params, state, views["labelled"], key)
        student, _ = separate(params, state, views["weak"], jax.random.fold_in(key, 1))
        average = state.ema["params"]
        teacher, _ = separate(average, state, views["weak_2"], jax.random.fold_in(key, 2))
        target = guess(teacher)
        known = cross_entropy(labelled, views["label"])
        gap = squared_error(target, jax.nn.softmax(student))
        scale = weight * linear_ramp(state.phase_step, ramp * total_steps)
        metrics = labelled_metrics(labelled, views["label"], known)
        metrics |= pseudo_label_metrics(target, gap, views["truth"])
        return outcome(known.mean(), scale * gap.mean(), stats, state.aux, metrics)

    return Objective(("labelled", "weak", "weak_2"), loss)
