"""Temperatures and thresholds against brute force, scipy and scikit-learn; then in a whole run."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from sklearn import metrics

from lowlabel_jax.core import files
from lowlabel_jax.evaluation import calibration as c
from lowlabel_jax.evaluation import operating_points as o
from lowlabel_jax.evaluation.scores import scores
from lowlabel_jax.runs import evaluate
from lowlabel_jax.runs.train import train
from tests.tiny import config


def honest(n, k, seed=0):
    """Logits [n, k] and labels [n] that are drawn from their softmax."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, k)) * 1.5
    return logits, np.array([rng.choice(k, p=p) for p in special.softmax(logits, axis=1)])


def loss(logits, label, temperature):
    """The NLL by scipy."""
    log_probs = special.log_softmax(logits / temperature, axis=1)
    return -log_probs[np.arange(len(label)), label].mean()


# --- temperature -------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found_again(times):
    logits, label = honest(20_000, 4)
    assert c.fit_temperature(times * logits, label) == pytest.approx(times, rel=0.03)


@pytest.mark.parametrize(("k", "seed"), [(2, 0), (3, 1), (10, 2)])
def test_the_temperature_is_the_best_of_a_fine_grid(k, seed):
    logits, label = honest(60, k, seed)
    logits = 2.5 * logits
    grid = np.geomspace(0.05, 20, 4001)
    losses = [loss(logits, label, t) for t in grid]
    found = c.fit_temperature(logits, label)
    assert loss(logits, label, found) <= min(losses)
    assert found == pytest.approx(grid[np.argmin(losses)], rel=0.002)


def test_where_no_temperature_is_best_it_is_the_bound_and_says_so():
    label = np.arange(40) % 2
    right = np.where(np.eye(2)[label] > 0, 0.8, 0.2)
    for p, bound in ((right, 0.05), (1 - right, 20.0)):
        found = c.temperature_scaling((p, label), p, label)
        assert found and found["temperature"] == bound and found["at_bound"] is True
    found = c.temperature_scaling((right, np.r_[label[1:], 0]), right, label)
    assert found and found["at_bound"], "always wrong, too"
    found = c.temperature_scaling((right, np.r_[label[:30], 1 - label[30:]]), right, label)
    assert found and not found["at_bound"]


def test_guesses_that_say_nothing_are_left_alone():
    assert c.fit_temperature(np.zeros((30, 3)), np.arange(30) % 3) == 1.0


@given(st.integers(0, 10_000), st.floats(0.05, 20))
@settings(max_examples=60, deadline=None)
def test_no_temperature_changes_a_guess(seed, temperature):
    """Not where float32 has rounded to zeros, nor where two classes differ in the last bit."""
    logits = np.random.default_rng(seed).normal(size=(20, 5)).astype(np.float32) * 40
    p = special.softmax(logits, axis=1)
    p = np.concatenate([p, np.float32([[0.5, np.nextafter(np.float32(0.5), 1), 0, 0, 0]])])
    assert p.dtype == np.float32 and (p == 0).any()
    q = c.scaled(p, temperature)
    assert (q.argmax(1) == p.argmax(1)).all()
    np.testing.assert_allclose(q.sum(1), 1, rtol=1e-12)


def test_scaling_is_softmax_of_logits_over_temperature():
    logits, _ = honest(50, 6)
    p = special.softmax(logits, axis=1)
    np.testing.assert_allclose(c.scaled(p, 2.5), special.softmax(logits / 2.5, axis=1), rtol=1e-9)
    np.testing.assert_allclose(c.scaled(p, 1.0), p, rtol=1e-9)


def test_one_sure_and_wrong_guess_among_the_validation_images_is_finite():
    p, label = np.tile([[1.0, 0.0], [0.0, 1.0]], (20, 1)), np.tile([0, 1], 20)
    label[0] = 1
    found = c.temperature_scaling((p, label), p, label)
    # 39 of 40 are right, by 87.3 in the logits: best where 87.3 / T = log 39, T = 23.8
    assert found and found["temperature"] == 20.0 and found["at_bound"]
    assert np.isfinite([found["nll_scaled"], found["ece_scaled"]]).all()
    assert found["nll_scaled"] < scores(p, label, "ab")["nll"]


