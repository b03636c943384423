"""What a method is and how it reports. forward.py says how it runs the network.

An Objective is three things: the views it wants (augment/views.py lists them), its loss, and what
it remembers between steps (`init(info) -> aux`, returned anew by every loss). A few methods bring
layers of their own beside the network's (`heads(info, features) -> shapes`).

    loss(params, state, views, key) -> (scalar, Out(batch_stats, aux, metrics))

The scalar is the mean over this device's examples; gradients are averaged over devices by the step.
What feeds a decision (a threshold, a class marginal) must go through parallel.pmean or gather.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lowlabel_jax.core.ranges import on


class Mean(NamedTuple):
    """A mean that is still a sum and a count, so that it adds up over devices and steps."""

    total: jax.Array  # a number, or [k]: one for each class
    count: jax.Array


class Out(NamedTuple):
    """What a loss returns beside its value."""

    batch_stats: Any
    aux: Any
    metrics: dict[str, Mean]


def as_it_is(key: jax.Array, image: jax.Array) -> jax.Array:
    """The image."""
    return image


def no_heads(info: Any, features: int) -> dict[str, Any]:
    """No layers beside the network's."""
    return {}


class Objective(NamedTuple):
    """A method, as pure functions."""

    views: tuple[str, ...]
    loss: Callable[..., tuple[jax.Array, Out]]
    init: Callable[[Any], Any] = lambda info: ()
    heads: Callable[[Any, int], dict[str, Any]] = no_heads  # see forward.dense
    task: str = "classification"  # what a run that ends with it is scored by; or "restoration"
    # (key, image float32 [h, w, c] in [0, 1]) -> the image that evaluation shows the network
    corrupt: Callable[[jax.Array, jax.Array], jax.Array] = as_it_is
    needs: tuple[str, ...] = ()  # endpoints of the network that its loss looks at


def mean(values: jax.Array, where: jax.Array | None = None) -> Mean:
    """The mean of values [b], of those chosen by `where` [b] if given."""
    weight = jnp.ones(values.shape) if where is None else where.astype(jnp.float32)
    return Mean((values * weight).sum(), weight.sum())


def outcome(
    known: jax.Array,
    unlabelled: jax.Array,
    stats: Any,
    aux: Any,
    metrics: dict[str, Mean],
) -> tuple[jax.Array, Out]:
    """What a loss returns: the sum of two scalars, with the parts that metrics name."""
    total = known + unlabelled
    return total, Out(stats, aux, {"loss": mean(total[None]), **metrics})


def linear_ramp(step: jax.Array, length: float) -> jax.Array:
    """From 0 at step 0 in a line to 1 at `length` steps and after; 1 always for no length."""
    if not on(length):
        return jnp.float32(1)
    some = jnp.where(length > 0, length, 1.0)  # a traced length of 0 divides nothing
    return jnp.where(length > 0, jnp.minimum(step / some, 1.0), 1.0)


def sigmoid_ramp(step: jax.Array, length: float) -> jax.Array:
    """exp(-5 (1 - step / length)²) up to `length` steps, then 1: arXiv:1610.02242, section 2.2."""
    return jnp.exp(-5.0 * jnp.square(1.0 - linear_ramp(step, length)))


# What methods report: the same names everywhere, so that runs of different methods line up.


def labelled_metrics(logits: jax.Array, label: jax.Array, loss: jax.Array) -> dict[str, Mean]:
    """Loss and accuracy on the labelled batch: logits [b, k], label [b], loss [b]."""
    return {
        "loss/labelled": mean(loss),
        "accuracy/labelled": mean(logits.argmax(-1) == label),
    }


def pseudo_label_metrics(
    probs: jax.Array, loss: jax.Array, truth: jax.Array, kept: jax.Array | None = None
) -> dict[str, Mean]:
    """What pseudo-labels are worth: probs [m, k], loss [m], truth [m] (-1: unknown), kept [m].

    kept: None for a method that uses every guess by design; it reports no mask_rate, and no alarm
    (training/alarms.py) takes it for a mask that stays open.
    `truth` is known in benchmarks only and is looked at here alone, never in a loss.
    """
    guess, known = probs.argmax(-1), truth >= 0
    metrics = {
        "loss/unlabelled": mean(loss),
        "confidence": mean(probs.max(-1)),
        "pseudo_label/accuracy": mean(guess == truth, known),
        "pseudo_label/histogram": Mean(
            jax.nn.one_hot(guess, probs.shape[-1]).sum(0), jnp.float32(len(guess))
        ),
    }
    if kept is None:
        return metrics
    metrics["pseudo_label/accuracy_kept"] = mean(guess == truth, known & (kept > 0))
    return metrics | {"mask_rate": mean(kept)}
