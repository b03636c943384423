"""Probabilities that mean what they say: one temperature, fitted on the validation set alone.

Guo et al. 2017, arXiv:1706.04599, section 4.2. Letters: `n` examples, `k` classes.
"""

from typing import Any

import numpy as np

from lowlabel_jax.evaluation.scores import expected_calibration_error, nll, reliability

FEWEST = 20  # validation images: from fewer a temperature says more of chance than of the network
LOWEST, HIGHEST = 0.05, 20.0  # logits times 20, or a twentieth of them
TINY = float(np.finfo(np.float32).tiny)  # what stands for a probability that was rounded to zero


def temperature_scaling(
    validation: tuple[np.ndarray, np.ndarray], p: np.ndarray, label: np.ndarray
) -> dict[str, Any] | None:
    """What a temperature makes of probabilities p [n, k] for labels [n]; ready for JSON.

    validation: (probabilities, labels) it is fitted on; None where they are fewer than 20 images or
    of one class. No guess changes, so no accuracy does. `at_bound` says that no temperature from
    0.05 to 20 was best: the validation set is told apart without an error (0.05), or not at all.
    """
    given, truth = validation
    if len(truth) < FEWEST or len(np.unique(truth)) < 2:
        return None
    temperature = fit_temperature(log_of(given), truth)
    q = scaled(p, temperature)
    return {
        "temperature": temperature,
        "at_bound": temperature in (LOWEST, HIGHEST),
        "fitted_on": "validation",
        "fitted_n": len(truth),
        "nll_scaled": nll(q, label),
        "ece_scaled": expected_calibration_error(reliability(q.max(1), q.argmax(1) == label)),
    }


def fit_temperature(logits: np.ndarray, label: np.ndarray) -> float:
    """The T from 0.05 to 20 with the least NLL of softmax(logits / T): logits [n, k], labels [n].

    The NLL is convex in 1 / T, so a search on a line finds its least value. It is never above that
    of T = 1, and 1 is the answer where no T is better.
    """
    from scipy.optimize import minimize_scalar

    z = np.asarray(logits, np.float64)
    right = z[np.arange(len(z)), label]

    def loss(log_t: float) -> float:
        return float((_log_sum_exp(z / np.exp(log_t)) - right / np.exp(log_t)).mean())

    bounds = (np.log(LOWEST), np.log(HIGHEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    # The search stays off its bounds: they are tried by themselves, and so is no scaling at all.
    tried = {1.0: 0.0, LOWEST: bounds[0], HIGHEST: bounds[1], float(np.exp(found.x)): found.x}
    return min(tried, key=lambda t: loss(tried[t]))


def scaled(p: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / temperature), float64 [n, k]: probabilities [n, k] made softer or sharper."""
    z = log_of(p) / temperature
    return np.exp(z - _log_sum_exp(z)[:, None])


def log_of(p: np.ndarray) -> np.ndarray:
    """Logits [n, k] of probabilities [n, k]: their log, zeros taken for float32's tiny, 1.2e-38."""
    return np.log(np.maximum(np.asarray(p, np.float64), TINY))


def _log_sum_exp(z: np.ndarray) -> np.ndarray:
    top = z.max(1)
    return top + np.log(np.exp(z - top[:, None]).sum(1))
