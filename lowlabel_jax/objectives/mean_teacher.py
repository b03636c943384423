"""Mean Teacher, arXiv:1703.01780: the student agrees with the average of its own past weights."""

import jax
import jax.numpy as jnp

from lowlabel_jax.core.ranges import NonNegative, Probability
from lowlabel_jax.objectives.base import (
    Objective,
    Out,
    labelled_metrics,
    linear_ramp,
    mean,
    pseudo_label_metrics,
    separate,
)
from lowlabel_jax.objectives.losses import cross_entropy, squared_error


def mean_teacher(
    *, total_steps: int, weight: NonNegative = 50.0, ramp: Probability = 0.4
) -> Objective:
    """Mean squared error between the two networks' probabilities on two weak views.

    The teacher is state.ema, normalised by its own batch (train mode); the statistics of both
    unlabelled forwards are dropped. The weight climbs in a line over `ramp` of the phase.
    """

    def loss(params, state, views, key):
        labelled_key, student_key, teacher_key = jax.random.split(key, 3)
        labelled, stats = separate(params, state, views["labelled"], labelled_key)
        student, _ = separate(params, state, views["weak"], student_key)
        teacher, _ = separate(state.ema["params"], state, views["weak_2"], teacher_key)
        target = jax.lax.stop_gradient(jax.nn.softmax(teacher))
        known = cross_entropy(labelled, views["label"])
        gap = squared_error(target, jax.nn.softmax(student))
        scale = weight * linear_ramp(state.phase_step, ramp * total_steps)
        total = known.mean() + scale * gap.mean()
        metrics = labelled_metrics(labelled, views["label"], known)
        metrics |= pseudo_label_metrics(target, jnp.ones(len(gap)), gap, views["truth"])
        return total, Out(stats, state.aux, {"loss": mean(total[None]), **metrics})

    return Objective(("labelled", "weak", "weak_2"), loss)
