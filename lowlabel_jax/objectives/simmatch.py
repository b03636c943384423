"""SimMatch, arXiv:2203.06915: guesses over classes and over labelled images should agree."""

import jax
import jax.numpy as jnp

from lowlabel_jax.core import parallel
from lowlabel_jax.core.ranges import Count, Fraction, NonNegative, Positive, Probability
from lowlabel_jax.objectives.alignment import align, even
from lowlabel_jax.objectives.base import (
    Objective,
    labelled_metrics,
    mean,
    outcome,
    pseudo_label_metrics,
)
from lowlabel_jax.objectives.forward import apply_dense, dense, guess_and_learn
from lowlabel_jax.objectives.losses import cross_entropy, guess, soft_cross_entropy
from lowlabel_jax.objectives.thresholds import fixed, write_last

WINDOW = 32  # batches that the unlabelled marginal is a mean over


def simmatch(
    *,
    threshold: Probability = 0.95,
    weight: NonNegative = 1.0,
    instance_weight: NonNegative = 1.0,
    temperature: Positive = 0.1,
    smoothing: Probability = 0.9,
    bank_momentum: Fraction = 0.7,
    size: Count = 128,
    split: bool = False,
) -> Objective:
    """Sections 3.2 and 3.3, the form for small data: no teacher network, a smoothed bank.

    A bank holds an embedding [size] of each labelled image. A weak view's similarities to them are
    multiplied by its guess of their classes (unfolding, equation 7) and are what the strong view's
    similarities learn; summed by class (aggregation) they enter its pseudo-label, 1 - `smoothing`
    of it (equation 10), which is soft and counts from `threshold` on. Guesses are aligned. The bank
    takes in this batch's labelled images before it is used.
    """

    def init(info):
        n = info.sizes["labelled"]
        bank = {"embedding": jnp.zeros((n, size)), "label": jnp.full((n,), -1, jnp.int32)}
        return {"bank": bank, "guesses": even(info.num_classes, WINDOW)}

    def heads(info, features):
        return {"hidden": dense(features, features), "embedding": dense(features, size)}

    def loss(params, state, views, key):
        names = ("labelled", "weak", "strong")
        ends, stats = guess_and_learn(params, state, views, names, key, split)
        mine, weak, strong = (embedded(params["heads"], end.features) for end in ends)
        bank = taken_in(state.aux["bank"], views, jax.lax.stop_gradient(mine), bank_momentum)
        probs = guess(ends[1].logits)
        probs, said = align(state.aux["guesses"], probs, even(probs.shape[-1]))

        near = guess(similarity(weak, bank), temperature)
        target, probs = propagated(near, probs, bank["label"], smoothing)
        kept, _ = fixed(threshold).weigh((), probs, views["index"])
        known = cross_entropy(ends[0].logits, views["label"])
        taught = kept * soft_cross_entropy(ends[2].logits, probs)
        alike = soft_cross_entropy(similarity(strong, bank) / temperature, target)

        metrics = labelled_metrics(ends[0].logits, views["label"], known)
        metrics |= pseudo_label_metrics(probs, taught, views["truth"], kept)
        metrics |= {"loss/instance": mean(alike)}
        unlabelled = weight * taught.mean() + instance_weight * alike.mean()
        aux = {"bank": bank, "guesses": said}
        return outcome(known.mean(), unlabelled, stats, aux, metrics)

    return Objective(("labelled", "weak", "strong"), loss, init, heads)


def embedded(heads: dict, features: jax.Array) -> jax.Array:
    """features [b, f] -> embeddings of length 1 [b, size]."""
    x = apply_dense(heads["embedding"], jax.nn.relu(apply_dense(heads["hidden"], features)))
    return x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-12)


def taken_in(bank: dict, views: dict, mine: jax.Array, momentum: float) -> dict:
    """The bank with this batch's labelled embeddings mine [b, size], of all devices.

    momentum·old + (1 - momentum)·new, of length 1; the first one as it is.
    """
    rows, labels, new = map(parallel.gather, (views["labelled_index"], views["label"], mine))
    old, there = bank["embedding"][rows], (bank["label"][rows] >= 0)[:, None]
    moved = jnp.where(there, momentum * old + (1 - momentum) * new, new)
    moved = moved * jax.lax.rsqrt(jnp.square(moved).sum(-1, keepdims=True) + 1e-12)
    every = jnp.ones(len(rows), bool)
    return {
        "embedding": write_last(bank["embedding"], rows, moved, every),
        "label": write_last(bank["label"], rows, labels, every),
    }


def similarity(embeddings: jax.Array, bank: dict) -> jax.Array:
    """[m, n]: cosines with the bank's entries; far below all for those not seen yet."""
    cosine = embeddings @ bank["embedding"].T
    return jnp.where((bank["label"] >= 0)[None], cosine, -1e4)


def propagated(
    near: jax.Array, probs: jax.Array, labels: jax.Array, smoothing: float
) -> tuple[jax.Array, jax.Array]:
    """Unfolding and aggregation: (what similarities should be [m, n], what classes [m, k]).

    near [m, n] over labelled images, probs [m, k] over classes, labels [n] (-1: not seen yet).
    """
    member = jax.nn.one_hot(labels, probs.shape[-1])
    unfolded = near * (probs @ member.T)
    unfolded = unfolded / jnp.maximum(unfolded.sum(-1, keepdims=True), 1e-12)
    return unfolded, smoothing * probs + (1 - smoothing) * near @ member