def test_scaled_numbers_are_those_of_scaled_probabilities_and_mend_what_is_too_sure():
    logits, label = honest(4000, 3)
    p = special.softmax(4 * logits, axis=1)
    half = slice(0, 2000), slice(2000, 4000)
    (known, truth), (shown, wanted) = ((p[s], label[s]) for s in half)
    found = c.temperature_scaling((known, truth), shown, wanted)
    before = scores(shown, wanted, "abc")
    assert found and found["fitted_on"] == "validation" and found["fitted_n"] == 2000
    assert found["temperature"] == pytest.approx(4, rel=0.1)
    q = special.softmax(4 * logits[half[1]] / found["temperature"], axis=1)
    assert found["nll_scaled"] == pytest.approx(metrics.log_loss(wanted, q), rel=1e-6)
    after = scores(q, wanted, "abc")
    assert found["ece_scaled"] == pytest.approx(after["ece"], rel=1e-6)
    assert after["accuracy"] == before["accuracy"]
    assert found["nll_scaled"] < before["nll"] - 0.5 and found["ece_scaled"] < before["ece"] / 4
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_temperature_knows_the_validation_set_only():
    logits, label = honest(200, 3)
    p = special.softmax(2 * logits, axis=1)
    known = (p[:100], label[:100])
    one = c.temperature_scaling(known, p[100:], label[100:])
    other = c.temperature_scaling(known, p[100:150] ** 0 / 3, label[100:150])
    assert one and other and one["temperature"] == other["temperature"]
    assert one["nll_scaled"] != other["nll_scaled"]


@pytest.mark.parametrize("label", [np.arange(19) % 2, np.zeros(30, int), np.zeros(0, int)])
def test_from_too_little_no_temperature_is_made(label):
    p = np.full((len(label), 2), 0.5)
    assert c.temperature_scaling((p, label), p, label) is None


# --- thresholds --------------------------------------------------------------------------------

SCORES = st.lists(
    st.tuples(st.booleans(), st.integers(0, 8)), min_size=1, max_size=30
)  # few levels: many ties


def ranked(n, seed):
    """Positives [n] and scores [n] that know something of them, float32 with ties."""
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.3
    score = special.expit(rng.normal(size=n).round(1) + 2.5 * positive - 1)
    return positive, score.astype(np.float32)


def by_trying(precision, positive, score):
    """The lowest score from which at least so many of those flagged are positive."""
    fine = [t for t in score if positive[score >= t].mean() >= precision]
    return min(fine, default=None)


@given(SCORES, st.sampled_from([0.1, 0.5, 2 / 3, 0.9, 0.95, 1.0]))
@settings(max_examples=300, deadline=None)
def test_the_threshold_is_the_lowest_that_reaches_the_precision(pairs, precision):
    positive, score = np.array([p for p, _ in pairs]), np.array([s / 8 for _, s in pairs])
    found = o.threshold_for(precision, positive, score)
    wanted = by_trying(precision, positive, score)
    if found is None or wanted is None:
        assert found is None and wanted is None
        return
    flagged = score >= wanted
    assert found["threshold"] == wanted and found["n_above"] == flagged.sum()
    assert found["precision"] == metrics.precision_score(positive, flagged) >= precision
    assert found["recall"] == metrics.recall_score(positive, flagged)
    assert found["flagged"] == flagged.mean()


@pytest.mark.parametrize("precision", [0.9, 0.95, 0.99])
def test_thresholds_agree_with_scikit_learns_curve(precision):
    positive, score = ranked(400, 3)
    curve, recall, at = metrics.precision_recall_curve(positive, score)
    first = np.flatnonzero(curve[:-1] >= precision)[0]
    found = o.threshold_for(precision, positive, score)
    assert found and found["threshold"] == at[first]
    assert (found["precision"], found["recall"]) == (curve[first], recall[first])


def test_a_precision_that_is_reached_exactly_counts():
    """9 of 10, 27 of 30 and 19 of 20: no rounding may turn them away."""
    for hits, n, precision in ((9, 10, 0.9), (27, 30, 0.9), (19, 20, 0.95), (99, 100, 0.99)):
        found = o.threshold_for(precision, np.arange(n) < hits, np.full(n, 0.7))
        assert found and found["n_above"] == n


def test_float32_scores_are_flagged_by_the_threshold_that_json_keeps():
    positive, score = ranked(400, 5)
    found = json.loads(json.dumps(o.threshold_for(0.9, positive, score)))
    assert score.dtype == np.float32
    assert (score >= found["threshold"]).sum() == found["n_above"]
    assert (score.astype(np.float64) >= found["threshold"]).sum() == found["n_above"]


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (5, 5), (3, 10), (90, 100), (1, 1)])
def test_the_interval_is_scipys_exact_one(hits, n):
    wanted = stats.binomtest(hits, n).proportion_ci(0.95, "exact")
    np.testing.assert_allclose(o.exact_interval(hits, n), [wanted.low, wanted.high], rtol=1e-9)


