"""Uneven classes: logit adjustment against its equation, balanced batches against their promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from lowlabel_jax.core import named, parallel
from lowlabel_jax.data.feed import balanced_indices
from lowlabel_jax.data.source import Info
from lowlabel_jax.objectives.supervised import log_prior
from tests.linear import INFO, K, call, flat, given_views, softmax

WEIGHTS = (1.0, 2.0, 0.5, 4.0)


# --- logit adjustment --------------------------------------------------------------------------


def by_hand(draws, tau, class_weights=(1.0,) * K, smoothing=0.0):
    """Equation 10 in float64, from the labels' counts; mixed where there are draws."""
    views = flat(given_views())
    images, label = views["labelled"], views["label"]
    target = np.eye(K)[label]
    if draws:
        share, order = draws["beta"][0].astype(np.float64)[:, None], draws["permutation"][0]
        images = share * images + (1 - share) * images[order]
        target = share * target + (1 - share) * target[order]
    counts = np.array(INFO.label_counts)
    log_probs = np.log(softmax(images + tau * np.log(counts / counts.sum())))
    weight = target @ np.array(class_weights)
    each = -(((1 - smoothing) * target + smoothing / K) * log_probs)
    return (each.sum(1) * weight).sum() / weight.sum()


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        ({}, {}),
        ({"class_weights": WEIGHTS}, {"class_weights": WEIGHTS}),
        ({"label_smoothing": 0.1}, {"smoothing": 0.1}),
        ({"mixup": 0.8}, {}),
    ],
)
def test_the_adjusted_loss_is_equation_10(options, theirs, devices):
    found = call("supervised", logit_adjustment=1.5, devices=devices, **options)
    np.testing.assert_allclose(found.loss, by_hand(found.draws, 1.5, **theirs), rtol=1e-6)
    plain = call("supervised", devices=devices, **options)
    assert abs(found.loss - plain.loss) > 1e-3, "the counts are uneven: it must show"


def test_with_cutmix_the_pasted_images_are_adjusted_too():
    found, plain = (call("supervised", cutmix=1.0, logit_adjustment=t) for t in (1.0, 0.0))
    assert np.isfinite(found.loss) and abs(found.loss - plain.loss) > 1e-3
    assert found.metrics["accuracy/labelled"] == plain.metrics["accuracy/labelled"]


def program(tau, counts):
    """The program of the loss and its gradient, as text: equal text is equal bits."""
    info = Info(2, ("a", "b"), (2, 1, 1), {"labelled": sum(counts)}, counts)
    made = objective(info, tau)
    return str(jax.make_jaxpr(lambda w: loss_of(made, w, *task((3, 3), 0)))(jnp.zeros((2, 2))))


def test_without_it_the_program_is_the_same_whatever_the_counts():
    assert program(0.0, (90, 10)) == program(0.0, (50, 50))
    assert program(1.0, (90, 10)) != program(0.0, (90, 10))


def test_even_counts_change_no_loss():
    """It is the same constant on every logit."""
    info = Info(2, ("a", "b"), (2, 1, 1), {"labelled": 12}, (6, 6))
    weights = jnp.array([[0.3, -0.2], [0.1, 0.7]])
    one, other = (loss_of(objective(info, tau), weights, *task((6, 6), 0)) for tau in (0.0, 3.0))
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_predictions_are_not_adjusted():
    found, plain = (call("supervised", logit_adjustment=t) for t in (9.0, 0.0))
    assert found.metrics["accuracy/labelled"] == plain.metrics["accuracy/labelled"]
    adjusted = flat(given_views())["labelled"] + 9 * log_prior(INFO)
    guess = np.argmax(adjusted, 1)
    assert (guess == 0).all(), "adjusted logits would guess the common class alone"


def test_a_class_without_labels_leaves_the_loss_finite():
    info = Info(2, ("a", "b"), (2, 1, 1), {"labelled": 4}, (4, 0))
    np.testing.assert_allclose(log_prior(info), np.log([4 / 5, 1 / 5]), rtol=1e-6)
    made = objective(info, 1.0, label_smoothing=0.1)
    value, slope = jax.value_and_grad(lambda w: loss_of(made, w, *task((4, 0), 0)))(
        jnp.ones((2, 2))
    )
    assert np.isfinite(value) and np.isfinite(slope).all()


def objective(info, tau, **options):
    spec = {"name": "supervised", "logit_adjustment": tau, **options}
    return named.build("objective", spec, total_steps=1, info=info)


def task(counts, seed):
    """Two overlapping clouds: points [n, 1, 1, 1] of so many each, and their labels."""
    rng = np.random.default_rng(seed)
    label = np.repeat([0, 1], counts)
    points = rng.normal(size=len(label)) + np.array([-1.0, 1.0])[label]
    return jnp.asarray(points, jnp.float32).reshape(-1, 1, 1, 1), jnp.asarray(label)


