"""Signs that training goes wrong, said while there is time: one line a kind and phase.

The memory lies in Progress: steps for which each sign has held without a break. A count that has
reached PATIENCE was said, and stays, so that a kind is said once a phase, over restarts too.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lowlabel_jax.core import log
from lowlabel_jax.training.phases import Progress

PATIENCE = 500  # steps for which a sign must hold: less is how runs begin
SHUT, OPEN = 0.001, 0.999  # mask rates below and above which no choice is made any more
NARROW = 0.1  # entropy of the pseudo-labels, as a share of the most that their classes allow

BEHIND, LOOKS = 0.1, 3  # accuracy that the average may lack, and for how many looks on end

SAID = {
    "mask shut": (
        f"hardly a guess passes the threshold (mask_rate < {SHUT}), so unlabelled images teach "
        "nothing. Lower objective.threshold, or check that the labelled loss falls."
    ),
    "mask open": (
        f"every guess passes the threshold (mask_rate > {OPEN}), right or wrong. "
        "Raise objective.threshold, unless the images are that easy."
    ),
    "one class": (
        f"one class swallows the pseudo-labels (entropy < {NARROW:.0%} of its most). Align their "
        "distribution (objective.align), lower optimizer.rate.peak or look at the labels, unless "
        "the images are that uneven."
    ),
    "average behind": (
        f"the averaged weights, which count, lie more than {BEHIND} of accuracy behind the last "
        "ones. Average BatchNorm's statistics with them (--config.ema.batch_stats=True), or lower "
        "ema.decay or optimizer.rate.peak."
    ),
}


def sound(progress: Progress, numbers: Mapping[str, Any]) -> dict[str, int]:
    """Warn of what the means of a log line, whose sums progress holds, add up to; the new memory.

    Called before the sums are emptied: the learning rate's count is how many steps they cover.
    """
    steps = int(progress.sums["rate"][1])  # type: ignore[arg-type]  # a count is never a list
    held, due = after(progress.alarms, signs(numbers), steps)
    for kind in due:
        log.warn(f"step {progress.step}: for {held[kind]} steps {SAID[kind]}")
    return {**progress.alarms, **held}


def looked(progress: Progress, numbers: Mapping[str, float]) -> dict[str, int]:
    """Warn where the averaged weights stay behind the last ones at looks; the new memory."""
    kind, last = "average behind", numbers.get("validation/accuracy_raw", 0.0)
    held, before = dict(progress.alarms), progress.alarms.get(kind, 0)
    if before < LOOKS:
        behind = numbers.get("validation/accuracy", last) < last - BEHIND
        held[kind] = (before + 1) * behind
        if held[kind] == LOOKS:
            log.warn(f"step {progress.step}: for {LOOKS} looks on end {SAID[kind]}")
    return held


def signs(numbers: Mapping[str, Any]) -> dict[str, bool]:
    """Which signs a log line shows. A method without a mask or without pseudo-labels shows none."""
    mask, shares = numbers.get("mask_rate"), numbers.get("pseudo_label/histogram")
    return {
        "mask shut": mask is not None and mask < SHUT,
        "mask open": mask is not None and mask > OPEN,
        "one class": shares is not None and entropy(shares) < NARROW * math.log(len(shares)),
    }


def after(
    held: Mapping[str, int], shown: Mapping[str, bool], steps: int
) -> tuple[dict[str, int], list[str]]:
    """(the memory after so many more steps, the kinds that are due to be said now)."""
    new = {
        kind: now if (now := held.get(kind, 0)) >= PATIENCE else (now + steps) * shows
        for kind, shows in shown.items()
    }
    return new, [kind for kind in new if new[kind] >= PATIENCE > held.get(kind, 0)]


def entropy(shares: Any) -> float:
    """-Σ p log p of shares [k] that sum to one, in nats."""
    p = np.asarray(shares)
    return float(-(p * np.log(np.where(p > 0, p, 1))).sum())
