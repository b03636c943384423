"""Which classes are taken for which others, the most often first. numpy only."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Pair(NamedTuple):
    """Images of one class that are called another. The other direction is a pair of its own."""

    true: str
    guessed: str
    count: int
    share: float  # of the images of the true class


def most_confused(
    label: np.ndarray, guess: np.ndarray, class_names: Sequence[str], count: int = 10
) -> list[Pair]:
    """At most `count` pairs of label int [n] and guess int [n], of both directions.

    The most images first, then the largest share, then the order of the classes. Labels below 0
    are not known, and left out.
    """
    known, k = label >= 0, len(class_names)
    table = np.zeros((k, k), np.int64)
    np.add.at(table, (label[known], guess[known]), 1)
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    true, guessed = np.nonzero(table * (1 - np.eye(k, dtype=np.int64)))
    order = np.lexsort((guessed, true, -share[true, guessed], -table[true, guessed]))[:count]
    return [
        Pair(str(class_names[i]), str(class_names[j]), int(table[i, j]), float(share[i, j]))
        for i, j in zip(true[order].tolist(), guessed[order].tolist(), strict=True)
    ]
