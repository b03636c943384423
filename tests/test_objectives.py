"""What must hold of methods beyond their formulas: what they are at the ends of their options,
through which view they teach, what a mask does, whose statistics a forward moves.

On the linear network of tests/linear.py, where all of it is exact; the formulas themselves are
compared with their papers in tests/test_papers.py, and tests/test_contract.py has what all share.
"""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from lowlabel_jax.core import named, parallel
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.objectives import mixmatch, remixmatch, supervised
from lowlabel_jax.objectives.alignment import align, even
from tests.linear import INFO, K, M, call, flat, given_views, images, softmax, turning_head
from tests.tiny import World, assert_same

MEMORY = {  # of a store that is worth something, for the methods that have one
    "adamatch": {"labelled": jnp.full(K, 1 / K), "unlabelled": jnp.full((128, K), 1 / K)},
    "flexmatch": {"learnt": jnp.array([0, 0, 1, 1, 2, 2, 3, 3, 0, 1, 2, 3])},
    "freematch": {"level": jnp.float32(0.8), "class": even(K), "histogram": even(K)},
    "remixmatch": {"labels": even(K, 128), "guesses": even(K, 128)},
    "softmatch": {"mean": jnp.float32(0.7), "variance": jnp.float32(0.02), "guess": even(K)},
    "temporal_ensembling": {
        "average": jnp.full((12, K), 0.64 / K),
        "visits": jnp.full(12, 2, jnp.int32),
    },
}
MASKED = {  # the methods that keep or drop each guess, with options that drop some
    "adamatch": {"threshold": 1.0},
    "defixmatch": {"threshold": 0.7},
    "fixmatch": {"threshold": 0.8},
    "flexmatch": {"threshold": 0.9},
    "freematch": {"lowest": 0.8, "highest": 0.8, "fairness": 0.0, "decay": 0.0},
    "pseudo_label": {"threshold": 0.8},
    "uda": {"threshold": 0.8},
}


def at_end(name, views=None, **options):
    """A method in the middle of its run, where all ramps have ended."""
    known = {"scale": 1.2, "teacher": 0.6, "step": 9, "aux": MEMORY.get(name, ())}
    return call(name, views, **{**known, **options})


# --- without its unlabelled term a method is supervised ----------------------------------------


OFF = {
    "defixmatch": {},
    "fixmatch": {},
    "flexmatch": {},
    "freematch": {"fairness": 0.0},
    "ict": {},
    "mean_teacher": {},
    "pi_model": {},
    "pseudo_label": {},
    "softmatch": {},
    "temporal_ensembling": {},
    "uda": {},
    "vat": {"entropy_weight": 0.0},
}


@pytest.mark.parametrize("name", OFF)
def test_weight_zero_is_supervised(name):
    """Those left out mix the labelled images, or take two views of them."""
    found, alone = at_end(name, weight=0.0, **OFF[name]), call("supervised", scale=1.2)
    assert found.loss == alone.loss
    np.testing.assert_array_equal(found.gradient, alone.gradient)


@pytest.mark.parametrize("name", ["adamatch", "noisy_student"])
def test_weight_zero_is_supervised_on_both_views(name):
    found = at_end(name, weight=0.0)
    alone = [call("supervised", scale=1.2, strong=strong) for strong in (False, True)]
    np.testing.assert_allclose(found.loss, np.mean([x.loss for x in alone]), rtol=1e-6)
    np.testing.assert_allclose(
        found.gradient, np.mean([x.gradient for x in alone], axis=0), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize(
    "name",
    [
        "mean_teacher",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("ict", "pi_model", "pseudo_label", "temporal_ensembling", "vat")
        ),
    ],
)
def test_weight_zero_is_supervised_over_whole_steps(name):
    """Their forwards are separate, so a real network's bits agree as well, BatchNorm's included."""
    method, alone = World(name, weight=0.0, **OFF[name]), World("supervised")
    a, b = (w.run(w.start(), 2)[0] for w in (method, alone))
    assert_same((a.params, a.batch_stats, a.ema), (b.params, b.batch_stats, b.ema))


# --- who teaches whom --------------------------------------------------------------------------


