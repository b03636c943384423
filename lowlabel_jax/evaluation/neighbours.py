"""The known images that the network finds most alike. numpy only."""

import numpy as np

BLOCK = 1024  # rows compared with all known ones at once


def nearest(features: np.ndarray, known: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(places int [n, m] in known, cosines float32 [n, m]) of the m = min(count, all) nearest.

    features [n, f], known [a, f]; the nearest first, the first of equal ones. A vector of zeros has
    a cosine of 0 with all.
    """
    rows, others = unit(features), unit(known).T
    places = np.zeros((len(rows), min(count, len(known))), np.int64)
    cosines = np.zeros(places.shape, np.float32)
    for start in range(0, len(rows), BLOCK):
        part = slice(start, start + BLOCK)
        found = rows[part] @ others
        places[part] = np.argsort(-found, axis=1, kind="stable")[:, :count]
        cosines[part] = np.take_along_axis(found, places[part], axis=1)
    return places, cosines


def unit(x: np.ndarray) -> np.ndarray:
    """float64 [n, f] at length 1; zeros stay."""
    x = np.asarray(x, np.float64)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length > 0, length, 1)
