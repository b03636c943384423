"""Which guesses to keep: the surest, so many of each class; and how often such guesses are right.

Letters: `n` images, `k` classes. numpy only.
"""

from typing import Any

import numpy as np

Z = 1.959963984540054  # the normal distribution's 97.5 % quantile


def surest(p: np.ndarray, least: float, per_class: int = 0) -> np.ndarray:
    """int [m], sorted: the places in p [n, k] whose likeliest class has at least `least`.

    per_class: of each guessed class only so many, the surest, the first of equal ones; 0: all.
    """
    guess, sure = p.argmax(1), p.max(1)
    kept = np.flatnonzero(sure >= least)
    if not per_class:
        return kept
    order = kept[np.argsort(-sure[kept], kind="stable")]
    return np.sort(
        np.concatenate([order[guess[order] == c][:per_class] for c in range(p.shape[1])])
    )


def balance(p: np.ndarray, least: float) -> np.ndarray:
    """float32 [n]: how much each guess of p [n, k] counts, so that all classes teach as much.

    Noisy student, arXiv:1911.04252, section 2: of each class as many images, the surest of those
    with `least` or more; where a class has fewer, they are repeated, which is a weight here. So
    many: the mean over the classes that have any, rounded up.
    """
    guess, kept = p.argmax(1), p.max(1) >= least
    counts = np.bincount(guess[kept], minlength=p.shape[1])
    weight = np.zeros(len(p), np.float32)
    if not counts.any():
        return weight
    each = int(np.ceil(counts[counts > 0].mean()))
    chosen = surest(p, least, each)
    weight[chosen] = np.maximum(1.0, each / counts[guess[chosen]])
    return weight


def precision_at(least: float, p: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    """Of the guesses in p [n, k] with `least` or more, how many there are and are right.

    precision and ci95 (Wilson's) are None where no guess is so sure.
    """
    kept = surest(p, least)
    n, right = len(kept), int((p[kept].argmax(1) == label[kept]).sum())
    found = {"of": len(p), "n": n, "right": right}
    return found | {"precision": right / n if n else None, "ci95": wilson(right, n) if n else None}


def wilson(hits: int, n: int) -> list[float]:
    """Wilson's 95 % interval of a share, hits of n > 0: never empty, never outside of 0 to 1."""
    share, z2 = hits / n, Z * Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z * float(np.sqrt(share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return [max(0.0, middle - half), min(1.0, middle + half)]
