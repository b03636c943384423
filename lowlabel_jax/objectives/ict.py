"""Interpolation consistency training, arXiv:1903.03825: a mixed image, a mixed guess."""

import jax

from lowlabel_jax.core.ranges import NonNegative, Positive, Probability
from lowlabel_jax.objectives import mixing
from lowlabel_jax.objectives.base import (
    Objective,
    labelled_metrics,
    outcome,
    pseudo_label_metrics,
    sigmoid_ramp,
)
from lowlabel_jax.objectives.forward import separate
from lowlabel_jax.objectives.losses import cross_entropy, guess, squared_error


def ict(
    *,
    total_steps: int,
    weight: NonNegative = 100.0,
    alpha: Positive = 1.0,
    ramp: Probability = 0.25,
) -> Objective:
    """Mean squared error of the student on a mixture with the mixture of the teacher's guesses.

    The teacher is state.ema in train mode; the share of a pair is from Beta(alpha, alpha), one a
    pair (the authors' code draws one a batch). Statistics of the unlabelled forwards are dropped.
    The weight climbs as exp(-5 (1 - x)²) over `ramp` of the phase.
    """

    def loss(params, state, views, key):
        labelled, stats = separate(params, state, views["labelled"], key)
        keys = jax.random.split(jax.random.fold_in(key, 1), 4)
        weak = views["weak"]
        target = guess(separate(state.ema["params"], state, weak, keys[0])[0])
        share = mixing.beta(keys[1], alpha, *mixing.addresses(weak))
        (partner,), (its_target,) = (mixing.shuffled(keys[2], x) for x in (weak, target))
        mixture, _ = separate(params, state, mixing.mix(weak, partner, share), keys[3])
        known = cross_entropy(labelled, views["label"])
        gap = squared_error(mixing.mix(target, its_target, share), jax.nn.softmax(mixture))
        scale = weight * sigmoid_ramp(state.phase_step, ramp * total_steps)
        metrics = labelled_metrics(labelled, views["label"], known)
        metrics |= pseudo_label_metrics(target, gap, views["truth"])
        return outcome(known.mean(), scale * gap.mean(), stats, state.aux, metrics)

    return Objective(("labelled", "weak"), loss)
