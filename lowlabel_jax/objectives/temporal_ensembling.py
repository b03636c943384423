"""Temporal ensembling, arXiv:1610.02242: agree with what one has said of an image so far."""

import jax
import jax.numpy as jnp

from lowlabel_jax.core import parallel
from lowlabel_jax.core.ranges import Fraction, NonNegative, Probability
from lowlabel_jax.objectives.base import (
    Objective,
    labelled_metrics,
    outcome,
    pseudo_label_metrics,
    sigmoid_ramp,
)
from lowlabel_jax.objectives.forward import separate
from lowlabel_jax.objectives.losses import cross_entropy, guess, squared_error


def temporal_ensembling(
    *,
    total_steps: int,
    weight: NonNegative = 30.0,
    momentum: Fraction = 0.6,
    ramp: Probability = 0.27,
) -> Objective:
    """Mean squared error with each image's averaged predictions (algorithm 2).

    The store Z follows z by `momentum` at each visit of an image, once an epoch; the target is
    Z / (1 - momentum^visits) as it was before this visit, so that an image seen for the first time
    has none and counts 0. The weight climbs as exp(-5 (1 - x)²) over `ramp` of the phase (80 of
    300 epochs). Here losses are means over labelled and over unlabelled images, which takes the
    place of the paper's factor M / N.
    """

    def init(info):
        n, k = info.num_unlabelled, info.num_classes
        return {"average": jnp.zeros((n, k)), "visits": jnp.zeros((n,), jnp.int32)}

    def loss(params, state, views, key):
        labelled, stats = separate(params, state, views["labelled"], key)
        weak, _ = separate(params, state, views["weak"], jax.random.fold_in(key, 1))
        visits = state.aux["visits"][views["index"]]
        told = state.aux["average"][views["index"]]
        target = told / (1 - momentum ** jnp.maximum(visits, 1))[:, None]
        known = cross_entropy(labelled, views["label"])
        gap = (visits > 0) * squared_error(target, jax.nn.softmax(weak))
        scale = weight * sigmoid_ramp(state.phase_step, ramp * total_steps)
        aux = visited(state.aux, views["index"], guess(weak), momentum)
        metrics = labelled_metrics(labelled, views["label"], known)
        metrics |= pseudo_label_metrics(guess(weak), gap, views["truth"])
        return outcome(known.mean(), scale * gap.mean(), stats, aux, metrics)

    return Objective(("labelled", "weak"), loss, init)


def visited(memory: dict, index: jax.Array, probs: jax.Array, momentum: float) -> dict:
    """The store after probs [m, k] of the images index [m], of all devices.

    An image that stands in the batch more than once is visited once, with its mean.
    """
    index, probs = parallel.gather(index), parallel.gather(probs)
    times = jnp.zeros(len(memory["visits"])).at[index].add(1.0)
    total = jnp.zeros(memory["average"].shape).at[index].add(probs)
    new = momentum * memory["average"] + (1 - momentum) * total / jnp.maximum(times, 1)[:, None]
    seen = times > 0
    average = jnp.where(seen[:, None], new, memory["average"])
    return {"average": average, "visits": memory["visits"] + seen}
