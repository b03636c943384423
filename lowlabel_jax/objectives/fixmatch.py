"""FixMatch, arXiv:2001.07685: what the weak view is sure of, the strong view has to learn."""

from lowlabel_jax.core.ranges import Fraction, NonNegative, Probability
from lowlabel_jax.objectives.alignment import align as aligned
from lowlabel_jax.objectives.alignment import even
from lowlabel_jax.objectives.base import (
    Objective,
    labelled_metrics,
    linear_ramp,
    outcome,
    pseudo_label_metrics,
)
from lowlabel_jax.objectives.forward import weak_and_strong
from lowlabel_jax.objectives.losses import cross_entropy, guess
from lowlabel_jax.objectives.thresholds import fixed


def fixmatch(
    *,
    total_steps: int,
    threshold: Probability = 0.95,
    weight: NonNegative = 1.0,
    align: bool = False,
    align_decay: Fraction = 0.99,
    ramp: Probability = 0.0,
    split: bool = False,
) -> Objective:
    """Equations 3 and 4, averaged over all unlabelled images, masked-out ones included.

    align: distribution alignment of the guesses with a uniform prior (not in the paper's default).
    ramp: the weight climbs in a line over this share of the phase (0, the paper's: no climb).
    split: guess in a forward of its own, without gradient: about a third cheaper at mu = 7, but
    BatchNorm then sees the weak views apart. False is the paper's one joint batch.
    """

    def init(info):
        return even(info.num_classes) if align else ()

    def loss(params, state, views, key):
        (labelled, weak, strong), stats = weak_and_strong(params, state, views, key, split)
        probs, aux = guess(weak), state.aux
        if align:
            probs, aux = aligned(aux, probs, even(probs.shape[-1]), align_decay)
        kept, _ = fixed(threshold).weigh((), probs, views["index"])
        known = cross_entropy(labelled, views["label"])
        taught = kept * cross_entropy(strong, probs.argmax(-1))
        scale = weight * linear_ramp(state.phase_step, ramp * total_steps)
        metrics = labelled_metrics(labelled, views["label"], known)
        metrics |= pseudo_label_metrics(probs, taught, views["truth"], kept)
        return outcome(known.mean(), scale * taught.mean(), stats, aux, metrics)

    return Objective(("labelled", "weak", "strong"), loss, init)
