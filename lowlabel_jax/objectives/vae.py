"""Variational autoencoders (arXiv:1312.6114), with beta (beta-VAE, Higgins et al. 2017) and free
bits (arXiv:1606.04934, equation 15). No label is looked at."""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from lowlabel_jax.core import parallel
from lowlabel_jax.core.ranges import NonNegative
from lowlabel_jax.objectives.base import Mean, Objective, Out, mean
from lowlabel_jax.objectives.forward import separate_endpoints
from lowlabel_jax.objectives.pixels import pixel_loss, restoring_metrics
from lowlabel_jax.ops.restoring import as_pixels

ACTIVE = 0.01  # variance over images of a dimension's mean, above which it is in use


def vae(
    *,
    info: Any,
    loss: Literal["bce", "mse"] = "bce",
    beta: NonNegative = 1.0,
    free_bits: NonNegative = 0.0,
) -> Objective:
    """Reconstruction summed over an image's values, plus beta times the divergence from N(0, 1).

    beta=1 is the negative evidence lower bound: of "bce" if pixels were black or white (of grey
    values, as here, it is no likelihood, though always trained that way); of "mse", the sum of
    squared errors, with normal pixels of variance 1/2, up to a constant.
    free_bits: nats a dimension that cost nothing. Where the batch's mean divergence of a dimension
    is below, the dimension has no gradient from it, and counts as free_bits.
    """
    kind = loss

    def bound(params, state, views, key):
        ends, stats = separate_endpoints(params, state, views["weak"], key)
        target = as_pixels(views["weak"])
        each = pixel_loss(kind, ends["restored"], target).sum((1, 2, 3))
        spent = divergence(ends["mean"], ends["log_variance"])
        total = each.mean() + beta * charged(spent, free_bits).sum()
        metrics = {
            "loss": mean(total[None]),
            **restoring_metrics(each, ends["restored"], target),
            "kl": mean(spent.sum(-1)),
            "active_units": active_units(ends["mean"]),
        }
        return total, Out(stats, state.aux, metrics)

    needs = ("restored", "mean", "log_variance")
    return Objective(("weak",), bound, task="restoration", needs=needs)


def divergence(means: jax.Array, log_variance: jax.Array) -> jax.Array:
    """KL(N(mean, variance) || N(0, 1)) in nats, of each dimension: [b, f] twice -> [b, f]."""
    return 0.5 * (jnp.square(means) + jnp.exp(log_variance) - 1 - log_variance)


def charged(spent: jax.Array, free_bits: float) -> jax.Array:
    """max(free_bits, mean over the global batch) of divergences [b, f] -> [f].

    On one of several devices: what is averaged over them to that, value and gradient.
    """
    own = spent.mean(0)
    dear = parallel.pmean(jax.lax.stop_gradient(own)) > free_bits
    return jnp.where(dear, own, free_bits)


def active_units(means: jax.Array) -> Mean:
    """How many dimensions of the code [b, f] differ between images (arXiv:1509.00519, 5)."""
    first, second = parallel.pmean((means.mean(0), jnp.square(means).mean(0)))
    return Mean((second - first**2 > ACTIVE).sum().astype(jnp.float32), jnp.float32(1))
