"""Scores against scikit-learn and scipy, and what they say where nothing can be said."""

import json

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.evaluation import scores as s


def guesses(n, k, seed=0):
    """Probabilities [n, k] with ties among them, and labels [n] that they know something of."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k)).round(1) + 1.5 * np.eye(k)[label]
    p = np.exp(logits)
    return p / p.sum(1, keepdims=True), label


def scored(p, label):
    return s.scores(p, label, [f"class {i}" for i in range(p.shape[1])])


@pytest.mark.parametrize("k", [2, 3, 8])
def test_scores_agree_with_scikit_learn(k):
    p, label = guesses(300, k)
    found, guess = scored(p, label), p.argmax(1)
    assert found["accuracy"] == metrics.accuracy_score(label, guess)
    assert found["balanced_accuracy"] == pytest.approx(
        metrics.balanced_accuracy_score(label, guess), rel=1e-12
    )
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(label, guess, average="macro"))
    assert found["confusion"] == metrics.confusion_matrix(label, guess).tolist()
    assert found["nll"] == pytest.approx(metrics.log_loss(label, p), rel=1e-9)
    brier = metrics.brier_score_loss(label, p if k > 2 else p[:, 1], scale_by_half=False)
    assert found["brier"] == pytest.approx(brier, rel=1e-12)
    precision, recall, f1, n = metrics.precision_recall_fscore_support(label, guess)
    for column, wanted in (("precision", precision), ("recall", recall), ("f1", f1), ("n", n)):
        np.testing.assert_allclose([c[column] for c in found["per_class"]], wanted, rtol=1e-12)


def test_two_classes_are_ranked_as_scikit_learn_ranks_them():
    p, label = guesses(300, 2)
    assert len(np.unique(p[:, 1])) < 200, "the ties are the point"
    found = scored(p, label)
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(label, p[:, 1]), rel=1e-12)
    wanted = metrics.average_precision_score(label, p[:, 1])
    assert found["average_precision"] == pytest.approx(wanted, rel=1e-12)
    assert (found["positive"], found["ranked_classes"]) == ("class 1", 1)


@pytest.mark.parametrize("k", [3, 8])
def test_more_classes_are_ranked_each_against_the_rest(k):
    p, label = guesses(300, k)
    found = scored(p, label)
    auroc = metrics.roc_auc_score(label, p, multi_class="ovr", average="macro")
    assert found["auroc"] == pytest.approx(auroc, rel=1e-12)
    wanted = metrics.average_precision_score(np.eye(k)[label], p, average="macro")
    assert found["average_precision"] == pytest.approx(wanted, rel=1e-12)
    assert found["ranked_classes"] == k and "positive" not in found


def test_a_class_without_examples_is_left_out_of_the_ranking():
    p, label = guesses(300, 5)
    label[label == 3] = 2
    found, there = scored(p, label), [0, 1, 2, 4]
    auroc = np.mean([metrics.roc_auc_score(label == c, p[:, c]) for c in there])
    assert found["auroc"] == pytest.approx(auroc, rel=1e-12)
    wanted = [metrics.average_precision_score(label == c, p[:, c]) for c in there]
    assert found["average_precision"] == pytest.approx(np.mean(wanted), rel=1e-12)
    assert found["ranked_classes"] == 4


def test_top_5_is_reported_beyond_five_classes_only():
    p, label = guesses(300, 8)
    p += 1e-9 * np.arange(8)  # no ties: scikit-learn breaks them the other way
    assert scored(p, label)["top_5"] == metrics.top_k_accuracy_score(label, p, k=5)
    assert "top_5" not in scored(*guesses(20, 5))


def test_ties_at_the_top_go_to_the_first_class_as_argmax_has_it():
    p = np.full((1, 8), 1 / 8)
    assert [s.top(5, p, np.array([label])) for label in (4, 5)] == [1, 0]


def test_calibration_error_agrees_with_a_loop_over_the_definition():
    p, label = guesses(500, 3)
    confidence, right = p.max(1), p.argmax(1) == label
    wanted = 0.0
    for m in range(15):  # bin m is (m/15, (m+1)/15], Guo et al., section 3
        inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if inside.any():
            wanted += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert scored(p, label)["ece"] == pytest.approx(wanted, rel=1e-9)


def test_reliability_bins_hold_every_example_once_edges_below():
    confidence = np.array([0.0, 0.2, 0.2000001, 1.0])
    bins = s.reliability(confidence, np.array([False, True, True, True]))
    assert {i: b["n"] for i, b in enumerate(bins) if b["n"]} == {0: 1, 2: 1, 3: 1, 14: 1}
    assert bins[1]["accuracy"] is None and bins[2]["accuracy"] == 1.0
    assert bins[2]["high"] == 0.2


def test_interval_of_accuracy_is_the_bootstraps():
    low, high = s.accuracy_interval(270, 360)
    resamples = stats.bootstrap(
        (np.arange(360) < 270,), np.mean, method="percentile", n_resamples=5000, rng=1
    )
    wanted = resamples.confidence_interval
    np.testing.assert_allclose([low, high], [wanted.low, wanted.high], atol=0.005)
    assert s.accuracy_interval(270, 360) == [low, high], "the same set, the same interval"


@pytest.mark.parametrize("correct", [0, 20])
def test_interval_never_claims_certainty(correct):
    wanted = stats.binomtest(correct, 20).proportion_ci(0.95, "exact")
    np.testing.assert_allclose(s.accuracy_interval(correct, 20), [wanted.low, wanted.high])


def test_a_class_without_examples_or_guesses_is_none_and_not_zero():
    p, label = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0]]), np.array([0, 1])
    found = scored(p, label)
    assert [c["recall"] for c in found["per_class"]] == [1.0, 0.0, None]
    assert [c["precision"] for c in found["per_class"]] == [0.5, None, None]
    assert [c["f1"] for c in found["per_class"]] == [2 / 3, 0.0, None]
    assert found["balanced_accuracy"] == 0.5 and found["macro_f1"] == 1 / 3


def test_ranking_is_none_where_a_class_is_missing():
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert scored(p, np.array([0, 0]))["auroc"] is None
    assert scored(p, np.array([0, 0]))["average_precision"] is None
    assert scored(p, np.array([1, 1]))["auroc"] is None
    assert scored(np.full((2, 3), 1 / 3), np.array([2, 2]))["auroc"] is None


def test_a_sure_and_wrong_guess_costs_a_bounded_amount():
    assert scored(np.array([[1.0, 0.0]]), np.array([1]))["nll"] == pytest.approx(15.942385)


def test_scores_are_json_and_the_same_for_float32():
    p, label = guesses(60, 7)
    p = p.astype(np.float32)
    found = scored(p, label)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found == scored(p.astype(np.float64), label.astype(np.uint8))


def test_an_empty_set_says_so():
    with pytest.raises(UserError, match="no examples"):
        scored(np.zeros((0, 3)), np.zeros(0, int))


def test_probabilities_that_are_not_finite_are_counted_and_named():
    p, label = guesses(10, 3)
    p[4, 1] = np.nan
    p[7, 0] = np.inf
    with pytest.raises(UserError, match=r"2 of 10 examples are not finite \(first: 4\)"):
        scored(p, label)


@pytest.mark.parametrize(
    ("p", "label", "message"),
    [
        ([[0.5, 0.5]], [0, 1], "do not go together"),
        ([[3.0, -2.0]], [0], "row 0 is not probabilities"),
        ([[0.5, 0.9]], [0], "row 0 is not probabilities"),
        ([[0.5, 0.5]], [2], "from 0 to 1"),
        ([[0.5, 0.5]], [-1], "from 0 to 1"),
        ([[0.5, 0.5]], [0.0], "must be integers"),
    ],
)
def test_what_cannot_be_scored_is_refused(p, label, message):
    with pytest.raises(ValueError, match=message):
        scored(np.array(p), np.array(label))
