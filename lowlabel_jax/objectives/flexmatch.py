"""FlexMatch, arXiv:2110.08263: FixMatch with a lower threshold for classes less learnt so far."""

from lowlabel_jax.core.ranges import NonNegative, Probability
from lowlabel_jax.objectives.base import (
    Objective,
    labelled_metrics,
    outcome,
    pseudo_label_metrics,
)
from lowlabel_jax.objectives.forward import weak_and_strong
from lowlabel_jax.objectives.losses import cross_entropy, guess
from lowlabel_jax.objectives.thresholds import curriculum


def flexmatch(
    *,
    threshold: Probability = 0.95,
    weight: NonNegative = 1.0,
    warm_up: bool = True,
    split: bool = False,
) -> Objective:
    """Algorithm 1. At first nothing is learnt and nearly every image is kept: as it should be.

    warm_up: equation 11, thresholds low until most images have been learnt once.
    """
    limit = curriculum(threshold, warm_up)

    def loss(params, state, views, key):
        (labelled, weak, strong), stats = weak_and_strong(params, state, views, key, split)
        probs = guess(weak)
        kept, aux = limit.weigh(state.aux, probs, views["index"])
        known = cross_entropy(labelled, views["label"])
        taught = kept * cross_entropy(strong, probs.argmax(-1))
        metrics = labelled_metrics(labelled, views["label"], known)
        metrics |= pseudo_label_metrics(probs, taught, views["truth"], kept)
        return outcome(known.mean(), weight * taught.mean(), stats, aux, metrics)

    return Objective(("labelled", "weak", "strong"), loss, limit.init)
