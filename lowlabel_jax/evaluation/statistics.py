"""Which method is better, and how sure that is: means with intervals, paired tests, Holm, words.

One value is one seed. The intervals are Student's t; the p-values of paired seeds come from
flipping signs, which assumes only that equal methods would differ either way equally often.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

EXACT_UP_TO = 16  # 2^16 sign flips are enumerated; beyond, they are drawn
DRAWS = 100_000
LEVEL = 0.05


def summary(values: Sequence[float] | np.ndarray) -> dict[str, Any]:
    """n, mean, sd (n - 1) and the 95 % t interval of the mean; sd and ci95 are None for n = 1."""
    x = _values(values)
    if len(x) == 1:
        return {"n": 1, "mean": float(x[0]), "sd": None, "ci95": None}
    mean, sd = float(x.mean()), float(x.std(ddof=1))
    return {"n": len(x), "mean": mean, "sd": sd, "ci95": _t_interval(mean, _error(x), len(x) - 1)}


def paired(a: Sequence[float], b: Sequence[float]) -> dict[str, Any]:
    """The mean of a - b over pairs, its 95 % t interval, and the sign-flip p-value, two-sided."""
    d = _values(np.subtract(_values(a), _values(b)))
    kind = "exact" if len(d) <= EXACT_UP_TO else f"Monte Carlo, {DRAWS:,} draws"
    return {
        "n": len(d),
        "difference": float(d.mean()),
        "ci95": summary(d)["ci95"],
        "p": sign_flip_p(d),
        "test": f"paired sign-flip permutation ({kind})",
    }


def unpaired(a: Sequence[float], b: Sequence[float]) -> dict[str, Any]:
    """Welch's t-test of mean a - mean b, for seeds that do not pair; n is the smaller group's.

    ci95 and p are None where a group has one value, or neither has any spread.
    """
    from scipy.special import stdtr

    x, y = _values(a), _values(b)
    found = {"n": min(len(x), len(y)), "difference": float(x.mean() - y.mean())}
    found |= {"ci95": None, "p": None, "test": "Welch t (seeds do not pair)"}
    if found["n"] < 2 or not (error := float(np.hypot(_error(x), _error(y)))):
        return found
    freedom = error**4 / (_error(x) ** 4 / (len(x) - 1) + _error(y) ** 4 / (len(y) - 1))
    found["ci95"] = _t_interval(found["difference"], error, freedom)
    found["p"] = float(2 * stdtr(freedom, -abs(found["difference"]) / error))
    return found


def sign_flip_p(differences: np.ndarray, seed: int = 0) -> float:
    """How often flipped signs of differences [n] give a mean at least as far from 0, two-sided.

    Exact over all 2^n flips for n <= 16. Beyond, 100,000 seeded draws, and the observed signs count
    as one more, so that p is never 0 (Phipson and Smyth 2010).
    """
    exact = len(differences) <= EXACT_UP_TO
    sums = _all_flips(differences) if exact else _drawn_flips(differences, seed)
    # Sums that are equal on paper differ in the last digits: 0.3 + 0.2 - 0.1 is not 0.3 + 0.1.
    slack = 1e-9 * np.abs(differences).sum()
    reached = int((np.abs(sums) >= abs(differences.sum()) - slack).sum())
    return reached / len(sums) if exact else (reached + 1) / (DRAWS + 1)


def smallest_p(n: int) -> float:
    """The least two-sided p that n pairs can reach: all differences of one sign, 2 in 2^n."""
    return 2 / 2**n


def fewest_pairs(comparisons: int = 1) -> int:
    """How many pairs it takes before p < 0.05 is possible for each of so many comparisons."""
    return next(n for n in range(1, 1000) if comparisons * smallest_p(n) < LEVEL)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment for testing several; a None is no test and stays None."""
    order = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    adjusted: list[float | None] = [None] * len(ps)
    least = 0.0
    for rank, (p, i) in enumerate(order):
        adjusted[i] = least = min(1.0, max(least, (len(order) - rank) * p))
    return adjusted


def verdict(pair: Mapping[str, Any], comparisons: int = 1) -> str:
    """What a reader may conclude from a pair {a, b, n, difference, test, holm_p}, in words.

    The word "significant" is not used, with or without "not", where n seeds could never earn it.
    """
    n, p, need = pair["n"], pair["holm_p"], fewest_pairs(comparisons)
    seeds = f"{n} seed{'s' * (n != 1)}"
    if p is None:
        return f"undecided: {seeds} and no spread to test against"
    if n < fewest_pairs():
        takes = f"it takes at least {need}{f' for {comparisons} comparisons' * (comparisons > 1)}"
        if pair["test"].startswith("Welch"):
            return f"undecided: {seeds} that do not pair are too few to trust a t-test; {takes}"
        return f"undecided: {seeds} cannot give p below {smallest_p(n):.3g}; {takes}"
    if p < LEVEL:
        better, worse = (pair["a"], pair["b"])[:: 1 if pair["difference"] > 0 else -1]
        return f"{better} is significantly better than {worse} (Holm p = {p:.3g})"
    more = f"; {comparisons} comparisons take at least {need} seeds" if n < need else ""
    return f"no significant difference (Holm p = {p:.3g}), which is not proof of equality{more}"


def _all_flips(differences: np.ndarray) -> np.ndarray:
    """differences [n] -> [2^n] sums, one for each choice of signs."""
    sums = np.zeros(1)
    for d in differences:
        sums = np.concatenate([sums + d, sums - d])
    return sums


def _drawn_flips(differences: np.ndarray, seed: int) -> np.ndarray:
    """differences [n] -> [draws] sums with random signs; a difference at a time saves memory."""
    rng = np.random.default_rng(seed)
    sums = np.zeros(DRAWS)
    for d in differences:
        sums += d * (2 * rng.integers(0, 2, DRAWS) - 1)
    return sums


def _values(values: Sequence[float] | np.ndarray) -> np.ndarray:
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise ValueError(f"wanted a list of finite numbers, one a seed, got {values!r}.")
    return x


def _error(x: np.ndarray) -> float:
    """The standard error of the mean of x [n], n > 1."""
    return float(x.std(ddof=1)) / len(x) ** 0.5


def _t_interval(mean: float, error: float, freedom: float) -> list[float]:
    from scipy.special import stdtrit

    half = float(stdtrit(freedom, 0.975)) * error
    return [mean - half, mean + half]
