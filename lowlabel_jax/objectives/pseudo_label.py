"""Pseudo-Label (Lee 2013): a guess that is sure enough is learnt as if it were a label."""

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
from lowlabel_jax.objectives.losses import cross_entropy, guess
from lowlabel_jax.objectives.thresholds import fixed


def pseudo_label(
    *,
    total_steps: int,
    threshold: Probability = 0.95,
    weight: NonNegative = 1.0,
    ramp: Probability = 0.4,
) -> Objective:
    """Cross-entropy of a weak view with its own sure guess; as in arXiv:1804.09170 and FixMatch's
    baselines, with a threshold.

    One view is target and prediction. Its forward moves no running statistics. The weight climbs in
    a line over `ramp` of the phase.
    """

    def loss(params, state, views, key):
        labelled, stats = separate(params, state, views["labelled"], key)
        weak, _ = separate(params, state, views["weak"], jax.random.fold_in(key, 1))
        probs = guess(weak)
        kept, _ = fixed(threshold).weigh((), probs, views["index"])
        known = cross_entropy(labelled, views["label"])
        taught = kept * cross_entropy(weak, probs.argmax(-1))
        scale = weight * linear_ramp(state.phase_step, ramp * total_steps)
        metrics = labelled_metrics(labelled, views["label"], known)
        metrics |= pseudo_label_metrics(probs, taught, views["truth"], kept)
        return outcome(known.mean(), scale * taught.mean(), stats, state.aux, metrics)

    return Objective(("labelled", "weak"), loss)
