"""Restoring images: how it is trained, and how far a restored image is from the true one."""

from typing import Any

import jax
import jax.numpy as jnp

from lowlabel_jax.objectives.base import Mean, Out, mean
from lowlabel_jax.objectives.forward import separate_endpoints
from lowlabel_jax.ops.restoring import as_pixels
from lowlabel_jax.state import TrainState


def restore(
    params: Any, state: TrainState, shown: jax.Array, clean: jax.Array, key: Any, loss: str
) -> tuple[jax.Array, Out]:
    """What a loss returns where the network makes `clean` of `shown`, views [b, h, w, c] both."""
    ends, stats = separate_endpoints(params, state, shown, key)
    target = as_pixels(clean)
    each = pixel_loss(loss, ends["restored"], target).mean((1, 2, 3))
    metrics = {"loss": mean(each), **restoring_metrics(each, ends["restored"], target)}
    return each.mean(), Out(stats, state.aux, metrics)


def pixel_loss(loss: str, logits: jax.Array, target: jax.Array) -> jax.Array:
    """The loss of every value: logits, and target in [0, 1], [b, h, w, c] -> [b, h, w, c].

    "bce": binary cross-entropy against grey values; its least is their own entropy, not 0.
    "mse": squared error of sigmoid(logits).
    """
    if loss == "mse":
        return jnp.square(jax.nn.sigmoid(logits) - target)
    return jax.nn.softplus(logits) - logits * target


def psnr(image: jax.Array, target: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio in dB of values in [0, 1]: [b, h, w, c] twice -> [b].

    At most 100, so that an image that is restored to the last bit has a number too.
    """
    error = jnp.square(image - target).mean((1, 2, 3))
    return -10 * jnp.log10(jnp.maximum(error, 1e-10))


def restoring_metrics(loss: jax.Array, logits: jax.Array, target: jax.Array) -> dict[str, Mean]:
    """What restoring methods report: loss [b] of each image, logits and target [b, h, w, c]."""
    image = jax.nn.sigmoid(logits)
    return {"loss/reconstruction": mean(loss), "psnr": mean(psnr(image, target))}
