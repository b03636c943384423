"""Losses per example, in float32: the mean over them is taken where the batch is known."""

import jax
import jax.numpy as jnp

from lowlabel_jax.core import parallel


def cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """-log softmax(logits)[label]: logits [b, k], label int [b] -> [b]."""
    log_probs = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_probs, label[:, None], axis=-1)[:, 0]


def soft_cross_entropy(logits: jax.Array, target: jax.Array) -> jax.Array:
    """-sum over classes of target · log softmax(logits): [b, k], [b, k] -> [b]."""
    return -(target * jax.nn.log_softmax(logits)).sum(-1)


def divergence(target: jax.Array, logits: jax.Array) -> jax.Array:
    """KL(target || softmax(logits)), the direction of VAT and UDA: [b, k], [b, k] -> [b]."""
    return jax.scipy.special.xlogy(target, target).sum(-1) + soft_cross_entropy(logits, target)


def entropy(logits: jax.Array) -> jax.Array:
    """The entropy of softmax(logits), in nats: [b, k] -> [b]."""
    return soft_cross_entropy(logits, jax.nn.softmax(logits))


def squared_error(target: jax.Array, probs: jax.Array) -> jax.Array:
    """Mean over classes of (target - probs)²: [b, k] -> [b] (a sum would need weight / k)."""
    return jnp.square(target - probs).mean(-1)


def sharpen(probs: jax.Array, temperature: float) -> jax.Array:
    """probs [m, k] to the power 1 / temperature, made to sum to one (MixMatch, equation 7)."""
    powered = probs ** (1 / temperature)
    return powered / powered.sum(-1, keepdims=True)


def guess(logits: jax.Array, temperature: float = 1.0) -> jax.Array:
    """Softmax of logits [m, k] at a temperature, as a target: no gradient passes."""
    return jax.lax.stop_gradient(jax.nn.softmax(logits / temperature))


def weighted(loss: jax.Array, weight: jax.Array) -> jax.Array:
    """loss [b] (each times its weight already) such that its mean is a weighted mean.

    That is, the sum of the losses over the sum of weights [b] of the whole batch on all devices;
    where nothing weighs anything the result is 0.
    """
    mean_weight = parallel.pmean(weight.astype(jnp.float32).mean())
    return loss / jnp.where(mean_weight > 0, mean_weight, 1.0)