TARGETS = {  # method -> (views that are targets alone, views that are taught)
    "adamatch": ({"weak"}, {"strong"}),
    "defixmatch": ({"weak"}, {"strong", "labelled_strong"}),
    "fixmatch": ({"weak"}, {"strong"}),
    "flexmatch": ({"weak"}, {"strong"}),
    "freematch": ({"weak"}, {"strong"}),
    "mean_teacher": ({"weak_2"}, {"weak"}),
    "pi_model": ({"weak"}, {"weak_2"}),
    "softmatch": ({"weak"}, {"strong"}),
    "uda": ({"weak"}, {"strong"}),
}
LIVE = ("ict", "mixmatch", "noisy_student", "pseudo_label", "temporal_ensembling", "vat")


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_carries_no_gradient_and_what_is_taught_does(name):
    still, taught = TARGETS[name]
    found = at_end(name, **MASKED.get(name, {}))
    for view in still:
        assert (found.by_view[view] == 0).all()
    for view in taught:
        assert (found.by_view[view] != 0).any()


DEAR = ("mixmatch", "remixmatch")  # four and six forwards to compile
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in DEAR]


def by_cost(names):
    """The names as parameters, the dear ones slow."""
    return [name for name in names if name not in DEAR] + [p for p in SLOW if p.values[0] in names]


@pytest.mark.parametrize("name", by_cost(LIVE))
def test_a_view_that_is_taught_moves_the_weights(name):
    found, alone = at_end(name), at_end(name, weight=0.0, **OFF.get(name, {}))
    assert (found.by_view["weak"] != 0).any() and (found.gradient != alone.gradient).all()


@pytest.mark.parametrize("name", ["mean_teacher", "pi_model"])
def test_two_views_disagree_from_the_first_step_on(name):
    """The most-cited table of the field has a Mean Teacher whose consistency is always zero."""
    found = call(name, scale=1.2, teacher=1.2, step=0, ramp=0.0)
    assert found.metrics["loss/unlabelled"] > 1e-3
    same = {**given_views(), "weak_2": given_views()["weak"]}
    assert (
        call(name, same, scale=1.2, teacher=1.2, step=0, ramp=0.0).metrics["loss/unlabelled"]
        < 1e-12
    )


# --- masks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MASKED)
def test_what_is_masked_out_contributes_nothing_and_the_rest_no_more_for_it(name):
    """The gradient of a kept image is the same 1/M of it whether others are kept or not."""
    found = at_end(name, **MASKED[name])
    taught = "weak" if name == "pseudo_label" else "strong"
    moved = (found.by_view[taught] != 0).any(1)
    assert moved.mean() == found.metrics["mask_rate"] and 0.05 < moved.mean() < 0.95
    views = flat(given_views())
    target = softmax(1.2 * views["weak"])
    goal = softmax(1.2 * views["weak"] / 0.4) if name == "uda" else np.eye(K)[target.argmax(1)]
    each = 1.2 * (softmax(1.2 * views[taught]) - goal) / M
    np.testing.assert_allclose(found.by_view[taught][moved], each[moved], rtol=1e-4, atol=1e-6)


def test_the_mask_of_uda_looks_at_the_guess_before_it_is_sharpened():
    """Sharpened at 0.1, every guess would pass."""
    found = call("uda", temperature=0.1, threshold=0.8)
    expected = (softmax(flat(given_views())["weak"]).max(1) >= 0.8).mean()
    assert found.metrics["mask_rate"] == expected < 0.95


def test_uda_on_equal_views_without_sharpening_has_nothing_to_learn():
    views = {**given_views(), "strong": given_views()["weak"]}
    same = call("uda", views, temperature=1.0, threshold=0.0)
    assert abs(same.metrics["loss/unlabelled"]) < 1e-6
    np.testing.assert_allclose(same.by_view["strong"], 0.0, atol=1e-7)
    assert call("uda", views, temperature=0.5, threshold=0.0).metrics["loss/unlabelled"] > 0.01


@pytest.mark.parametrize("name", ["uda", *SLOW])
def test_temperature_does_something(name):
    heads = turning_head() if name == "remixmatch" else None
    cold, warm = (at_end(name, temperature=t, heads=heads).loss for t in (0.3, 0.9))
    assert abs(cold - warm) > 1e-3


