"""Distribution alignment: guesses over all images should be spread over the classes as labels are.

ReMixMatch (arXiv:1911.09785, section 3.1) with the model's class marginal as a moving average.
"""

import jax
import jax.numpy as jnp

from lowlabel_jax.core import parallel

EPSILON = 1e-6  # a class never guessed yet must not divide by zero


def even(num_classes: int) -> jax.Array:
    """The marginal to begin with, and the prior where none is known: [k], each 1/k."""
    return jnp.full((num_classes,), 1 / num_classes)


def align(
    marginal: jax.Array, probs: jax.Array, prior: jax.Array, decay: float
) -> tuple[jax.Array, jax.Array]:
    """(aligned [m, k], marginal [k]): probs [m, k] times prior / marginal, made to sum to one.

    The marginal follows the mean of `probs` over all devices first, then is used.
    """
    now = parallel.pmean(probs.mean(0))
    marginal = decay * marginal + (1 - decay) * now
    aligned = probs * ((prior + EPSILON) / (marginal + EPSILON))[None]
    return aligned / aligned.sum(-1, keepdims=True), marginal
