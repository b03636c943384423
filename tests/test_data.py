"""Splits are exact, seeded and kept; a batch is a function of its step."""

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowlabel_jax.configuration import keys
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data import amounts, feed, source, splits

LABELS = np.repeat(np.arange(3), (20, 30, 50))
NAMES = ("ant", "bee", "cat")


def wanted(**changed):
    """config["split"] with four labels a class, changed."""
    return {**keys.base().split.to_dict(), "labelled": {"per_class": 4}, **changed}


def divide(seed=0, **changed):
    images = np.zeros((100, 1, 1, 1), np.uint8)
    data = source.from_arrays(NAMES, {"train": (images, LABELS)})
    return splits.divide(data, wanted(**changed), seed)


def toy(n=60, seed=0):
    """A source of random 4x4 images, 3 classes in turn, 9 of them for testing."""
    images = np.random.default_rng(seed).integers(0, 256, (n + 9, 4, 4, 1), np.uint8)
    label = np.arange(n + 9) % 3
    return source.from_arrays(
        NAMES, {"train": (images[9:], label[9:]), "test": (images[:9], label[:9])}
    )


def test_k_per_class_is_exact():
    split = divide()
    assert collections.Counter(LABELS[split.labelled].tolist()) == {0: 4, 1: 4, 2: 4}
    assert len(split.unlabelled) == 100 and set(split.labelled) <= set(split.unlabelled)


@given(total=st.integers(3, 50), seed=st.integers(0, 5))
def test_totals_are_exact_and_as_even_as_can_be(total, seed):
    split = divide(seed, labelled={"total": total})
    each = np.bincount(LABELS[split.labelled], minlength=3)
    assert len(split.labelled) == total and each.max() - each.min() <= 1


@given(fraction=st.floats(0.05, 0.95))
def test_fractions_follow_the_classes_by_largest_remainder(fraction):
    each = amounts.counts({"fraction": fraction}, np.array([20, 30, 50]))
    assert each.sum() == round(100 * fraction)
    assert (np.abs(each - np.array([20, 30, 50]) * fraction) < 1).all()


def test_the_labelled_can_be_kept_out_of_the_unlabelled():
    split = divide(unlabelled_includes_labelled=False)
    assert not set(split.labelled) & set(split.unlabelled)
    assert len(split.unlabelled) == 88


def test_validation_is_apart_from_both():
    split = divide(validation={"per_class": 2})
    assert len(split.validation) == 6
    assert not set(split.validation) & (set(split.labelled) | set(split.unlabelled))


def test_seeds_decide_and_more_labels_keep_those_one_had():
    assert (divide(3).labelled == divide(3).labelled).all()
    assert (divide(3).labelled != divide(4).labelled).any()
    assert set(divide(3).labelled) < set(divide(3, labelled={"per_class": 9}).labelled)


def test_a_class_that_is_too_small_is_named():
    with pytest.raises(UserError, match="class 'ant' has 20 images but 21 labelled"):
        divide(labelled={"per_class": 21})


def test_a_split_is_kept_shared_and_refused_for_other_data(tmp_path):
    data, other = toy(), toy(seed=1)
    config = wanted(labelled={"per_class": 2})
    kept = tmp_path / "splits" / "split.json"
    split = splits.split_of(data, config, 0, kept)
    splits.write(kept, split, data)
    assert (splits.split_of(data, config, 99, kept).labelled == split.labelled).all()
    shared = {**config, "file": str(kept)}
    assert (splits.split_of(data, shared, 99, tmp_path / "b").labelled == split.labelled).all()
    with pytest.raises(UserError, match="made for other data"):
        splits.split_of(other, config, 0, kept)
    with pytest.raises(UserError, match="there is no file"):
        splits.split_of(data, {**config, "file": str(tmp_path / "no")}, 0, tmp_path / "c")


def test_the_fingerprint_sees_every_pixel_and_label():
    images, label = np.zeros((5, 4, 4, 1), np.uint8), np.arange(5)
    other = images.copy()
    other[4, 3, 3, 0] = 1
    prints = [
        source.fingerprint({"train": pair})
        for pair in ((images, label), (other, label), (images, label[::-1]))
    ]
    assert len(set(prints)) == 3


def test_digits_keep_one_test_set_with_every_class():
    data = source.open_source({"name": "digits"})
    assert data.image_shape == (8, 8, 1) and len(data.labels["train"]) == 1297
    assert np.bincount(data.labels["test"]).min() >= 48
    pixels = data.read("train", np.arange(1297))
    assert pixels.dtype == np.uint8 and pixels.max() == 255
    info = splits.info_of(data, splits.Split(*(np.arange(3),) * 3))
    assert (info.num_classes, info.num_unlabelled, info.sizes["test"]) == (10, 3, 500)


@given(st.integers(1, 12), st.integers(1, 40), st.integers(0, 3))
@settings(max_examples=50)
def test_every_epoch_shows_every_example_once(n, batch_size, seed):
    seen = np.concatenate([feed.indices(step, batch_size, n, [seed, 0]) for step in range(2 * n)])
    for epoch in range(2 * batch_size):
        assert sorted(seen[epoch * n : (epoch + 1) * n]) == list(range(n))


def test_every_epoch_has_an_order_of_its_own():
    epochs = [feed.indices(step, 40, 40, [0, 0]).tolist() for step in range(4)]
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_a_small_labelled_set_fills_a_large_batch_evenly():
    counts = np.bincount(feed.indices(5, 64, 4, [0, 0]))
    assert counts.tolist() == [16, 16, 16, 16]


def test_a_batch_depends_on_the_step_the_seed_and_the_stream_alone():
    data = toy()
    split = splits.Split(np.arange(9), np.arange(60), np.arange(0))
    sizes = {"labelled": 6, "unlabelled": 12}
    one, two = (feed.open_feed(data, split, sizes, seed) for seed in (0, 1))
    five = one.batch(5)
    one.batch(17)
    assert all((one.batch(5)[s]["index"] == five[s]["index"]).all() for s in sizes)
    assert (two.batch(5)["unlabelled"]["index"] != five["unlabelled"]["index"]).any()
    assert (feed.indices(0, 9, 60, [0, 0]) != feed.indices(0, 9, 60, [0, 1])).any()
    assert one.resident["labelled"]["image"].shape == (9, 4, 4, 1)
    assert set(feed.open_feed(data, split, {"labelled": 6}, 0).resident) == {"labelled"}