@pytest.mark.parametrize(("tsa", "step"), [("linear", 0), ("exp", 5), ("log", 1)])
def test_what_tsa_leaves_out_is_not_counted(tsa, step):
    """The mean is over those kept: their gradient is the larger the fewer they are."""
    found = call("uda", tsa=tsa, step=step, weight=0.0)
    moved = (found.by_view["labelled"] != 0).any(1)
    assert 0 < moved.sum() < len(moved)
    views = flat(given_views())
    each = softmax(views["labelled"]) - np.eye(K)[views["label"]]
    np.testing.assert_allclose(
        found.by_view["labelled"][moved], each[moved] / moved.sum(), rtol=1e-4, atol=1e-6
    )


# --- methods that become others ----------------------------------------------------------------


FIXMATCH = {"threshold": 0.8}
BECOME = {  # what makes them FixMatch with the threshold 0.8
    "flexmatch": {"threshold": 0.8, "aux": MEMORY["flexmatch"]},  # all classes learnt alike
    "freematch": {
        "lowest": 0.8,
        "highest": 0.8,
        "fairness": 0.0,
        "decay": 0.9999999,
        "aux": MEMORY["freematch"],
    },
    "softmatch": {  # infinitely narrow: a threshold at the mean
        "width": 1e9,
        "decay": 0.9999999,
        "aux": {"mean": jnp.float32(0.8), "variance": jnp.float32(1.0)},
        "align": False,
    },
}


@pytest.mark.parametrize("name", BECOME)
def test_becomes_fixmatch(name):
    found, fixmatch = call(name, **BECOME[name]), call("fixmatch", **FIXMATCH)
    assert 0.05 < fixmatch.metrics["mask_rate"] < 0.95
    np.testing.assert_allclose(found.loss, fixmatch.loss, rtol=1e-6)
    np.testing.assert_allclose(found.gradient, fixmatch.gradient, rtol=1e-5, atol=1e-7)


def test_adamatch_becomes_fixmatch_with_a_labelled_strong_view():
    """No interpolation, no alignment to speak of, the weight at its full height, equal views."""
    views = given_views()
    views["weak"] = jnp.concatenate([views["labelled"]] * 2)  # so that both marginals are equal
    found = call("adamatch", views, step=9, aux=MEMORY["adamatch"], decay=127 / 128, threshold=0.9)
    confidence = softmax(flat(views)["labelled"]).max(1).mean()
    fixmatch = call("fixmatch", views, threshold=float(0.9 * confidence))
    strong, weak = (call("supervised", views, strong=strong).loss for strong in (True, False))
    assert 0.05 < found.metrics["mask_rate"] < 0.95
    np.testing.assert_allclose(found.loss, fixmatch.loss + (strong - weak) / 2, rtol=1e-5)


@pytest.mark.parametrize("devices", [1, 2])
def test_adamatchs_threshold_is_of_all_labelled_images(devices):
    """One device's are unsure and the other's are sure."""
    views = given_views()
    factor = jnp.array([0.1, 0.1, 3.0, 3.0])[:, None, None, None]
    views["labelled"] = views["labelled"] * factor
    found = call("adamatch", views, step=9, aux=MEMORY["adamatch"], decay=0.5, devices=devices)
    sure = softmax(flat(views)["labelled"])
    ratio = (0.5 / K + 0.5 * sure.mean(0)) / (127 / K + softmax(flat(views)["weak"]).mean(0))
    probs = softmax(flat(views)["weak"]) * ratio
    kept = (probs / probs.sum(1, keepdims=True)).max(1) >= 0.9 * sure.max(1).mean()
    assert found.metrics["mask_rate"] == kept.mean() and 0 < kept.sum() < M
    for half in (slice(0, 2), slice(2, 4)):  # so that the test can tell
        alone = (probs / probs.sum(1, keepdims=True)).max(1) >= 0.9 * sure.max(1)[half].mean()
        assert alone.sum() != kept.sum()


