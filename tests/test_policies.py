"""Augmentation that learns from labelled probes, as a part of the training state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lowlabel_jax.augment.recipe import Recipe
from lowlabel_jax.augment.views import normalise
from lowlabel_jax.core import parallel
from lowlabel_jax.state import create
from lowlabel_jax.training import build, checkpoint, policies
from lowlabel_jax.training.phases import Progress
from tests.tiny import World, assert_same, leaves

CTA = (
    "--config.augment.strong.name=ctaugment",
    "--config.augment.strong.flip=False",
    "--config.batch.mu=1",
)
B, K = 4, 3


def darker(key, image):
    """A probe that is half as light, and which says so."""
    return image // 2, jnp.int32(image[0, 0, 0])


LISTENING = Recipe(
    apply=lambda key, image: image,
    describe=lambda key, image: [],
    init=lambda: {"heard": jnp.zeros((2, B))},
    learned=lambda key, image, memory: image,
    probe=darker,
    learn=lambda memory, choice, match: {"heard": jnp.stack([choice.astype(float), match])},
)


def taught(devices):
    """What LISTENING has heard of B labelled images when a network says their first K values."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (B, 2, 2, 1), np.uint8)
    label = np.array([0, 2, 1, 0])
    weights = {"scale": jnp.float32(2)}

    def apply_fn(variables, x, train):
        assert not train
        return x.reshape(len(x), -1)[:, :K] * variables["params"]["scale"], {}

    state = create({"params": weights}, apply_fn, optax.sgd(0.1), {"augment": {}}, 0)
    state = state.replace(aux={"augment": {"strong": LISTENING.init()}})
    state = state.replace(ema={"params": {"scale": jnp.float32(3)}, "batch_stats": {}})

    def each(state, batch):
        return policies.learn({"strong": LISTENING}, state, batch, jax.random.key(0))

    batch = parallel.shard({"image": images, "label": label}, devices)
    found = parallel.mapped(each, devices)(state, batch)["strong"]["heard"]
    x = np.asarray(normalise(jnp.asarray(images // 2))).reshape(B, -1)[:, :K] * 3
    p = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    match = [1 - (1 - p[i, y] + p[i].sum() - p[i, y]) / 2 for i, y in enumerate(label)]
    return np.asarray(found), np.stack([images[:, 0, 0, 0], match])


@pytest.mark.parametrize("devices", [1, 2])
def test_a_policy_hears_how_far_the_average_still_tells_the_label(devices):
    found, expected = taught(devices)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_only_what_learns_and_is_looked_through_is_taught():
    recipes = {"weak": lambda key, image: image, "strong": LISTENING}
    assert policies.learning(recipes, ("labelled", "weak", "teacher")) == {}
    assert policies.learning(recipes, ("labelled", "strong")) == {"strong": LISTENING}


@pytest.mark.slow
def test_ctaugment_learns_as_the_run_goes_on_the_same_on_two_devices(tmp_path):
    one = World("fixmatch", *CTA, threshold=0.3)
    middle, _ = one.run(one.start(), 2)
    checkpoint.save(tmp_path, middle, Progress(2), keep=1)
    end, _ = one.run(middle, 2)
    weights = np.asarray(end.aux["augment"]["strong"]["weights"])
    assert ((weights > 0) & (weights < 1)).sum() > 8  # four steps of eight probes, two bins each
    restored = checkpoint.read(tmp_path, 2, build.new_state(one.config, one.phase))
    assert_same(one.run(restored, 2)[0], end)
    two = World("fixmatch", *CTA, threshold=0.3, devices=2)
    other, _ = two.run(two.start(), 4)
    assert_same(other.params, end.params, atol=1e-6)
    assert_same(other.aux, end.aux, atol=1e-6)


def test_what_is_learnt_goes_along_into_the_next_phase():
    w = World("fixmatch", *CTA, threshold=0.3)
    state, _ = w.run(w.start(), 1)
    assert_same(build.like_phase(state, w.phase).aux["augment"], state.aux["augment"])
    fresh = leaves(w.start().aux["augment"])
    assert any((a != b).any() for a, b in zip(fresh, leaves(state.aux["augment"]), strict=True))
