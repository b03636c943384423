"""Lengths with a unit: {"epochs": 30} | {"steps": 600} | {"examples": 40_000} -> steps.

{"bit_hyperrule": 1} is what BiT-HyperRule (arXiv:1912.11370, section 3.3) gives a set of that size.
"""

from collections.abc import Mapping

UNITS = ("steps", "epochs", "examples", "bit_hyperrule")
BIT = ((20_000, 500), (500_000, 10_000))  # (below so many examples, steps)
BIT_LARGE = 20_000  # steps for more


def steps(length: Mapping[str, float], batch_size: int, dataset_size: int) -> int:
    """The length in optimiser steps. An epoch is one pass over the labelled set, rounded up."""
    (unit, amount), *more = [(k, v) for k, v in length.items() if v is not None]
    if more or unit not in UNITS:
        raise ValueError(f"a length has one unit of {UNITS}, got {dict(length)}")
    if unit == "steps":
        return round(amount)
    if unit == "bit_hyperrule":
        return round(amount * bit_steps(dataset_size))
    examples = amount * dataset_size if unit == "epochs" else amount
    return -int(-examples // batch_size)


def bit_steps(dataset_size: int) -> int:
    """Steps by BiT-HyperRule: 500 below 20,000 examples, 10,000 below 500,000, else 20,000."""
    return next((steps for size, steps in BIT if dataset_size < size), BIT_LARGE)


def duration(seconds: float) -> str:
    """Seconds as a person reads them: 8.3 s, 2 min 05 s, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
