"""DeFixMatch, arXiv:2203.07512: FixMatch without its bias, for the careful."""

from lowlabel_jax.core.ranges import NonNegative, Probability
from lowlabel_jax.objectives.base import (
    Objective,
    labelled_metrics,
    mean,
    outcome,
    pseudo_label_metrics,
)
from lowlabel_jax.objectives.forward import guess_and_learn
from lowlabel_jax.objectives.losses import cross_entropy, guess
from lowlabel_jax.objectives.thresholds import fixed


def defixmatch(
    *, threshold: Probability = 0.95, weight: NonNegative = 1.0, split: bool = False
) -> Objective:
    """Equation 6: FixMatch's unlabelled loss less the same loss on the labelled images.

    What pseudo-labels cost on images whose label is known is taken off again, so that the risk is
    estimated without bias, and cannot be much worse than the supervised one (theorem 3.1). The
    labelled images' labels play no part in the term that is taken off.
    """

    def term(weak, strong, index):
        probs = guess(weak)
        kept, _ = fixed(threshold).weigh((), probs, index)
        return kept * cross_entropy(strong, probs.argmax(-1)), probs, kept

    def loss(params, state, views, key):
        names = ("labelled", "labelled_strong", "weak", "strong")
        ends, stats = guess_and_learn(params, state, views, names, key, split)
        one, two, weak, strong = (end.logits for end in ends)
        known = cross_entropy(one, views["label"])
        taught, probs, kept = term(weak, strong, views["index"])
        off, _, _ = term(one, two, None)
        metrics = labelled_metrics(one, views["label"], known) | {"loss/debias": mean(off)}
        metrics |= pseudo_label_metrics(probs, taught, views["truth"], kept)
        unlabelled = weight * (taught.mean() - off.mean())
        return outcome(known.mean(), unlabelled, stats, state.aux, metrics)

    return Objective(("labelled", "labelled_strong", "weak", "strong"), loss)
