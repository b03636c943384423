"""Every objective in the folder, found by name, against the contract; then method by method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowlabel_jax.augment.views import VIEWS
from lowlabel_jax.core import named, parallel
from lowlabel_jax.objectives.alignment import align, even
from lowlabel_jax.objectives.base import Mean, Objective, joint, separate
from lowlabel_jax.state import create
from tests.tiny import AT_WORK, OBJECTIVES, World, assert_same, leaves


def world(name, *overrides, **more):
    """A world whose unlabelled term is at work."""
    return World(name, *overrides, **{**AT_WORK.get(name, {}), **more})


# --- the contract, for every objective found in the folder -----------------------------------


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_is_views_a_loss_and_a_memory(name):
    made = named.build("objective", {"name": name}, total_steps=9, info=None)
    assert isinstance(made, Objective) and set(made.views) <= set(VIEWS)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_step_moves_every_weight_and_reports_finite_means(name):
    w = world(name)
    begun = leaves(w.start().params)
    state, metrics = w.run(w.start(), 2)
    assert all((a != b).any() for a, b in zip(begun, leaves(state.params), strict=True))
    assert {"loss", "loss/labelled", "accuracy/labelled", "rate", "gradient_norm"} <= set(metrics)
    assert all(isinstance(m, Mean) and np.isfinite(m.total).all() for m in metrics.values())
    assert int(state.step) == 2 and float(metrics["loss/labelled"].count) == 8


@pytest.mark.parametrize("name", OBJECTIVES)
def test_one_two_and_eight_devices_train_alike(name):
    """With masks partly open; sums over devices round differently, hence not bit by bit."""
    ends = {}
    for devices in (1, 2, 8):
        w = world(name, devices=devices)
        ends[devices], metrics = w.run(w.start(), 4)
        if "mask_rate" in metrics and name == "fixmatch":
            assert 0.05 < metrics["mask_rate"].total / metrics["mask_rate"].count < 0.95
    for devices in (2, 8):
        for part in ("params", "batch_stats", "ema", "aux"):
            assert_same(getattr(ends[1], part), getattr(ends[devices], part), atol=1e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_devices_agree_on_all_that_a_step_returns(name):
    """out_axes=None takes one device's value unseen; here all of them are looked at."""
    w = world(name, devices=8)
    every = parallel.Mapped(w.phase.step.fn, 8, sharded_out=True)
    batch = parallel.shard(w.feed.batch(0), 8)
    for leaf in leaves(every(w.start(), batch, w.resident)):
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_same_config_gives_the_same_bits(name):
    w = world(name)
    assert_same(w.run(w.start(), 3), w.run(w.start(), 3))


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("seed", ["split", "order", "init", "augment"])
def test_every_seed_decides_something(name, seed):
    one, two = (world(name, f"--config.seeds.{seed}={n}") for n in (0, 1))
    ends = [leaves(w.run(w.start(), 1)[0].params) for w in (one, two)]
    assert any((a != b).any() for a, b in zip(*ends, strict=True))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_loss_looks_at_the_true_labels_of_the_unlabelled(name):
    w = world(name)
    end, _ = w.run(w.start(), 2)
    if "unlabelled" in w.resident:
        hidden = np.full_like(w.resident["unlabelled"]["label"], -1)
        w.resident = {**w.resident, "unlabelled": {**w.resident["unlabelled"], "label": hidden}}
    assert_same(end, w.run(w.start(), 2)[0])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_dropout_is_allowed(name):
    w = world(name, "--config.model.dropout=0.5", "--config.model.hidden=8")
    two = world(name, "--config.model.dropout=0.5", "--config.model.hidden=8", devices=2)
    assert_same(w.run(w.start(), 2)[0].params, two.run(two.start(), 2)[0].params, atol=1e-6)


def test_views_of_one_batch_drop_different_units():
    """Dropout draws by address, and every view of a joint batch has addresses of its own."""
    w = World("supervised", "--config.model.dropout=0.5")
    state, image = w.start(), jnp.ones((4, 8, 8, 1))
    (one, two), _ = joint(state.params, state, image, image, key=jax.random.key(0))
    assert (np.asarray(one) != np.asarray(two)).any()


# --- method by method, on a network whose logits are its images -------------------------------


K, B, M = 4, 3, 6


def logits(seed, n, scale=2.0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(n, K)) * scale, jnp.float32)


def given_views():
    """Views that are logits already: labelled [B, K], the unlabelled ones [M, K]."""
    found = {name: logits(i, B if "labelled" in name else M) for i, name in enumerate(VIEWS)}
    return found | {
        "label": jnp.array([0, 2, 3]),
        "truth": jnp.array([0, 1, 2, 3, 0, -1]),
        "index": jnp.arange(M),
    }


def apply_fn(variables, images, **_):
    """Logits = scale · images; running statistics count the examples they have seen."""
    seen = variables["batch_stats"]["seen"] + len(images)
    return (images * variables["params"]["scale"][None], {}), {"batch_stats": {"seen": seen}}


