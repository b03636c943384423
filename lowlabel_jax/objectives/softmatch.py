"""SoftMatch, arXiv:2301.10921: every guess counts, the less sure ones less."""

from lowlabel_jax.core.ranges import Fraction, NonNegative, Positive
from lowlabel_jax.objectives.base import (
    Objective,
    labelled_metrics,
    outcome,
    pseudo_label_metrics,
)
from lowlabel_jax.objectives.forward import weak_and_strong
from lowlabel_jax.objectives.losses import cross_entropy, guess
from lowlabel_jax.objectives.thresholds import gaussian


def softmatch(
    *,
    weight: NonNegative = 1.0,
    width: Positive = 2.0,
    decay: Fraction = 0.999,
    align: bool = True,
    split: bool = False,
) -> Objective:
    """Equations 6 to 10. The class is the raw guess's; only its weight is of the aligned one.

    decay: memory of the confidence's mean and variance (of raw guesses, as in the paper); a run of
    a few thousand steps wants less, 0.99. align: uniform alignment. width: n_sigma.
    """
    weights = gaussian(decay, width, align)

    def loss(params, state, views, key):
        (labelled, weak, strong), stats = weak_and_strong(params, state, views, key, split)
        probs = guess(weak)
        kept, aux = weights.weigh(state.aux, probs, views["index"])
        known = cross_entropy(labelled, views["label"])
        taught = kept * cross_entropy(strong, probs.argmax(-1))
        metrics = labelled_metrics(labelled, views["label"], known)
        metrics |= pseudo_label_metrics(probs, taught, views["truth"], kept)
        return outcome(known.mean(), weight * taught.mean(), stats, aux, metrics)

    return Objective(("labelled", "weak", "strong"), loss, weights.init)
