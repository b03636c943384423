"""Pi-model, arXiv:1610.02242: two noisy looks at an image should lead to one prediction."""

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


def pi_model(*, total_steps: int, weight: NonNegative = 10.0, ramp: Probability = 0.4) -> Objective:
    """Mean squared error between the probabilities of two weak views, the first one's as target.

    The mean is over classes (a sum would need weight / k). Both unlabelled forwards leave the
    running statistics as they are. The weight climbs in a line over `ramp` of the phase.
    """

    def loss(params, state, views, key):
        labelled, stats = separate(params, state, views["labelled"], key)
        one, _ = separate(params, state, views["weak"], jax.random.fold_in(key, 1))
        two, _ = separate(params, state, views["weak_2"], jax.random.fold_in(key, 2))
        target = guess(one)
        known = cross_entropy(labelled, views["label"])
        gap = squared_error(target, jax.nn.softmax(two))
        scale = weight * linear_ramp(state.phase_step, ramp * total_steps)
        metrics = labelled_metrics(labelled, views["label"], known)
        metrics |= pseudo_label_metrics(target, gap, views["truth"])
        return outcome(known.mean(), scale * gap.mean(), stats, state.aux, metrics)

    return Objective(("labelled", "weak", "weak_2"), loss)