def call(name, views=None, scale=1.0, step=0, total_steps=10, aux=(), teacher=None, **options):
    """((loss, out), gradient by scale) of an objective on given logits."""
    import optax

    made = named.build("objective", {"name": name, **options}, total_steps=total_steps, info=None)
    params = {"scale": jnp.full((K,), scale)}
    variables = {"params": params, "batch_stats": {"seen": jnp.zeros(())}}
    state = create(variables, apply_fn, optax.sgd(0.1), aux, 0).replace(step=jnp.int32(step))
    if teacher is not None:
        state = state.replace(ema={**state.ema, "params": {"scale": jnp.full((K,), teacher)}})
    views = given_views() if views is None else views

    def loss(params, views):
        return made.loss(params, state, views, jax.random.key(0))

    return jax.value_and_grad(loss, has_aux=True)(params, views), loss, params


def softmax(x):
    e = np.exp(np.asarray(x, np.float64) - np.max(x, -1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def mean_ce(x, label):
    return -np.log(softmax(x)[np.arange(len(label)), label]).mean()


def test_supervised_is_the_mean_cross_entropy():
    views = given_views()
    ((loss, out), _), *_ = call("supervised")
    np.testing.assert_allclose(loss, mean_ce(views["labelled"], views["label"]), rtol=1e-5)
    assert float(out.batch_stats["seen"]) == B
    ((strong, _), _), *_ = call("supervised", strong=True)
    np.testing.assert_allclose(strong, mean_ce(views["labelled_strong"], views["label"]), rtol=1e-5)


def fixmatch_by_hand(views, threshold, weight):
    """Equations 3 and 4 of 2001.07685, one image at a time."""
    unlabelled = 0.0
    for weak, strong in zip(views["weak"], views["strong"], strict=True):
        q = softmax(weak)
        if q.max() >= threshold:
            unlabelled += -np.log(softmax(strong)[q.argmax()])
    return mean_ce(views["labelled"], views["label"]) + weight * unlabelled / M


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.8, 1.0])
def test_fixmatch_is_its_paper(threshold, split):
    views = given_views()
    ((loss, out), _), *_ = call("fixmatch", threshold=threshold, weight=0.7, split=split)
    np.testing.assert_allclose(loss, fixmatch_by_hand(views, threshold, 0.7), rtol=1e-5)
    kept = (softmax(views["weak"]).max(-1) >= threshold).sum()
    assert tuple(map(float, out.metrics["mask_rate"])) == (kept, M)
    assert float(out.metrics["pseudo_label/accuracy"].count) == 5  # one truth is unknown
    assert float(out.batch_stats["seen"]) == (B + M if split else B + 2 * M)


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (1, 0.5), (2, 1.0), (9, 1.0)])
def test_fixmatch_can_climb_to_its_weight(step, share):
    ((loss, _), _), *_ = call("fixmatch", step=step, threshold=0.6, ramp=0.2)
    np.testing.assert_allclose(loss, fixmatch_by_hand(given_views(), 0.6, share), rtol=1e-5)


def test_fixmatch_masks_partly_in_these_tests():
    kept = softmax(given_views()["weak"]).max(-1) >= 0.6
    assert 0 < kept.sum() < M


def test_fixmatch_teaches_through_the_strong_view_alone():
    (_, _), loss, params = call("fixmatch", threshold=0.6)
    by_view = jax.grad(lambda views: loss(params, views)[0], allow_int=True)(given_views())
    assert (np.asarray(by_view["weak"]) == 0).all()  # a target carries no gradient
    kept = softmax(given_views()["weak"]).max(-1) >= 0.6
    moved = (np.asarray(by_view["strong"]) != 0).any(-1)
    np.testing.assert_array_equal(moved, kept)  # what is masked out contributes nothing


def test_masking_an_image_out_leaves_the_denominator_alone():
    views = given_views()
    sure = softmax(views["weak"]).max(-1).argmax()
    unsure = {**views, "weak": views["weak"].at[sure].set(0.0)}
    with_it, without = (fixmatch_by_hand(v, 0.6, 1.0) for v in (views, unsure))
    ((a, _), _), *_ = call("fixmatch", views, threshold=0.6)
    ((b, _), _), *_ = call("fixmatch", unsure, threshold=0.6)
    np.testing.assert_allclose([a, b], [with_it, without], rtol=1e-5)
    assert a > b


@pytest.mark.parametrize("name", ["fixmatch", "mean_teacher"])
def test_weight_zero_is_supervised(name):
    ((loss, _), grads), *_ = call(name, step=9, weight=0.0)
    ((alone, _), alone_grads), *_ = call("supervised")
    assert float(loss) == float(alone)
    np.testing.assert_array_equal(grads["scale"], alone_grads["scale"])


def test_weight_zero_is_supervised_over_whole_steps():
    """Mean Teacher's forwards are separate, so a real network's bits agree as well."""
    teacher, alone = World("mean_teacher", weight=0.0), World("supervised")
    a, b = (w.run(w.start(), 3)[0] for w in (teacher, alone))
    assert_same((a.params, a.batch_stats, a.ema), (b.params, b.batch_stats, b.ema))


