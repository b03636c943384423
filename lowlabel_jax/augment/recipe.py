"""What an augmentation may say of itself beyond being a function of a key and an image."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
from jax import lax

Augment = Callable[[jax.Array, jax.Array], jax.Array]  # (key, uint8 [h, w, c]) -> uint8 [h, w, c]


@dataclass(frozen=True)
class Recipe:
    """An augmentation, called like the plain function that it may also be.

    apply(key, image uint8 [h, w, c]) -> uint8 [h, w, c]
    describe(key, image) -> what is drawn for this key, in words, one for each change made
    branches: it chooses by lax.switch, of which vmap runs every branch (see `mapped`)

    A policy that learns (CTAugment) has four more; its memory is a tree of arrays that the training
    state keeps, and `apply` is the policy that has learnt nothing:
    init() -> memory
    learned(key, image, memory) -> image
    probe(key, image) -> (image, choice): drawn evenly, to be tried on a labelled image
    learn(memory, choice [b, …], match float32 [b]) -> memory; match is 1 where the probe's
        prediction was the label with certainty, 0 where it excluded it, in global order
    """

    apply: Augment
    describe: Callable[[jax.Array, jax.Array], list[str]]
    branches: bool = False
    init: Callable[[], Any] | None = None
    learned: Callable[[jax.Array, jax.Array, Any], jax.Array] | None = None
    probe: Callable[[jax.Array, jax.Array], tuple[jax.Array, Any]] | None = None
    learn: Callable[[Any, Any, jax.Array], Any] | None = None

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        return self.apply(key, image)


def worded(said: Mapping[str, Any]) -> list[str]:
    """The words of those changes that are made: {"rotate -12.0": whether it is, …}."""
    return [words for words, made in said.items() if made]


def over(augment: Augment, keys: jax.Array, images: jax.Array, memory: Any = None) -> jax.Array:
    """images uint8 [b, h, w, c] with each one's key [b] -> the same, as `memory` has learnt."""
    learned = getattr(augment, "learned", None)
    one = functools.partial(learned, memory=memory) if learned and memory is not None else augment
    return mapped(one, getattr(augment, "branches", False))(keys, images)


def mapped(function: Callable, branches: bool) -> Callable:
    """`function` of one example over a batch: (keys [b], images [b, h, w, c]) -> [b, …].

    With branches the CPU takes one image after the other, and so only the branch that was drawn:
    the same images to the bit as from vmap, which a GPU is given.
    """
    if branches and jax.default_backend() == "cpu":
        return lambda *batch: lax.map(lambda one: function(*one), batch)
    return jax.vmap(function)