def test_points_are_chosen_on_validation_and_read_on_test():
    validation, test = ranked(500, 0), ranked(300, 1)
    points = o.operating_points(validation, test)
    assert [p["wanted"] for p in points] == [0.9, 0.95, 0.99]
    for point in points:
        assert point["validation"] == o.threshold_for(point["wanted"], *validation)
        flagged = test[1] >= point["threshold"]
        assert point["test"]["precision"] == metrics.precision_score(test[0], flagged)
        assert point["test"]["recall"] == metrics.recall_score(test[0], flagged)
        assert point["test"]["flagged"] == flagged.mean()
    assert json.loads(json.dumps(points, allow_nan=False)) == points


def test_what_cannot_be_said_of_a_threshold_is_none():
    never = (np.array([False, True, False]), np.array([0.9, 0.5, 0.4]))
    (point,) = o.operating_points(never, never, [0.95])
    assert point == {"wanted": 0.95, "threshold": None, "validation": None, "test": None}
    nobody = o.at_threshold(0.5, np.zeros(2, bool), np.array([0.1, 0.2]))
    assert (nobody["precision"], nobody["precision_ci95"], nobody["recall"]) == (None,) * 3
    assert nobody["flagged"] == 0.0 and nobody["n_above"] == 0
    assert o.threshold_for(0.9, np.zeros(3, bool), np.arange(3)) is None


# --- in a run ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that tells fours from nines, four of these to one of those; 30 validation images."""
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("binary")
    images, label = load_digits(return_X_y=True)
    chosen = np.isin(label, (4, 9))
    images, label = (images[chosen] * 15.9).astype(np.uint8), (label[chosen] == 9).astype(int)
    sets = {"x_train": images[:200], "y_train": label[:200], "x_test": images[200:]}
    names = np.array(["four", "nine"])
    np.savez(
        folder / "set.npz",
        **{k: v.reshape(-1, 8, 8) if k[0] == "x" else v for k, v in sets.items()},
        y_test=label[200:],
        class_names=names,
    )
    made = config(
        "supervised",
        "--config.source.name=arrays",
        f"--config.source.path={folder / 'set.npz'}",
        "--config.split.validation.per_class=15",
        "--config.split.labelled.per_class=10",
        "--config.ema.decay=0.5",
    )
    numbers = train(made, folder / "run")
    return folder / "run", numbers["test"]


def guesses(run, name):
    with np.load(run / "predictions" / f"{name}.npz") as kept:
        return dict(kept)


def test_a_binary_run_ends_with_its_points_and_its_temperature(finished):
    run, numbers = finished
    kept = files.read_json(run / "eval" / "test.json")
    assert kept == numbers and kept["positive"] == "nine" and "top_5" not in kept
    there, here = guesses(run, "validation"), guesses(run, "test")
    scaling = kept["temperature_scaling"]
    assert scaling["temperature"] == c.fit_temperature(c.log_of(there["ema"]), there["label"])
    assert scaling["fitted_n"] == 30
    assert kept["operating_points"] == o.operating_points(
        (there["label"] == 1, there["ema"][:, 1]), (here["label"] == 1, here["ema"][:, 1])
    )
    assert kept["auroc"] == pytest.approx(metrics.roc_auc_score(here["label"], here["ema"][:, 1]))
    assert "temperature_scaling" not in files.read_json(run / "eval" / "validation.json")


def test_evaluating_it_again_gives_the_same_and_a_page(finished):
    run, numbers = finished
    again = evaluate.evaluate(run, "test")
    assert again == files.read_json(run / "eval" / "test.json") == numbers
    fitted_on = evaluate.evaluate(run, "validation")
    assert not {"temperature_scaling", "operating_points"} & set(fitted_on), "it would flatter"
    page = evaluate.page(again)
    assert f"T = {again['temperature_scaling']['temperature']:.3f}" in page
    assert "wanted precision of nine" in page and "macro-F1" in page
    precision, recall, f1 = (again["per_class"][1][k] for k in ("precision", "recall", "f1"))
    (row,) = (line.split() for line in page.splitlines() if line.startswith("nine"))
    shown = ["-" if v is None else f"{v:.3f}" for v in (recall, precision, f1)]
    assert row[2:] == shown
    assert page.count("\n0.") + page.count("\n  0.") == 3, "a row for each wanted precision"


def test_validation_guesses_of_another_step_are_not_used(finished):
    run, numbers = finished
    place = run / "predictions" / "validation.npz"
    before, kept = place.read_bytes(), guesses(run, "validation")
    try:
        np.savez(place, **{**kept, "step": kept["step"] + 1})
        assert not {"temperature_scaling", "operating_points"} & set(evaluate.evaluate(run, "test"))
        np.savez(place, **{k: v for k, v in kept.items() if k != "step"})
        found = evaluate.evaluate(run, "test")
        assert "operating_points" not in found
        assert "wanted precision" not in evaluate.page(found)
    finally:
        place.write_bytes(before)
    assert evaluate.evaluate(run, "test") == numbers