def aligned(probs, marginal, decay=0.9, prior=None):
    fn = lambda p: align(marginal, p, even(K) if prior is None else prior, decay)  # noqa: E731
    return jax.vmap(fn, axis_name=parallel.AXIS, out_axes=(0, None))(probs[None])


def test_alignment_by_hand():
    probs, marginal = softmax(logits(7, M)).astype(np.float32), jnp.array([0.4, 0.3, 0.2, 0.1])
    found, moved = aligned(probs, marginal)
    expected = 0.9 * np.asarray(marginal) + 0.1 * probs.mean(0)
    np.testing.assert_allclose(moved, expected, rtol=1e-5)
    by_hand = probs * (0.25 / expected)
    np.testing.assert_allclose(found[0], by_hand / by_hand.sum(-1, keepdims=True), rtol=1e-4)


def test_alignment_of_what_is_aligned_changes_nothing():
    probs = softmax(logits(7, M)).astype(np.float32)
    prior = jnp.asarray(probs.mean(0))
    found, moved = aligned(probs, prior, prior=prior)
    np.testing.assert_allclose(found[0], probs, rtol=1e-5)
    np.testing.assert_allclose(moved, prior, rtol=1e-5)


def test_alignment_sees_all_devices():
    probs = softmax(logits(7, 8)).astype(np.float32)
    fn = lambda p: align(even(K), p, even(K), 0.5)  # noqa: E731
    two = jax.vmap(fn, axis_name=parallel.AXIS)(probs.reshape(2, 4, K))
    np.testing.assert_allclose(two[0].reshape(8, K), aligned(probs, even(K), 0.5)[0][0], rtol=1e-5)


def test_fixmatch_with_alignment_guesses_from_aligned_probabilities():
    views = given_views()
    marginal = jnp.array([0.7, 0.1, 0.1, 0.1])

    def loss(weak):
        return call(
            "fixmatch",
            {**views, "weak": weak},
            aux=marginal,
            align=True,
            align_decay=0.99,
            threshold=0.6,
        )[0][0]

    value, out = jax.vmap(loss, axis_name=parallel.AXIS)(views["weak"][None])
    q = np.asarray(aligned(softmax(views["weak"]).astype(np.float32), marginal, 0.99)[0][0])
    taught = [
        -np.log(softmax(s)[p.argmax()]) * (p.max() >= 0.6)
        for p, s in zip(q, views["strong"], strict=True)
    ]
    expected = mean_ce(views["labelled"], views["label"]) + np.mean(taught)
    np.testing.assert_allclose(value[0], expected, rtol=1e-5)
    plain = softmax(views["weak"])
    assert (q.argmax(-1) != plain.argmax(-1)).any()  # so the test can tell them apart
    assert not np.allclose(out.aux[0], marginal)


def mean_teacher_by_hand(views, student, teacher, scale):
    gap = 0.0
    for one, two in zip(views["weak"], views["weak_2"], strict=True):
        target, guess = softmax(np.asarray(two) * teacher), softmax(np.asarray(one) * student)
        gap += sum((t - g) ** 2 for t, g in zip(target, guess, strict=True)) / K
    return mean_ce(np.asarray(views["labelled"]) * student, views["label"]) + scale * gap / M


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (1, 0.25), (4, 1.0), (9, 1.0)])
def test_mean_teacher_is_its_paper(step, share):
    """Weight 50 after a linear climb over 0.4 of 10 steps; the teacher is the average."""
    ((loss, out), _), *_ = call("mean_teacher", step=step, scale=1.5, teacher=0.5)
    expected = mean_teacher_by_hand(given_views(), 1.5, 0.5, 50.0 * share)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert float(out.batch_stats["seen"]) == B  # only the labelled forward moves the statistics


def test_mean_teacher_learns_from_the_unlabelled_and_not_through_the_teacher():
    """The most-cited table of the field has a Mean Teacher whose consistency is always zero."""
    ((_, out), grads), loss, params = call("mean_teacher", step=1)
    ((_, _), alone), *_ = call("supervised")
    assert float(out.metrics["loss/unlabelled"].total) > 0
    assert (np.asarray(grads["scale"]) != np.asarray(alone["scale"])).all()
    by_view = jax.grad(lambda views: loss(params, views)[0], allow_int=True)(given_views())
    assert (np.asarray(by_view["weak_2"]) == 0).all()
    assert (np.asarray(by_view["weak"]) != 0).any()


def test_the_two_forwards_and_their_batchnorm():
    """joint: one batch moves the statistics; separate: each for itself, the caller chooses."""
    w = World("supervised")
    state = w.start()
    images = [
        jnp.asarray(np.random.default_rng(i).normal(size=(4, 8, 8, 1)), jnp.float32)
        for i in range(2)
    ]
    (one, two), together = joint(state.params, state, *images, key=jax.random.key(0))
    alone, first = separate(state.params, state, images[0], jax.random.key(0))
    both, _ = separate(state.params, state, jnp.concatenate(images), jax.random.key(0))
    np.testing.assert_allclose(jnp.concatenate([one, two]), both, rtol=1e-6)
    assert not np.allclose(one, alone)  # normalised by another batch
    assert any((a != b).any() for a, b in zip(leaves(together), leaves(first), strict=True))
