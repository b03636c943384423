"""The plateau detector on curves that are known: how early it stops and what is lost by it.

`python -m tests.test_plateau` prints the table of lowlabel_jax/training/plateau.py.
"""

import itertools
import math

import numpy as np
import pytest

from lowlabel_jax.configuration.check import LEAST_PLATEAU
from lowlabel_jax.training.plateau import ALPHA, stabilised

LOOKS = np.arange(100)
CURVES = {  # a loss at each of 100 looks; what can be gained is 1
    "falls, e-fold in 5": np.exp(-LOOKS / 5),
    "falls, e-fold in 10": np.exp(-LOOKS / 10),
    "falls, e-fold in 30": np.exp(-LOOKS / 30),
    "falls in a line": 1 - LOOKS / 99,
    "falls to look 15, rises": np.where(LOOKS < 15, np.exp(-LOOKS / 5), 0.05 + LOOKS / 50 - 0.3),
    "falls, again from look 60": (np.exp(-LOOKS / 5) + (LOOKS < 60)) / 2,
}


def stop(losses, window):
    """How many looks are taken before the phase ends."""
    looks = range(1, len(losses) + 1)
    return next((n for n in looks if stabilised(losses[:n], window)), len(losses))


def stops(curve, noise, window, seeds=10):
    """[seeds] looks that are taken of a curve with normal noise."""
    drawn = (np.random.default_rng(seed).normal(size=len(curve)) for seed in range(seeds))
    return np.array([stop([*(curve + noise * each)], window) for each in drawn])


def lost(curve, taken):
    """The share of the attainable fall that is not had, mean over runs: noise is not counted."""
    best = np.minimum.accumulate(curve)[taken - 1]
    return float(((best - curve.min()) / (curve[0] - curve.min())).mean())


def test_p_is_the_share_of_all_orders_that_fall_as_much():
    """By counting orders, not by the test's own arithmetic."""
    every = [*itertools.permutations(range(5))]
    pairs = [*itertools.combinations(range(5), 2)]
    rises = [sum(order[i] < order[j] for i, j in pairs) for order in every]
    for order, found in zip(every, rises, strict=True):
        share = sum(other <= found for other in rises) / math.factorial(5)
        assert stabilised([float(x) for x in order], 5) == (share > ALPHA)


def test_only_the_last_looks_count_and_all_of_them():
    falling, flat = [9.0, 8.0, 7.0, 6.0, 5.0], [1.0, 1.3, 1.1, 1.4, 1.2]
    assert not stabilised(falling, 5) and stabilised(falling + flat, 5)
    assert not stabilised(flat + falling, 5) and not stabilised(flat[:4], 5)
    assert not stabilised(falling + flat, 10)  # the fall from one to the other


def test_losses_that_are_all_alike_have_stabilised():
    assert stabilised([0.5] * 5, 5)


@pytest.mark.parametrize("window", [5, 10, 20])
def test_flat_noise_is_seen_soon(window):
    taken = stops(np.zeros(100), 1.0, window, seeds=40)
    assert taken.min() == window and taken.mean() < 1.35 * window and taken.max() <= 3 * window


@pytest.mark.parametrize("noise", [0.01, 0.05, 0.15])
def test_overfitting_is_seen_within_a_window_of_its_turn(noise):
    taken = stops(CURVES["falls to look 15, rises"], noise, 10)
    assert taken.min() >= 12 and taken.max() <= 15 + 10


def test_little_of_a_fall_is_lost_where_the_window_spans_the_noise():
    """Bounds a little above what the table in plateau.py says."""
    for curve, noise, window, most in (
        ("falls, e-fold in 5", 0.01, 5, 0.05),
        ("falls, e-fold in 5", 0.05, 10, 0.02),
        ("falls, e-fold in 10", 0.05, 10, 0.08),
        ("falls, e-fold in 30", 0.05, 20, 0.06),
        ("falls in a line", 0.01, 10, 0.01),
        ("falls in a line", 0.05, 20, 0.05),
    ):
        taken = stops(CURVES[curve], noise, window, seeds=4)
        assert lost(CURVES[curve], taken) < most, (curve, noise)


def test_a_longer_window_loses_less_and_a_second_fall_is_only_seen_by_a_window_that_spans_it():
    slow, twice = CURVES["falls, e-fold in 30"], CURVES["falls, again from look 60"]
    shares = [lost(slow, stops(slow, 0.05, window, seeds=5)) for window in (5, 10, 20)]
    assert shares[0] > shares[1] > shares[2]
    assert lost(twice, stops(twice, 0.01, 10)) > 0.45  # what no look has shown yet
    assert lost(twice, stops(twice, 0.01, 40, seeds=5)) < 0.2


def test_a_window_that_is_allowed_can_tell_a_fall():
    """The strictest order of so many has less chance than ALPHA by a wide margin."""
    assert 1 / math.factorial(LEAST_PLATEAU) < ALPHA / 50 < 1 / math.factorial(LEAST_PLATEAU - 1)


def table(seeds=40):
    """The rows of the table in plateau.py."""
    for name, curve in CURVES.items():
        row = [stops(curve, noise, window, seeds) for noise, window in COLUMNS]
        cells = (f"{np.median(taken):3.0f} {lost(curve, taken):5.1%}" for taken in row)
        yield f"{name:27}" + "  ".join(cells)


COLUMNS = tuple(itertools.product((0.01, 0.05, 0.15), (5, 10, 20)))

if __name__ == "__main__":
    print("\n".join(table()))
