"""Statistics of comparison against scipy, worked examples, and their symmetries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lowlabel_jax.evaluation import statistics as s

A = [0.91, 0.88, 0.93, 0.90, 0.87, 0.94, 0.89]
B = [0.89, 0.885, 0.90, 0.87, 0.88, 0.90, 0.86]
# Accuracies as they come: so many right of 128, exact in binary, and so are their differences.
accuracies = st.lists(
    st.tuples(st.integers(0, 128), st.integers(0, 128)), min_size=2, max_size=8
).map(lambda pairs: np.array(pairs).T / 128)


def test_summary_is_the_t_interval():
    found = s.summary(A)
    wanted = stats.t.interval(0.95, 6, np.mean(A), stats.sem(A))
    np.testing.assert_allclose(found["ci95"], wanted, rtol=1e-12)
    assert found["n"] == 7
    assert found["mean"] == pytest.approx(np.mean(A))
    assert found["sd"] == pytest.approx(np.std(A, ddof=1))


def test_one_value_has_a_mean_and_no_spread():
    assert s.summary([0.5]) == {"n": 1, "mean": 0.5, "sd": None, "ci95": None}


@pytest.mark.parametrize("n", [2, 3, 5, 7])
def test_paired_is_scipys_exact_permutation_test(n):
    found = s.paired(A[:n], B[:n])
    wanted = stats.permutation_test(
        (A[:n], B[:n]), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    )
    assert found["p"] == wanted.pvalue
    assert found["difference"] == pytest.approx(wanted.statistic)
    assert found["n"] == n and found["test"] == "paired sign-flip permutation (exact)"


def test_paired_interval_is_ttest_rels():
    wanted = stats.ttest_rel(A, B).confidence_interval()
    np.testing.assert_allclose(s.paired(A, B)["ci95"], [wanted.low, wanted.high], rtol=1e-9)


def test_sums_that_are_equal_on_paper_count_as_equal():
    # |3 + 1 + 2 - 1| = 5 is reached by 3 choices of signs of the 8 up to a common one: 5, 5 and 7.
    assert 0.3 + 0.1 + 0.2 - 0.1 != 0.3 - 0.1 + 0.2 + 0.1
    assert s.sign_flip_p(np.array([0.3, 0.1, 0.2, -0.1])) == 3 / 8
    assert s.sign_flip_p(np.array([0.3, -0.1, 0.2, 0.1])) == 3 / 8


def test_many_pairs_are_drawn_close_to_exact_and_never_zero():
    rng = np.random.default_rng(0)
    a = rng.normal(0.02, 0.04, 17)
    found = s.paired(a, np.zeros(17))
    exact = (np.abs(s._all_flips(a)) >= abs(a.sum())).mean()
    assert found["p"] == pytest.approx(exact, abs=0.003)
    assert found["test"] == "paired sign-flip permutation (Monte Carlo, 100,000 draws)"
    assert s.paired(np.arange(1, 41), np.zeros(40))["p"] == 1 / 100_001


def test_unpaired_is_welch():
    found, wanted = s.unpaired(A, B[:4]), stats.ttest_ind(A, B[:4], equal_var=False)
    interval = wanted.confidence_interval()
    assert found["p"] == pytest.approx(wanted.pvalue, rel=1e-9)
    np.testing.assert_allclose(found["ci95"], [interval.low, interval.high], rtol=1e-9)
    assert found["n"] == 4 and found["test"].startswith("Welch")


@pytest.mark.parametrize(("a", "b"), [([0.9], [0.8, 0.7]), ([0.9, 0.9], [0.8, 0.8])])
def test_welch_says_nothing_without_spread(a, b):
    found = s.unpaired(a, b)
    assert found["p"] is None and found["ci95"] is None and found["difference"] > 0


def test_holm_by_hand():
    # Ordered .005 .01 .03 .04 times 4 3 2 1 is .02 .03 .06 .04; the last may not fall below .06.
    assert s.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert s.holm([0.6, None, 0.7]) == [1.0, None, 1.0]
    assert s.holm([]) == []


@given(accuracies)
@settings(max_examples=60, deadline=None)
def test_exchanging_the_methods_turns_the_sign_alone(ab):
    a, b = ab
    one, two = s.paired(a, b), s.paired(b, a)
    assert one["difference"] == -two["difference"] and one["p"] == two["p"]
    np.testing.assert_allclose(one["ci95"], [-x for x in reversed(two["ci95"])], atol=1e-12)
    assert s.smallest_p(len(a)) <= one["p"] <= 1


@given(accuracies, st.integers(-64, 64))
@settings(max_examples=60, deadline=None)
def test_a_shift_of_both_methods_changes_nothing(ab, shift):
    a, b = ab
    assert s.paired(a + shift / 64, b + shift / 64) == s.paired(a, b)
    moved = s.paired(a + shift / 64, b)["difference"]
    assert moved == pytest.approx(s.paired(a, b)["difference"] + shift / 64, abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
@settings(max_examples=60, deadline=None)
def test_holm_keeps_the_order_and_only_raises(ps):
    adjusted = s.holm(ps)
    assert all(p <= q <= 1 for p, q in zip(ps, adjusted, strict=True))
    order = np.argsort(ps, kind="stable")
    assert list(np.array(adjusted)[order]) == sorted(adjusted)
    assert max(adjusted) <= min(1, len(ps) * max(ps)) + 1e-12


def test_how_many_pairs_it_takes():
    assert [s.smallest_p(n) for n in (1, 5, 6)] == [1.0, 0.0625, 0.03125]
    assert [s.fewest_pairs(m) for m in (1, 2, 3, 6)] == [6, 7, 7, 8]
    for n in range(1, 9):
        assert s.paired(np.arange(1, n + 1), np.zeros(n))["p"] == s.smallest_p(n)


def pair(n, difference=0.02, holm_p=0.03, test="paired sign-flip permutation (exact)"):
    return dict(a="x", b="y", n=n, difference=difference, holm_p=holm_p, test=test)


@pytest.mark.parametrize("n", range(1, 6))
@pytest.mark.parametrize("test", ["paired sign-flip permutation (exact)", "Welch t"])
@pytest.mark.parametrize("p", [0.0001, 0.06, 1.0, None])
def test_the_word_is_refused_below_six_seeds(n, test, p):
    words = s.verdict(pair(n, holm_p=p, test=test))
    assert "significant" not in words
    assert words.startswith(f"undecided: {n} seed")
    assert "at least 6" in words or p is None


def test_a_verdict_names_the_better_method():
    assert s.verdict(pair(6)) == "x is significantly better than y (Holm p = 0.03)"
    assert s.verdict(pair(6, -0.02)) == "y is significantly better than x (Holm p = 0.03)"
    assert s.verdict(pair(6, holm_p=None)) == "undecided: 6 seeds and no spread to test against"
    assert "0.0625; it takes at least 6" in s.verdict(pair(5, holm_p=0.0625))


def test_a_verdict_never_turns_no_evidence_into_equality():
    words = s.verdict(pair(8, holm_p=0.5))
    assert words == "no significant difference (Holm p = 0.5), which is not proof of equality"
    assert "6 comparisons take at least 8 seeds" in s.verdict(pair(7, holm_p=0.09), 6)


@pytest.mark.parametrize("values", [[], [0.5, float("nan")], [[0.5]]])
def test_what_is_no_list_of_numbers_is_refused(values):
    with pytest.raises(ValueError, match="finite numbers"):
        s.summary(values)
