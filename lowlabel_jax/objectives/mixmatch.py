"""MixMatch, arXiv:1905.02249: averaged, sharpened guesses, mixed with the labelled images."""

import jax
import jax.numpy as jnp

from lowlabel_jax.core.ranges import NonNegative, Positive, Probability
from lowlabel_jax.objectives import mixing
from lowlabel_jax.objectives.base import (
    Objective,
    labelled_metrics,
    linear_ramp,
    outcome,
    pseudo_label_metrics,
)
from lowlabel_jax.objectives.forward import in_turn, separate
from lowlabel_jax.objectives.losses import guess, sharpen, soft_cross_entropy, squared_error


def mixmatch(
    *,
    total_steps: int,
    weight: NonNegative = 75.0,
    temperature: Positive = 0.5,
    alpha: Positive = 0.75,
    ramp: Probability = 0.0156,
) -> Objective:
    """Algorithm 1 with K = 2 weak views, and equations 2 to 5.

    Squared errors are means over classes. The weight climbs in a line over `ramp` of the phase: the
    authors' 16,384 of 2^20 steps (their ports climb for 0.4 of the run and lose most of the gain).
    """

    def loss(params, state, views, key):
        keys = jax.random.split(jax.random.fold_in(key, 1), 5)
        looks = [views["weak"], views["weak_2"]]
        said = [guess(separate(params, state, x, k)[0]) for x, k in zip(looks, keys, strict=False)]
        target = sharpen((said[0] + said[1]) / 2, temperature)
        labels = jax.nn.one_hot(views["label"], target.shape[-1])

        images, targets = mixed_up(
            [views["labelled"], *looks], [labels, target, target], alpha, keys[2:4]
        )
        (labelled, *others), stats = in_turn(params, state, images, keys[4], kept=0)
        known = soft_cross_entropy(labelled, targets[0])
        gap = squared_error(jnp.concatenate(targets[1:]), jax.nn.softmax(jnp.concatenate(others)))

        scale = weight * linear_ramp(state.phase_step, ramp * total_steps)
        metrics = labelled_metrics(labelled, views["label"], known)
        metrics |= pseudo_label_metrics(target, gap, views["truth"])
        return outcome(known.mean(), scale * gap.mean(), stats, state.aux, metrics)

    return Objective(("labelled", "weak", "weak_2"), loss)


def mixed_up(
    images: list[jax.Array], targets: list[jax.Array], alpha: float, keys: jax.Array
) -> tuple[list[jax.Array], list[jax.Array]]:
    """Each part mixed with partners from all parts, its own share the larger (section 3.3)."""
    places = mixing.addresses(*images)
    shares = [mixing.beta(keys[0], alpha, ids) for ids in places]
    shares = [jnp.maximum(s, 1 - s) for s in shares]
    made = []
    for parts in (images, targets):
        partners = mixing.shuffled(keys[1], *parts)
        made.append([mixing.mix(*x) for x in zip(parts, partners, shares, strict=True)])
    return made[0], made[1]
