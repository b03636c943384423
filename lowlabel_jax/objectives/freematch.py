"""FreeMatch, arXiv:2205.07246: thresholds that follow how sure the network is, and fairness."""

import jax
import jax.numpy as jnp

from lowlabel_jax.core import parallel
from lowlabel_jax.core.ranges import Fraction, NonNegative, Probability
from lowlabel_jax.objectives.base import (
    Objective,
    labelled_metrics,
    mean,
    outcome,
    pseudo_label_metrics,
)
from lowlabel_jax.objectives.forward import weak_and_strong
from lowlabel_jax.objectives.losses import cross_entropy, guess
from lowlabel_jax.objectives.thresholds import self_adaptive


def freematch(
    *,
    weight: NonNegative = 1.0,
    fairness: NonNegative = 0.01,
    decay: Fraction = 0.999,
    lowest: Probability = 0.0,
    highest: Probability = 1.0,
    split: bool = False,
) -> Objective:
    """Equations 4 to 12: self-adaptive thresholds, and self-adaptive fairness times `fairness`.

    decay: memory of the statistics; a run of a few thousand steps wants less, 0.99. lowest, highest
    hold the global threshold (the paper: 0.9 and 0.95 on SVHN).
    """
    limit = self_adaptive(decay, lowest, highest)

    def loss(params, state, views, key):
        (labelled, weak, strong), stats = weak_and_strong(params, state, views, key, split)
        probs = guess(weak)
        kept, aux = limit.weigh(state.aux, probs, views["index"])
        known = cross_entropy(labelled, views["label"])
        taught = kept * cross_entropy(strong, probs.argmax(-1))
        fair = unfairness(strong, kept, aux["class"], aux["histogram"])
        metrics = labelled_metrics(labelled, views["label"], known)
        metrics |= pseudo_label_metrics(probs, taught, views["truth"], kept)
        metrics |= {"loss/fairness": mean(fair[None]), "threshold": mean(aux["level"][None])}
        unlabelled = weight * taught.mean() + fairness * fair
        return outcome(known.mean(), unlabelled, stats, aux, metrics)

    return Objective(("labelled", "weak", "strong"), loss, limit.init)


def unfairness(
    strong: jax.Array, kept: jax.Array, guesses: jax.Array, histogram: jax.Array
) -> jax.Array:
    """Equation 12, to be minimised: minus a cross-entropy, sum of a · log b, over all devices.

    a is the mean guess [k] over the histogram of pseudo-labels [k], remembered; b the same of the
    kept strong views in this batch. Both are made to sum to one; a class that nothing was said of
    counts 0. Where nothing is kept the result is 0.
    """
    probs = jax.nn.softmax(strong)
    votes = jax.nn.one_hot(probs.argmax(-1), probs.shape[-1])
    sums = [(kept[:, None] * x).mean(0) for x in (probs, votes)]
    here, votes, any_kept = parallel.pmean((*sums, kept.mean()))
    a, b = balanced(guesses, histogram), balanced(here, votes)
    return jnp.where(any_kept > 0, (a * jnp.log(b + 1e-12)).sum(), 0.0)


def balanced(probs: jax.Array, histogram: jax.Array) -> jax.Array:
    """[k]: probs over histogram, made to sum to one; 0 where the histogram is 0."""
    ratio = jnp.where(histogram > 0, probs / jnp.where(histogram > 0, histogram, 1.0), 0.0)
    total = ratio.sum()
    return ratio / jnp.where(total > 0, total, 1.0)
