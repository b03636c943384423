"""ReMixMatch, arXiv:1911.09785: MixMatch with aligned guesses, anchored by the weak view."""

from typing import Any

import jax
import jax.numpy as jnp

from lowlabel_jax.core import parallel
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.core.ranges import Count, NonNegative, Positive, Probability
from lowlabel_jax.objectives.alignment import align, even, follow, marginal
from lowlabel_jax.objectives.base import (
    Objective,
    labelled_metrics,
    linear_ramp,
    mean,
    outcome,
    pseudo_label_metrics,
)
from lowlabel_jax.objectives.forward import apply_dense, dense, in_turn, separate, separate_ends
from lowlabel_jax.objectives.losses import cross_entropy, guess, sharpen, soft_cross_entropy
from lowlabel_jax.objectives.mixmatch import mixed_up

STRONG = ("strong", *(f"strong_{i}" for i in range(2, 9)))
WINDOW = 128  # batches that the marginals are means over


def remixmatch(
    *,
    total_steps: int,
    strong_views: Count = 2,
    weight: NonNegative = 1.5,
    strong_weight: NonNegative = 0.5,
    rotation_weight: NonNegative = 0.5,
    temperature: Positive = 0.5,
    alpha: Positive = 0.75,
    ramp: Probability = 0.0156,
) -> Objective:
    """Algorithm 1 and equations 1 to 4.

    The guess comes from the weak view alone: aligned with the labels' marginal, sharpened, and the
    target of the weak view and of `strong_views` strong ones (the paper has 8), all mixed up
    with the labelled strong view. To it come the same target for one strong view unmixed, and which
    quarter turn that view was given. The weights of the first two terms climb over `ramp` of the
    phase (16,384 of 2^20 steps). Of the interleaved forwards the last one moves the statistics.
    """
    if strong_views > len(STRONG):
        raise UserError(f"objective.strong_views = {strong_views}.", f"{len(STRONG)} at most.")
    names = STRONG[:strong_views]

    def init(info):
        return {"labels": even(info.num_classes, WINDOW), "guesses": even(info.num_classes, WINDOW)}

    def heads(info, features):
        return {"rotation": dense(features, 4)}

    def loss(params, state, views, key):
        keys = jax.random.split(jax.random.fold_in(key, 1), 6)
        probs = guess(separate(params, state, views["weak"], keys[0])[0])
        labels = jax.nn.one_hot(views["label"], probs.shape[-1])
        seen = follow(state.aux["labels"], labels)
        aligned, said = align(state.aux["guesses"], probs, marginal(seen))
        target = sharpen(aligned, temperature)

        looks = [views[name] for name in names] + [views["weak"]]
        images, targets = mixed_up(
            [views["labelled_strong"], *looks], [labels] + [target] * len(looks), alpha, keys[1:3]
        )
        (labelled, *others), stats = in_turn(params, state, images, keys[3], kept=-1)
        known = soft_cross_entropy(labelled, targets[0])
        taught = soft_cross_entropy(jnp.concatenate(others), jnp.concatenate(targets[1:]))
        unmixed, _ = separate(params, state, views["strong"], keys[4])
        anchored = soft_cross_entropy(unmixed, target)
        turned = rotation(params, state, views["strong"], keys[5])

        climb = linear_ramp(state.phase_step, ramp * total_steps)
        unlabelled = climb * (weight * taught.mean() + strong_weight * anchored.mean())
        metrics = labelled_metrics(labelled, views["label"], known)
        metrics |= pseudo_label_metrics(target, anchored, views["truth"])
        metrics |= {"loss/mixed": mean(taught), "loss/rotation": mean(turned)}
        unlabelled += rotation_weight * turned.mean()
        aux = {"labels": seen, "guesses": said}
        return outcome(known.mean(), unlabelled, stats, aux, metrics)

    return Objective(("labelled_strong", "weak", *names), loss, init, heads)


def rotation(params: Any, state: Any, images: jax.Array, key: jax.Array) -> jax.Array:
    """[m]: cross-entropy of telling which quarter turn each image [m, h, w, c] was given."""
    key_turn, key_forward = jax.random.split(key)
    keys = parallel.example_keys(key_turn, parallel.positions(len(images)))
    turns = jax.vmap(lambda k: jax.random.randint(k, (), 0, 4))(keys)
    ends, _ = separate_ends(params, state, turned_by(images, turns), key_forward)
    return cross_entropy(apply_dense(params["heads"]["rotation"], ends.features), turns)


def turned_by(images: jax.Array, turns: jax.Array) -> jax.Array:
    """Square images [m, h, h, c], each given turns [m] quarter turns, counter-clockwise."""
    every = jnp.stack([jnp.rot90(images, n, axes=(1, 2)) for n in range(4)])
    return every[turns, jnp.arange(len(images))]
