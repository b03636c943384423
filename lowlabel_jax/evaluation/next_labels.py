"""Which images a person should label next: the least certain, the least covered, or both.

Letters: `n` images, `k` classes, `f` features, `m` images whose labels are known. numpy only.
"""

import numpy as np

RULES = ("entropy", "margin", "kcentre", "mixed")
POOL = 10  # mixed: chosen among so many times the wanted images, and half of all at most
TINY = float(np.finfo(np.float32).tiny)


def entropy(p: np.ndarray) -> np.ndarray:
    """float64 [n]: the entropy of probabilities p [n, k] in nats, 0 to log k."""
    p = np.asarray(p, np.float64)
    return -(p * np.log(np.maximum(p, TINY))).sum(1)


def margin(p: np.ndarray) -> np.ndarray:
    """float64 [n]: how far the likeliest class of p [n, k] is above the second, 0 to 1."""
    second, first = np.sort(np.asarray(p, np.float64), axis=1)[:, -2:].T
    return first - second


def farthest_first(
    features: np.ndarray, count: int, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(places int [count], distances [count]): k-centre greedy, arXiv:1708.00489, algorithm 1.

    In turn that row of features [n, f] which is farthest from all of known [m, f] and from those
    taken before, the first of equal ones, with its Euclidean distance to the nearest of them
    (infinite where there are none). What is left is then covered within twice the least radius that
    any `count` rows could cover it. Takes (m + count) n f steps.
    """
    points = np.asarray(features, np.float64)
    gap = np.full(len(points), np.inf)
    for row in np.asarray(known, np.float64):
        gap = np.minimum(gap, np.linalg.norm(points - row, axis=1))
    places, distances = [], []
    for _ in range(min(count, len(points))):
        farthest = int(gap.argmax())
        places.append(farthest)
        distances.append(gap[farthest])
        gap = np.minimum(gap, np.linalg.norm(points - points[farthest], axis=1))
        gap[farthest] = -1.0  # below its own distance of 0: copies are taken before it is again
    return np.array(places, int), np.array(distances)


def choose(
    by: str, count: int, p: np.ndarray, features: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(places int [c], scores [c]), the most wanted first: c is `count`, or n where that is less.

    by: entropy (the largest of p [n, k]), margin (the smallest), kcentre (farthest_first on
    features [n, f] from those known [m, f]), or mixed: kcentre among the 10 `count` with the
    largest entropy, half of all n at most. The score is what the rule names, of the last two the
    distance.
    """
    if by not in RULES:
        raise ValueError(f"no rule called {by!r}. There are: {', '.join(RULES)}.")
    if by == "kcentre":
        return farthest_first(features, count, known)
    if by == "mixed":
        size = max(count, min(POOL * count, len(p) // 2))
        pool = np.argsort(-entropy(p), kind="stable")[:size]
        places, distances = farthest_first(features[pool], count, known)
        return pool[places], distances
    score = entropy(p) if by == "entropy" else margin(p)
    order = np.argsort(-score if by == "entropy" else score, kind="stable")[:count]
    return order, score[order]
