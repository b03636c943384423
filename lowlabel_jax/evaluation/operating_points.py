"""Where to draw the line between two classes so that what is flagged is right often enough.

The line is drawn on the validation set; what it gives on the test set stands beside it.
Letters: `n` examples. An example is flagged where its score is the threshold or above.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lowlabel_jax.evaluation.scores import by_level

WANTED = (0.90, 0.95, 0.99)

Ranked = tuple[np.ndarray, np.ndarray]  # positive bool [n], score [n]


def operating_points(
    validation: Ranked, test: Ranked, wanted: Sequence[float] = WANTED
) -> list[dict[str, Any]]:
    """For each wanted precision the threshold from validation, and what it gives on both sets.

    threshold, validation and test are None where no threshold reaches the precision.
    """
    points = []
    for precision in wanted:
        chosen = threshold_for(precision, *validation)
        given = chosen and at_threshold(chosen["threshold"], *test)
        threshold = chosen and chosen["threshold"]
        points.append(
            {"wanted": precision, "threshold": threshold, "validation": chosen, "test": given}
        )
    return points


def threshold_for(
    precision: float, positive: np.ndarray, score: np.ndarray
) -> dict[str, Any] | None:
    """The lowest threshold with at least this precision on positive [n], score [n]; None if none.

    The lowest finds the most. Equal scores are flagged together. It is no promise for other images:
    the threshold was chosen to look well on these, few may lie above it, and `precision_ci95`, the
    exact interval, knows nothing of the choice.
    """
    hits, misses = np.cumsum(by_level(positive, score), axis=1)
    reached = np.flatnonzero(hits / (hits + misses) >= precision)
    if not len(reached):
        return None
    lowest = float(np.unique(score)[::-1][reached[-1]])
    return at_threshold(lowest, positive, score)


def at_threshold(threshold: float, positive: np.ndarray, score: np.ndarray) -> dict[str, Any]:
    """What flagging from a threshold gives on positive [n], score [n].

    precision is None where nothing is flagged, recall where nothing is positive; `flagged` is the
    share of all images that is.
    """
    above = score >= threshold
    n_above, hits, known = (int(x.sum()) for x in (above, above & positive, positive))
    return {
        "threshold": threshold,
        "precision": hits / n_above if n_above else None,
        "precision_ci95": exact_interval(hits, n_above) if n_above else None,
        "recall": hits / known if known else None,
        "flagged": n_above / len(score),
        "n_above": n_above,
    }


def exact_interval(hits: int, n: int) -> list[float]:
    """The 95 % interval of a share, hits of n, by Clopper and Pearson: if anything too wide."""
    from scipy.special import betaincinv

    low = float(betaincinv(hits, n - hits + 1, 0.025)) if hits else 0.0
    high = float(betaincinv(hits + 1, n - hits, 0.975)) if hits < n else 1.0
    return [low, high]