def test_defixmatch_of_equal_images_is_supervised():
    views = given_views()
    views["weak"] = jnp.concatenate([views["labelled"]] * 2)
    views["strong"] = jnp.concatenate([views["labelled_strong"]] * 2)
    found = call("defixmatch", views, threshold=0.5)
    assert found.metrics["loss/unlabelled"] > 0.1
    np.testing.assert_allclose(found.loss, call("supervised", views).loss, rtol=1e-6)


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (1, 0.5), (2, 1.0), (9, 1.0)])
def test_fixmatch_can_climb_to_its_weight(step, share):
    climbing = call("fixmatch", step=step, threshold=0.8, ramp=0.2)
    np.testing.assert_allclose(
        climbing.loss, call("fixmatch", threshold=0.8, weight=share).loss, rtol=1e-6
    )


RAMPED = ("adamatch", "ict", "mean_teacher", "pi_model", "pseudo_label", "vat")


@pytest.mark.parametrize("name", RAMPED)
def test_a_ramp_counts_from_where_its_phase_began(name):
    known = {"aux": MEMORY.get(name, ()), "scale": 1.2, "teacher": 0.6}
    early, late = (call(name, step=n + 2, began=n, **known).loss for n in (0, 5))
    assert early == late != call(name, step=7, **known).loss


# --- whose statistics a forward moves ----------------------------------------------------------


SEEN = {  # images of one batch whose forward moves BatchNorm's running statistics
    **dict.fromkeys(("adamatch", "defixmatch", "noisy_student"), 4 + 4 + M + M),
    **dict.fromkeys(("fixmatch", "flexmatch", "freematch", "softmatch", "uda"), 4 + M + M),
    **dict.fromkeys(("ict", "mean_teacher", "pi_model", "pseudo_label", "supervised"), 4),
    **dict.fromkeys(("mixmatch", "temporal_ensembling", "vat"), 4),
}


@pytest.mark.parametrize("name", SEEN)
def test_the_statistics_are_moved_by(name):
    assert at_end(name).seen == SEEN[name]


SPLIT = ["adamatch", "defixmatch", "fixmatch", "flexmatch", "freematch", "softmatch", "uda"]


@pytest.mark.parametrize("name", SPLIT)
def test_split_keeps_the_weak_views_out_of_the_statistics(name):
    assert at_end(name, split=True).seen == SEEN[name] - M


@pytest.mark.parametrize(("module", "kept"), [(mixmatch, 0), (remixmatch, -1)])
def test_of_batches_in_turn_the_papers_moves_the_statistics(module, kept):
    name = module.__name__.split(".")[-1]
    heads = turning_head() if name == "remixmatch" else None
    with mock.patch.object(module, "in_turn", wraps=module.in_turn) as spy:
        at_end(name, heads=heads, total_steps=11)
    assert spy.call_args.kwargs["kept"] == kept


# --- alignment ---------------------------------------------------------------------------------


def aligned(probs, marginal, decay=0.9, prior=None):
    fn = lambda p: align(marginal, p, even(K) if prior is None else prior, decay)  # noqa: E731
    return jax.vmap(fn, axis_name=parallel.AXIS, out_axes=(0, None))(probs[None])


def some_probs(n=M):
    return softmax(np.asarray(images(7, n)).reshape(n, K)).astype(np.float32)


def test_alignment_by_hand():
    probs, marginal = some_probs(), jnp.array([0.4, 0.3, 0.2, 0.1])
    found, moved = aligned(probs, marginal)
    expected = 0.9 * np.asarray(marginal) + 0.1 * probs.mean(0)
    np.testing.assert_allclose(moved, expected, rtol=1e-5)
    by_hand = probs * (0.25 / expected)
    np.testing.assert_allclose(found[0], by_hand / by_hand.sum(-1, keepdims=True), rtol=1e-4)


def test_alignment_of_what_is_aligned_changes_nothing():
    probs = some_probs()
    prior = jnp.asarray(probs.mean(0))
    found, moved = aligned(probs, prior, prior=prior)
    np.testing.assert_allclose(found[0], probs, rtol=1e-5)
    np.testing.assert_allclose(moved, prior, rtol=1e-5)