class Line:
    """What a loss needs of a state: logits [n, 2] of points are weights [2, 2] times (x, 1)."""

    aux, batch_stats = (), {}

    @staticmethod
    def apply_fn(variables, images, **_):
        x = images.reshape(-1, 1)
        features = jnp.concatenate([x, jnp.ones_like(x)], 1)
        return (features @ variables["params"], {}), {"batch_stats": {}}


def loss_of(made, weights, points, label):
    """The objective's loss on all points, over a device axis of one."""

    def one(points, label):
        views = {"labelled": points, "label": label}
        return made.loss(weights, Line, views, jax.random.key(0))[0]

    return jax.vmap(one, axis_name=parallel.AXIS)(points[None], label[None])[0]


def balanced_accuracy_of(tau):
    """Of a line fitted to 190 and 10 points, on many points of both."""
    info = Info(2, ("a", "b"), (2, 1, 1), {"labelled": 200}, (190, 10))
    made, (points, label) = objective(info, tau), task((190, 10), 0)
    slope = jax.grad(lambda w: loss_of(made, w, points, label))
    weights = jax.lax.fori_loop(0, 2000, lambda _, w: w - 0.5 * slope(w), jnp.zeros((2, 2)))
    shown, truth = task((5000, 5000), 1)
    logits = Line.apply_fn({"params": weights}, shown)[0][0]
    return balanced_accuracy_score(truth, np.asarray(logits).argmax(1))


def test_on_an_uneven_task_the_adjusted_classifier_is_near_the_best_and_the_plain_one_is_not():
    best = 0.8413  # Phi(1): the line halfway between clouds two standard deviations apart
    plain, adjusted = balanced_accuracy_of(0.0), balanced_accuracy_of(1.0)
    assert plain < best - 0.08 and adjusted > best - 0.02, (plain, adjusted)


# --- balanced batches --------------------------------------------------------------------------

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=40).map(np.array)
TRIED = {"labels": LABELS, "size": st.integers(1, 20), "seed": st.integers(0, 3)}


def drawn(steps, size, labels, seed=0):
    """The indices of some steps in a row, [steps, size]; class 6 has no images."""
    return np.array([balanced_indices(s, size, labels, 7, [seed, 0]) for s in steps])


@given(**TRIED, step=st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_every_class_stands_in_a_batch_equally_often_within_one(labels, size, seed, step):
    (batch,) = drawn([step], size, labels, seed)
    counts = np.bincount(labels[batch], minlength=7)
    there = np.unique(labels)
    assert batch.dtype == np.int32 and counts.sum() == size == counts[there].sum()
    assert counts[there].max() - counts[there].min() <= 1


@given(**TRIED)
@settings(max_examples=60, deadline=None)
def test_over_time_classes_and_images_of_a_class_are_seen_equally_often(labels, size, seed):
    seen = drawn(range(25), size, labels, seed).ravel()
    classes = np.bincount(labels[seen], minlength=7)[np.unique(labels)]
    assert classes.max() - classes.min() <= 1, "the surplus goes round"
    for k in np.unique(labels):
        mine = seen[labels[seen] == k]
        have = np.flatnonzero(labels == k)
        for start in range(0, len(mine) - len(have) + 1, len(have)):
            assert sorted(mine[start : start + len(have)]) == have.tolist(), "an epoch of a class"


def test_the_epochs_of_a_class_have_orders_of_their_own():
    labels = np.repeat([0, 1], [12, 1])
    seen = drawn(range(4), 24, labels)
    orders = {tuple(batch[labels[batch] == 0]) for batch in seen}
    assert len(orders) == 4


def test_a_batch_is_a_function_of_the_step_the_seed_and_the_stream():
    labels = np.random.default_rng(0).integers(0, 6, 50)
    before = drawn([7], 9, labels)
    drawn([3, 90], 9, labels)
    assert (drawn([7], 9, labels) == before).all()
    assert (drawn([7], 9, labels, seed=1) != before).any()
    assert (balanced_indices(7, 9, labels, 7, [0, 1]) != before[0]).any()
    assert len({tuple(b) for b in drawn(range(20), 9, labels)}) == 20
    one_class = np.zeros(12, int)
    assert (drawn([0], 12, one_class) != drawn([0], 12, one_class, seed=1)).any()


def test_which_classes_have_the_surplus_goes_round_and_by_seed():
    labels = np.arange(5)
    surplus = [[set(labels[b]) for b in drawn(range(5), 2, labels, seed)] for seed in range(4)]
    for batches in surplus:
        assert sorted(k for batch in batches for k in batch) == sorted([*range(5)] * 2)
    assert len({tuple(map(tuple, batches)) for batches in surplus}) > 1
