"""Losses per example, in float32: the mean over them is taken where the batch is known."""

import jax
import jax.numpy as jnp


def cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """-log softmax(logits)[label]: logits [b, k], label int [b] -> [b]."""
    log_probs = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_probs, label[:, None], axis=-1)[:, 0]


def squared_error(target: jax.Array, probs: jax.Array) -> jax.Array:
    """Mean over classes of (target - probs)²: [b, k] -> [b] (a sum would need weight / k)."""
    return jnp.square(target - probs).mean(-1)
