"""How many images of each class: amounts with a unit, long tails, and classes that have too few."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lowlabel_jax.core import log
from lowlabel_jax.core.errors import UserError, problems
from lowlabel_jax.data.source import SHOWN

UNITS = ("per_class", "total", "fraction")
FEWER = "ask for fewer, or take what there is: --config.split.allow_fewer=True."


def unit_of(amount: Mapping[str, Any]) -> tuple[str, float]:
    """{"per_class": 4, "total": None} -> ("per_class", 4). Raises UserError for other than one."""
    given = [(unit, value) for unit, value in amount.items() if value is not None]
    if len(given) != 1 or given[0][0] not in UNITS:
        raise UserError(f"an amount of images has one unit of {UNITS}, got {dict(amount)}.")
    return given[0]


def counts(amount: Mapping[str, Any], have: np.ndarray) -> np.ndarray:
    """How many images of each class [k]: {"per_class": 4}, {"total": 40} or {"fraction": 0.1}.

    A total is shared evenly, the first classes taking the remainder; a fraction follows the
    classes' sizes by largest remainder. Either way the sum is exact.
    """
    unit, value = unit_of(amount)
    if unit == "per_class":
        return np.full(len(have), int(value))
    if unit == "total":
        even, left = divmod(int(value), len(have))
        return np.full(len(have), even) + (np.arange(len(have)) < left)
    shares = have * float(value)
    whole = np.floor(shares).astype(int)
    missing = round(shares.sum()) - whole.sum()
    first = np.argsort(-(shares - whole), kind="stable")[:missing]
    whole[first] += 1
    return whole


def long_tail(most: int, gamma: float, classes: int) -> np.ndarray:
    """int [k]: class k of K gets most * gamma ** (-k / (K - 1)), rounded down (arXiv:1901.05555).

    The first class is the largest; with gamma below 1 the last one is, 1 / gamma times the first
    (the "reversed" unlabelled images of DARP, arXiv:2007.08844).
    """
    if gamma < 1:
        return long_tail(most, 1 / gamma, classes)[::-1]
    exact = most * gamma ** (-np.arange(classes) / max(classes - 1, 1))
    return np.floor(exact + 1e-9).astype(int)  # 500 / 100 ** 1.0 is 5, not 4.999…


def largest(gamma: float) -> int:
    """The place of the class that a long tail makes largest."""
    return 0 if gamma >= 1 else -1


def enough(
    wanted: np.ndarray,
    have: np.ndarray,
    class_names: Sequence[str],
    what: str,
    allow_fewer: bool,
) -> np.ndarray:
    """The wanted counts [k], each at most what its class has.

    Raises UserError naming every class that has too few, unless fewer are allowed: then it warns.
    """
    found = list(_short(wanted, have, class_names, what))
    if found and allow_fewer:
        log.warn(
            "\n".join([*found, f"all there are were taken: {np.minimum(wanted, have).sum()}."])
        )
    elif found:
        problems(found, FEWER)
    return np.minimum(wanted, have)


def _short(
    wanted: np.ndarray, have: np.ndarray, class_names: Sequence[str], what: str
) -> Iterator[str]:
    short = np.flatnonzero(wanted > have)
    for k in short[:SHOWN]:
        yield (
            f"class {class_names[k]!r} has {have[k]} images but {wanted[k]} {what} ones are "
            "asked for."
        )
    if len(short) > SHOWN:
        yield f"and {len(short) - SHOWN} more classes have too few."
