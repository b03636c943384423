"""Augmentation that learns while the network does (CTAugment), its memory in the state's aux.

aux = {"method": what the objective remembers, "augment": {recipe: what it has learnt}}
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lowlabel_jax.augment.recipe import Recipe, mapped
from lowlabel_jax.augment.views import VIEWS, normalise
from lowlabel_jax.core import parallel
from lowlabel_jax.state import TrainState


def learning(recipes: Mapping[str, Callable], views: Iterable[str]) -> dict[str, Recipe]:
    """The recipes that learn, of those that these views are made by."""
    used = {VIEWS[name][1] for name in views if name in VIEWS}
    return {
        name: recipe
        for name, recipe in recipes.items()
        if name in used and isinstance(recipe, Recipe) and recipe.learn
    }


def first_memory(policies: Mapping[str, Recipe]) -> dict[str, Any]:
    """What policies know before the first step."""
    return {name: policy.init() for name, policy in policies.items() if policy.init}


def learn(
    policies: Mapping[str, Recipe], state: TrainState, labelled: Mapping[str, Any], key: jax.Array
) -> dict[str, Any]:
    """The policies' memory after a probe of every labelled image: arXiv:1911.09785 section 3.2.2.

    labelled: image uint8 [b, h, w, c], label [b]. How far the averaged network, in inference mode,
    still tells a probe's label, 1 - |p - y|₁ / 2, is what its magnitudes are credited with.
    """
    memory = dict(state.aux["augment"])
    places = parallel.positions(len(labelled["label"]))
    for number, (name, policy) in enumerate(sorted(policies.items())):
        assert policy.probe and policy.learn
        keys = parallel.example_keys(jax.random.fold_in(key, number), places)
        probes, choice = mapped(policy.probe, policy.branches)(keys, labelled["image"])
        logits, _ = state.apply_fn(state.ema, normalise(probes), train=False)
        probs = jax.nn.softmax(logits)
        match = 1 - jnp.abs(probs - jax.nn.one_hot(labelled["label"], probs.shape[-1])).sum(-1) / 2
        memory[name] = policy.learn(memory[name], *jax.tree.map(parallel.gather, (choice, match)))
    return memory
