"""Learning rates over the steps of a phase. Every function here is a schedule by its name.

Each returns step -> rate. `warmup` steps climb in a line to the peak, the first one already above
zero; the schedule proper runs over the steps that are left.
"""

import math
from collections.abc import Callable

import jax.numpy as jnp

from lowlabel_jax.core.ranges import Length, NonNegative, Positive


def cosine_7_16(*, total_steps: int, peak: Positive = 0.03, warmup: Length = 0) -> Callable:
    """peak · cos(7πk / 16K): FixMatch's decay, which ends at 0.195 of the peak (2001.07685)."""
    return _warm(peak, warmup, total_steps, lambda x: peak * jnp.cos(7 * math.pi * x / 16))


def cosine(
    *, total_steps: int, peak: Positive = 0.03, end: NonNegative = 0.0, warmup: Length = 0
) -> Callable:
    """Half a cosine from the peak to `end` (1608.03983, without restarts)."""
    half = (peak - end) / 2
    return _warm(peak, warmup, total_steps, lambda x: end + half * (1 + jnp.cos(math.pi * x)))


def polynomial(
    *,
    total_steps: int,
    peak: Positive = 1e-3,
    end: NonNegative = 1e-7,
    power: Positive = 1.0,
    warmup: Length = 0,
) -> Callable:
    """(peak - end) · (1 - k/K)^power + end; power 1 is a straight line."""
    return _warm(peak, warmup, total_steps, lambda x: end + (peak - end) * (1 - x) ** power)


def constant(*, total_steps: int, peak: Positive = 1e-3, warmup: Length = 0) -> Callable:
    """The peak, always."""
    return _warm(peak, warmup, total_steps, lambda x: peak + 0 * x)


def _warm(peak: float, warmup: int, total_steps: int, after: Callable) -> Callable:
    def rate(step):
        done = (step - warmup) / max(total_steps - warmup, 1)
        climbing = peak * (step + 1) / max(warmup, 1)
        return jnp.where(step < warmup, climbing, after(jnp.clip(done, 0.0, 1.0)))

    return rate