def test_alignment_sees_all_devices():
    probs = some_probs(8)
    fn = lambda p: align(even(K), p, even(K), 0.5)  # noqa: E731
    two = jax.vmap(fn, axis_name=parallel.AXIS)(probs.reshape(2, 4, K))
    np.testing.assert_allclose(two[0].reshape(8, K), aligned(probs, even(K), 0.5)[0][0], rtol=1e-5)


def test_fixmatch_with_alignment_guesses_from_aligned_probabilities():
    views, marginal = flat(given_views()), jnp.array([0.7, 0.1, 0.1, 0.1])
    found = call("fixmatch", aux=marginal, align=True, align_decay=0.99, threshold=0.6, devices=2)
    plain = softmax(views["weak"])
    q = np.asarray(aligned(plain.astype(np.float32), marginal, 0.99)[0][0])
    log_probs = np.log(softmax(views["strong"]))
    taught = [-z[p.argmax()] * (p.max() >= 0.6) for p, z in zip(q, log_probs, strict=True)]
    expected = call("supervised").loss + np.mean(taught)
    np.testing.assert_allclose(found.loss, expected, rtol=1e-5)
    assert (q.argmax(-1) != plain.argmax(-1)).any()  # so the test can tell them apart
    assert not np.allclose(found.aux, marginal)


# --- labels alone ------------------------------------------------------------------------------


def test_balanced_weights_are_sklearns():
    label = np.repeat(np.arange(K), INFO.label_counts)
    expected = compute_class_weight("balanced", classes=np.arange(K), y=label)
    np.testing.assert_allclose(supervised.balanced_weights(INFO), expected)
    found, by_hand = (
        call("supervised", **options)
        for options in ({"balanced": True}, {"class_weights": tuple(expected.tolist())})
    )
    np.testing.assert_allclose(found.loss, by_hand.loss, rtol=1e-6)


@pytest.mark.parametrize(
    "options", [{"class_weights": (1.0, 2.0)}, {"class_weights": (1.0,) * K, "balanced": True}]
)
def test_class_weights_that_do_not_fit_are_refused(options):
    with pytest.raises(UserError, match=r"class_weights has \d numbers for 4 classes"):
        named.build("objective", {"name": "supervised", **options}, total_steps=9, info=INFO)


def test_weights_of_mixed_images_are_those_of_both_labels():
    """sum of share·w·H over sum of share·w: each label brings its own weight."""
    weights = np.array([1.0, 2.0, 0.5, 4.0])
    found = call("supervised", mixup=0.8, class_weights=tuple(weights.tolist()), devices=2)
    views, share, order = flat(given_views()), found.draws["beta"][0], found.draws["permutation"][0]
    shares = share.astype(np.float64)[:, None]
    mixed = shares * views["labelled"] + (1 - shares) * views["labelled"][order]
    each, label = -np.log(softmax(mixed)), views["label"]
    above = below = 0.0
    for i, j in enumerate(order):
        for part, y in ((share[i], label[i]), (1 - share[i], label[j])):
            above += part * weights[y] * each[i, y]
            below += part * weights[y]
    np.testing.assert_allclose(found.loss, above / below, rtol=1e-5)


def test_with_both_mixers_each_image_meets_either():
    n = 64
    shown = jnp.broadcast_to(jnp.arange(n, dtype=jnp.float32)[:, None, None, None], (n, 8, 8, 1))
    fn = lambda x: supervised.mixed(jax.random.key(5), x, jnp.arange(n), 1.0, 1.0)  # noqa: E731
    made = jax.vmap(fn, axis_name=parallel.AXIS)(shown[None])
    found, other, left = (np.asarray(x[0]) for x in made)
    kinds = set()
    for i, (image, j, stays) in enumerate(zip(found, other, left, strict=True)):
        pasted = np.isin(image, (i, j)).all()
        np.testing.assert_allclose(image.mean(), stays * i + (1 - stays) * j, rtol=1e-3, atol=1e-3)
        if i != j and 0.05 < stays < 0.95:
            kinds.add("cutmix" if pasted else "mixup")
            assert pasted or np.ptp(image) < 1e-4
    assert kinds == {"cutmix", "mixup"} and sorted(other) == list(range(n))
