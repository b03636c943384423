"""What a method is, how it runs the network, and how it reports.

An Objective is three things: the views it wants (augment/views.py lists them), its loss, and what
it remembers between steps (`init(info) -> aux`, returned anew by every loss).

    loss(params, state, views, key) -> (scalar, Out(batch_stats, aux, metrics))

The scalar is the mean over this device's examples; gradients are averaged over devices by the step.
What feeds a decision (a threshold, a class marginal) must go through parallel.pmean or gather.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lowlabel_jax.core import parallel
from lowlabel_jax.state import TrainState


class Mean(NamedTuple):
    """A mean that is still a sum and a count, so that it adds up over devices and steps."""

    total: jax.Array
    count: jax.Array


class Out(NamedTuple):
    """What a loss returns beside its value."""

    batch_stats: Any
    aux: Any
    metrics: dict[str, Mean]


class Objective(NamedTuple):
    """A method, as pure functions."""

    views: tuple[str, ...]
    loss: Callable[..., tuple[jax.Array, Out]]
    init: Callable[[Any], Any] = lambda info: ()


def mean(values: jax.Array, where: jax.Array | None = None) -> Mean:
    """The mean of values [b], of those chosen by `where` [b] if given."""
    weight = jnp.ones(values.shape) if where is None else where.astype(jnp.float32)
    return Mean((values * weight).sum(), weight.sum())


def linear_ramp(step: jax.Array, length: float) -> jax.Array:
    """From 0 at step 0 in a line to 1 at `length` steps and after; 1 always for no length."""
    return jnp.minimum(step / length, 1.0) if length else jnp.float32(1)


# How methods run the network. BatchNorm normalises with the statistics of the batch it sees and
# moves the running statistics towards them; which forward may move them differs between methods.


def joint(
    params: Any, state: TrainState, *views: jax.Array, key: jax.Array
) -> tuple[list[jax.Array], Any]:
    """One forward over all views as one batch: FixMatch's and UDA's rule.

    views [b_i, h, w, c] -> logits [b_i, k] each, and running statistics moved by the whole batch.
    """
    sizes = [len(view) for view in views]
    cuts = [sum(sizes[:i]) for i in range(1, len(sizes))]
    logits, stats = _train(params, state, jnp.concatenate(views), _addresses(sizes), key)
    return jnp.split(logits, cuts), stats


def separate(
    params: Any, state: TrainState, view: jax.Array, key: jax.Array
) -> tuple[jax.Array, Any]:
    """A forward of one view alone -> logits [b, k] and the running statistics it would leave.

    The rule of Π-model, Mean Teacher, Pseudo-Label and VAT: the caller keeps the statistics of its
    labelled forward and drops those of the others.
    """
    return _train(params, state, view, _addresses([len(view)]), key)


def _train(
    params: Any, state: TrainState, images: jax.Array, address: jax.Array, key: jax.Array
) -> tuple[jax.Array, Any]:
    variables = {
        "params": params,
        "batch_stats": state.batch_stats,
        "address": {"example": address},  # dropout draws by it: the same on any number of devices
    }
    (logits, _), new = state.apply_fn(
        variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}
    )
    return logits.astype(jnp.float32), new.get("batch_stats", {})


def _addresses(sizes: list[int]) -> jax.Array:
    """Global ids of the examples of views that lie one after the other: no two alike."""
    starts = [sum(parallel.global_size(n) for n in sizes[:i]) for i in range(len(sizes))]
    places = [start + parallel.positions(n) for start, n in zip(starts, sizes, strict=True)]
    return jnp.concatenate(places)


# What methods report: the same names everywhere, so that runs of different methods line up.


def labelled_metrics(logits: jax.Array, label: jax.Array, loss: jax.Array) -> dict[str, Mean]:
    """Loss and accuracy on the labelled batch: logits [b, k], label [b], loss [b]."""
    return {
        "loss/labelled": mean(loss),
        "accuracy/labelled": mean(logits.argmax(-1) == label),
    }


def pseudo_label_metrics(
    probs: jax.Array, kept: jax.Array, loss: jax.Array, truth: jax.Array
) -> dict[str, Mean]:
    """What pseudo-labels are worth: probs [m, k], kept [m], loss [m], truth [m] (-1: unknown).

    `truth` is known in benchmarks only and is looked at here alone, never in a loss.
    """
    right = probs.argmax(-1) == truth
    known = truth >= 0
    return {
        "loss/unlabelled": mean(loss),
        "mask_rate": mean(kept),
        "confidence": mean(probs.max(-1)),
        "pseudo_label/accuracy": mean(right, known),
        "pseudo_label/accuracy_kept": mean(right, known & (kept > 0)),
    }
