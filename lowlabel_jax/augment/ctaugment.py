"""CTAugment: magnitudes that learn how far the labels still hold. arXiv:1911.09785 section 3.2."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lowlabel_jax.augment import cta_operations, pillow_resize
from lowlabel_jax.augment.cta_operations import BINS, MAGNITUDES, NAMES, STEPS, Layer
from lowlabel_jax.augment.flip_shift import flip_shift
from lowlabel_jax.augment.recipe import Recipe
from lowlabel_jax.core.ranges import Count, Fraction, Natural, Probability

Memory = Mapping[str, jax.Array]
LEAST = 1e-6  # a bin's weight: with none left at all, one could not be drawn


class Choice(NamedTuple):
    """What was drawn for an image: operations [n], and bins [n, 2] of their two parameters."""

    number: jax.Array
    bins: jax.Array


def ctaugment(
    *,
    flip: bool = True,
    shift: Fraction = 0.125,
    depth: Count = 2,
    threshold: Fraction = 0.8,
    decay: Probability = 0.99,
    cutout: Fraction = 0.5,
    fill: Natural = 0,
) -> Recipe:
    """(key, image uint8 [h, w, c]) -> uint8 [h, w, c]: flip and shift, 2 of 19 operations, cutout.

    flip, shift   the weak augmentation before it, as in `flip_shift`
    depth         operations drawn, with replacement
    threshold     a bin is drawn only if its weight is above so much of the heaviest one's
    decay         for each probe that drew a bin, its weight w <- decay w + (1 - decay) match
    cutout        side of a grey square that is added, fraction of the shorter side (not to probes)
    fill          the grey level beyond the edge, 0 to 255
    The memory is {"weights": float32 [operations, 2, bins]}, 1 at first and 0 where there is no
    such bin. The second parameter is rescale's filter; the other operations have none.
    """
    weak = flip_shift(flip=flip, shift=shift)
    branches = cta_operations.operations(fill)

    def change(key: jax.Array, image: jax.Array, memory: Memory) -> tuple[jax.Array, Choice]:
        key_weak, key_draw = jax.random.split(key)
        choice, layers = drawn(key_draw, memory, depth, threshold)
        image, _ = lax.scan(
            lambda image, layer: (lax.switch(layer[0], branches, image, layer[1]), None),
            weak(key_weak, image),
            (choice.number, layers),
        )
        return image, choice

    def learned(key: jax.Array, image: jax.Array, memory: Memory) -> jax.Array:
        key_change, key_hole = jax.random.split(key)
        image, _ = change(key_change, image, memory)
        y, x = jax.random.uniform(key_hole, (2,))
        hole = Layer(jnp.float32(2 * cutout), jnp.int32(0), y, x)
        return cta_operations.cutout(image, hole) if cutout else image

    def describe(key: jax.Array, image: jax.Array) -> list[str]:
        key_weak, key_draw = jax.random.split(jax.random.split(key)[0])
        choice, layers = drawn(key_draw, init(), depth, threshold)
        each = zip(choice.number, layers.magnitude, layers.method, strict=True)
        made = [cta_operations.worded(int(n), float(m), int(f)) for n, m, f in each]
        return [*weak.describe(key_weak, image), *filter(None, made), *["cutout"][: bool(cutout)]]

    return Recipe(
        apply=lambda key, image: learned(key, image, init()),
        describe=describe,
        branches=True,
        init=init,
        learned=learned,
        probe=lambda key, image: change(key, image, init()),
        learn=lambda memory, choice, match: learn(memory, choice, match, decay),
    )


def init() -> dict[str, jax.Array]:
    """The memory of a policy that has learnt nothing: every bin alike, as probes draw them."""
    weights = np.zeros((len(NAMES), 2, BINS), np.float32)
    for number, (bins, _) in enumerate(MAGNITUDES.values()):
        weights[number, 0, :bins] = 1
    weights[:, 1, 0] = 1
    weights[NAMES.index("rescale"), 1, : len(pillow_resize.FILTERS)] = 1
    return {"weights": jnp.asarray(weights)}


def drawn(key: jax.Array, memory: Memory, depth: int, threshold: float) -> tuple[Choice, Layer]:
    """`depth` operations, all alike, each at a bin drawn by its weight and a place inside it."""
    which, first, second, inside, y, x = jax.random.uniform(key, (6, depth))
    number = jnp.floor(which * len(NAMES)).astype(jnp.int32)
    bins = pick(memory["weights"][number], jnp.stack([first, second], -1), threshold)
    place = jnp.floor(inside * STEPS).astype(jnp.int32)
    magnitude = jnp.asarray(cta_operations.table())[number, bins[:, 0], place]
    return Choice(number, bins), Layer(magnitude, bins[:, 1], y, x)


def pick(weights: jax.Array, evenly: jax.Array, threshold: float) -> jax.Array:
    """Bins [...] with chances in proportion to weights [..., bins], by numbers [...] in [0, 1).

    Weights not above `threshold` times the largest have no chance.
    """
    share = weights / weights.max(-1, keepdims=True)
    # In whole numbers: their sums are the same in any order of adding, so on any device.
    mass = jnp.where(share > threshold, jnp.round(share * (1 << 16)), 0).astype(jnp.int32)
    until = jnp.cumsum(mass, -1)
    drawn = jnp.floor(evenly * until[..., -1]).astype(jnp.int32)
    return (until <= drawn[..., None]).sum(-1)


def learn(memory: Memory, choice: Choice, match: jax.Array, decay: float) -> dict[str, jax.Array]:
    """The memory after probes that drew choice [b, n] matched their labels by match [b].

    One after the other, images in their order and layers in theirs: a bin that several have drawn
    moves several times, as in the authors' code, where each image is applied by itself.
    """

    def step(weights: jax.Array, one: Any) -> tuple[jax.Array, None]:
        number, bins, match = one
        place = (number, jnp.arange(2), bins)
        new = decay * weights[place] + (1 - decay) * match
        return weights.at[place].set(jnp.maximum(new, LEAST)), None

    depth = choice.number.shape[1]
    each = (choice.number.reshape(-1), choice.bins.reshape(-1, 2), jnp.repeat(match, depth))
    return {"weights": lax.scan(step, memory["weights"], each)[0]}
