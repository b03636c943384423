"""UDA, arXiv:1904.12848: the strong view follows the weak view's sharpened prediction."""

import jax
import jax.numpy as jnp

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.core.ranges import NonNegative, Positive, Probability
from lowlabel_jax.objectives.base import (
    Objective,
    labelled_metrics,
    outcome,
    pseudo_label_metrics,
)
from lowlabel_jax.objectives.forward import weak_and_strong
from lowlabel_jax.objectives.losses import cross_entropy, divergence, guess, weighted
from lowlabel_jax.objectives.thresholds import fixed

SIGNALS = {  # how much of the way from 1/k to 1 the annealed threshold has gone, x from 0 to 1
    "linear": lambda x: x,
    "exp": lambda x: jnp.exp(5.0 * (x - 1.0)),
    "log": lambda x: 1.0 - jnp.exp(-5.0 * x),
}


def uda(
    *,
    total_steps: int,
    threshold: Probability = 0.8,
    temperature: Positive = 0.4,
    weight: NonNegative = 1.0,
    tsa: str = "none",
    split: bool = False,
) -> Objective:
    """Equation 1 with sections 2.3 and 2.4: KL from the sharpened target, means over all images.

    The mask looks at the prediction before it is sharpened. tsa: training signal annealing,
    "linear", "exp" or "log": labelled images whose own class is surer than a threshold that climbs
    from 1/k to 1 are left out, and the mean is over those that are kept.
    """
    if tsa not in ("none", *SIGNALS):
        raise UserError(f"objective.tsa = {tsa!r}.", f"use none, {', '.join(SIGNALS)}.")

    def loss(params, state, views, key):
        (labelled, weak, strong), stats = weak_and_strong(params, state, views, key, split)
        probs, target = guess(weak), guess(weak, temperature)
        kept, _ = fixed(threshold).weigh((), probs, views["index"])
        known = cross_entropy(labelled, views["label"])
        metrics = labelled_metrics(labelled, views["label"], known)
        if tsa != "none":
            limit = annealed(tsa, state.phase_step / total_steps, probs.shape[-1])
            open_yet = jax.lax.stop_gradient(jnp.exp(-known)) <= limit
            known = weighted(open_yet * known, open_yet)
        taught = kept * divergence(target, strong)
        metrics |= pseudo_label_metrics(probs, taught, views["truth"], kept)
        return outcome(known.mean(), weight * taught.mean(), stats, state.aux, metrics)

    return Objective(("labelled", "weak", "strong"), loss)


def annealed(tsa: str, done: jax.Array, num_classes: int) -> jax.Array:
    """The probability above which a labelled image is left out when `done` (0 to 1) has passed."""
    return 1 / num_classes + SIGNALS[tsa](done) * (1 - 1 / num_classes)
