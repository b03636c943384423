"""Learning rates over the steps of a phase. Every function here is a schedule by its name.

Each returns step -> rate. `warmup` steps climb in a line to the peak, the first one already above
zero; the schedule proper runs over the steps that are left.
"""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from lowlabel_jax.core.ranges import Length, NonNegative, Positive
from lowlabel_jax.core.units import bit_steps


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


def bit_hyperrule(
    *, total_steps: int, info: Any, batch_size: int, peak: Positive = 3e-3
) -> Callable:
    """BiT-HyperRule (1912.11370): `peak` for 512 images a step, in proportion for others; it climbs
    for the first part of the run and then falls to a tenth three times.

    Below 20,000 examples the four parts begin at 0, 2/5, 3/5 and 4/5 and the climb takes 1/5; above
    at 0, 3/10, 6/10 and 9/10, the climb 500 steps of the paper's 10,000 or 20,000. The rule's other
    parts: length.bit_hyperrule=1, SGD with momentum 0.9 and no weight decay, and supervised with
    mixup=0.1 and mixup_from=20000.
    """
    n, top = info.sizes["labelled"], peak * batch_size / 512
    small = bit_steps(n) == 500
    climb = max(total_steps // 5 if small else total_steps * 500 // bit_steps(n), 1)
    falls = jnp.array((0.4, 0.6, 0.8) if small else (0.3, 0.6, 0.9)) * total_steps

    def rate(step):
        passed = (step >= falls).sum()
        return jnp.minimum((step + 1) / climb, 1.0) * top * 0.1**passed

    return rate


def constant(*, total_steps: int, peak: Positive = 1e-3, warmup: Length = 0) -> Callable:
    """The peak, always."""
    return _warm(peak, warmup, total_steps, lambda x: peak + 0 * x)


def _warm(peak: float, warmup: int, total_steps: int, after: Callable) -> Callable:
    def rate(step):
        done = (step - warmup) / max(total_steps - warmup, 1)
        climbing = peak * (step + 1) / max(warmup, 1)
        return jnp.where(step < warmup, climbing, after(jnp.clip(done, 0.0, 1.0)))

    return rate
