"""Which guesses count, and how much: thresholds and weights as pure functions with a memory.

A Threshold is `init(info) -> memory` and

    weigh(memory, probs, index) -> (weight [m], memory)

probs [m, k] are the weak views' probabilities, index int [m] the images' places in the unlabelled
set. What a decision rests on is averaged or gathered over all devices first. Masked-out images
keep their place in the denominator: losses are means over all m.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lowlabel_jax.core import parallel, tree
from lowlabel_jax.objectives.alignment import align, even


class Threshold(NamedTuple):
    """A rule for how much each guess counts."""

    weigh: Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, Any]]
    init: Callable[[Any], Any] = lambda info: ()


def fixed(limit: jax.Array | float) -> Threshold:
    """1 where the surest class reaches `limit`, else 0: FixMatch, arXiv:2001.07685, equation 4."""

    def weigh(memory, probs, index):
        return jnp.float32(probs.max(-1) >= limit), memory

    return Threshold(weigh)


def curriculum(limit: float, warm_up: bool) -> Threshold:
    """FlexMatch's flexible thresholds, arXiv:2110.08263, equations 5 to 7 and 11.

    A class from which few images have been learnt has a lower threshold: limit · M(beta), with
    M(x) = x / (2 - x). An image counts as learnt under the last class guessed for it with the fixed
    limit. Thresholds come from the store as it was before this batch, as in the authors' code.
    """

    def init(info):
        return {"learnt": jnp.full((info.num_unlabelled,), -1, jnp.int32)}

    def weigh(memory, probs, index):
        sure, guess = probs.max(-1), probs.argmax(-1)
        beta = learning_effect(memory["learnt"], probs.shape[-1], warm_up)
        kept = sure >= limit * (beta / (2 - beta))[guess]
        rows, guess, now = map(parallel.gather, (index, guess, sure >= limit))
        return jnp.float32(kept), {"learnt": write_last(memory["learnt"], rows, guess, now)}

    return Threshold(weigh, init)


def learning_effect(learnt: jax.Array, num_classes: int, warm_up: bool) -> jax.Array:
    """beta [k] of equations 6 and 11: images learnt of each class, over those of the most learnt.

    learnt int [n], -1 where nothing is learnt yet. With warm-up the divisor is at least the number
    of those.
    """
    counts = jnp.bincount(learnt + 1, length=num_classes + 1)
    most = counts.max() if warm_up else jnp.maximum(counts[1:].max(), 1)
    return counts[1:] / most


def write_last(store: jax.Array, rows: jax.Array, values: jax.Array, where: jax.Array) -> jax.Array:
    """store [n, …] with values [m, …] at rows [m] where `where` [m]; of several the last one.

    A scatter that meets a row twice leaves one of the values, which one is the device's choice;
    here the last wins, everywhere.
    """
    turn = jnp.where(where, jnp.arange(1, len(rows) + 1), 0)
    last = jnp.zeros(len(store), turn.dtype).at[rows].max(turn)
    found = values[jnp.maximum(last - 1, 0)].astype(store.dtype)
    return jnp.where((last > 0).reshape(-1, *[1] * (store.ndim - 1)), found, store)


def self_adaptive(decay: float, lowest: float = 0.0, highest: float = 1.0) -> Threshold:
    """FreeMatch's thresholds, arXiv:2205.07246, equations 4 to 8.

    Averages of the batches' mean confidence ("level"), mean guess ("class") and histogram of
    pseudo-labels ("histogram"): updated first, then used. The level is held between `lowest` and
    `highest` where it is used (SVHN: 0.9 and 0.95).
    """

    def init(info):
        begin = even(info.num_classes)
        return {"level": jnp.float32(1 / info.num_classes), "class": begin, "histogram": begin}

    def weigh(memory, probs, index):
        sure, guess = probs.max(-1), probs.argmax(-1)
        votes = jax.nn.one_hot(guess, probs.shape[-1])
        now = {"level": sure.mean(), "class": probs.mean(0), "histogram": votes.mean(0)}
        memory = tree.moving_average(memory, parallel.pmean(now), decay)
        level = jnp.clip(memory["level"], lowest, highest)
        limit = level * memory["class"] / memory["class"].max()
        return jnp.float32(sure >= limit[guess]), memory

    return Threshold(weigh, init)


def gaussian(decay: float, width: float, aligned: bool) -> Threshold:
    """SoftMatch's weights, arXiv:2301.10921, equations 6 to 9: a Gaussian's lower half, then 1.

    Mean and unbiased variance of the confidence are averaged over batches; `width` is n_sigma. With
    `aligned`, the weight (and it alone) is that of the uniformly aligned guess.
    """

    def init(info):
        moments = {"mean": jnp.float32(1 / info.num_classes), "variance": jnp.float32(1.0)}
        return moments | ({"guess": even(info.num_classes)} if aligned else {})

    def weigh(memory, probs, index):
        sure = parallel.gather(probs.max(-1))
        spread = sure.var(ddof=1) if len(sure) > 1 else jnp.zeros(())
        now = {"mean": sure.mean(), "variance": spread}
        new = {name: decay * memory[name] + (1 - decay) * now[name] for name in now}
        if aligned:
            prior = even(probs.shape[-1])
            probs, new["guess"] = align(memory["guess"], probs, prior, decay)
        below = jnp.minimum(probs.max(-1) - new["mean"], 0.0)
        weight = jnp.exp(-(below**2) * width**2 / (2 * jnp.maximum(new["variance"], 1e-12)))
        return weight, new

    return Threshold(weigh, init)
