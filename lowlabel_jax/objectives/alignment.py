"""Distribution alignment: guesses over all images should be spread over the classes as labels are.

ReMixMatch (arXiv:1911.09785, section 3.1). What the model's guesses are on average is remembered
either as a moving average, memory [k], or as the means of the last n batches, memory [n, k], the
newest first.
"""

import jax
import jax.numpy as jnp

from lowlabel_jax.core import parallel

EPSILON = 1e-6  # a class never guessed yet must not divide by zero


def even(num_classes: int, window: int = 0) -> jax.Array:
    """The memory to begin with, and the prior where none is known: each class 1/k."""
    shape = (window, num_classes) if window else (num_classes,)
    return jnp.full(shape, 1 / num_classes)


def follow(memory: jax.Array, probs: jax.Array, decay: float = 0.0) -> jax.Array:
    """The memory after a batch of probs [m, k] over all devices; `decay` is of a moving average."""
    now = parallel.pmean(probs.mean(0))
    if memory.ndim == 2:
        return jnp.concatenate([now[None], memory[:-1]])
    return decay * memory + (1 - decay) * now


def marginal(memory: jax.Array) -> jax.Array:
    """[k]: the mean guess that a memory stands for."""
    return memory.mean(0) if memory.ndim == 2 else memory


def align(
    memory: jax.Array, probs: jax.Array, prior: jax.Array, decay: float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """(aligned [m, k], memory): probs [m, k] times prior / marginal, made to sum to one.

    The memory follows `probs` first, then is used.
    """
    memory = follow(memory, probs, decay)
    aligned = probs * ((prior + EPSILON) / (marginal(memory) + EPSILON))[None]
    return aligned / aligned.sum(-1, keepdims=True), memory
