"""AdaMatch, arXiv:2106.04732: alignment with the labelled guesses, a relative threshold."""

import jax
import jax.numpy as jnp

from lowlabel_jax.core import parallel
from lowlabel_jax.core.ranges import Fraction, NonNegative, Probability
from lowlabel_jax.objectives.alignment import align, even, follow
from lowlabel_jax.objectives.base import (
    Objective,
    labelled_metrics,
    outcome,
    pseudo_label_metrics,
)
from lowlabel_jax.objectives.forward import guess_and_learn, joint
from lowlabel_jax.objectives.losses import cross_entropy, guess
from lowlabel_jax.objectives.thresholds import fixed

NAMES = ("labelled", "labelled_strong", "weak", "strong")
WINDOW = 128  # batches that the unlabelled marginal is a mean over


def adamatch(
    *,
    total_steps: int,
    threshold: Probability = 0.9,
    weight: NonNegative = 1.0,
    decay: Fraction = 0.999,
    interpolate: bool = True,
    split: bool = False,
) -> Objective:
    """Section 3, semi-supervised: weak and strong views of labelled and unlabelled images alike.

    interpolate: labelled logits lie anywhere between those of a forward of the labelled images
    alone (whose statistics are dropped) and those of the joint one, drawn for each logit.
    threshold: times the mean confidence on the labelled weak views. The weight climbs as half a
    cosine to 1 in the middle of the phase. decay: memory of the labelled marginal.
    """

    def init(info):
        return {"labelled": even(info.num_classes), "unlabelled": even(info.num_classes, WINDOW)}

    def loss(params, state, views, key):
        both = views["labelled"], views["labelled_strong"]
        ends, stats = guess_and_learn(params, state, views, NAMES, key, split)
        *known, weak, strong = (end.logits for end in ends)
        if interpolate:
            alone, _ = joint(params, state, *both, key=jax.random.fold_in(key, 1))
            known = between(known, alone, jax.random.fold_in(key, 2))

        sure = guess(known[0])
        seen = follow(state.aux["labelled"], sure, decay)
        probs, said = align(state.aux["unlabelled"], guess(weak), seen)
        limit = threshold * parallel.pmean(sure.max(-1).mean())
        kept, _ = fixed(limit).weigh((), probs, views["index"])

        losses = [cross_entropy(logits, views["label"]) for logits in known]
        taught = kept * cross_entropy(strong, probs.argmax(-1))
        scale = weight * warm_up(state.phase_step / total_steps)
        metrics = labelled_metrics(known[0], views["label"], losses[0])
        metrics |= pseudo_label_metrics(probs, taught, views["truth"], kept)
        aux = {"labelled": seen, "unlabelled": said}
        labelled = (losses[0].mean() + losses[1].mean()) / 2
        return outcome(labelled, scale * taught.mean(), stats, aux, metrics)

    return Objective(NAMES, loss, init)


def between(one: list[jax.Array], other: list[jax.Array], key: jax.Array) -> list[jax.Array]:
    """Random logit interpolation: logits [b, k] each, a share from U(0, 1) for every single one."""

    def pair(x, y, key):
        keys = parallel.example_keys(key, parallel.positions(len(x)))
        share = jax.vmap(lambda k: jax.random.uniform(k, x.shape[1:]))(keys)
        return x + share * (y - x)

    return [pair(*z) for z in zip(one, other, jax.random.split(key, len(one)), strict=True)]


def warm_up(done: jax.Array) -> jax.Array:
    """1/2 - cos(min(pi, 2 pi x)) / 2 for x from 0 to 1: equation 6."""
    return 0.5 - 0.5 * jnp.cos(jnp.minimum(jnp.pi, 2 * jnp.pi * done))
