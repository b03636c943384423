"""The batch size: as large as images a second still grow with it, and as memory holds."""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.core import log, parallel
from lowlabel_jax.tuning import trial
from lowlabel_jax.tuning.findings import applied, finding
from lowlabel_jax.tuning.ground import Ground
from lowlabel_jax.tuning.judging import given_numbers
from lowlabel_jax.tuning.phase import supervised

SMALLEST, LARGEST = 16, 1024
GAIN = 1.1  # images a second that a doubling must bring to be worth it: the knee
ROUNDS, STEPS = 3, 4  # timed rounds of steps; the fastest counts, what interrupts only slows
OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"  # how XLA says it


class Timed(NamedTuple):
    """What a batch size costs."""

    size: int
    rate: float  # images a second, all views
    bytes: int  # working memory of a step on a device, as XLA plans it


def learn(ground: Ground, config: Config) -> dict[str, Any]:
    """Time a supervised step at doubling sizes; the evidence, with its finding.

    This is the one thing learnt that depends on the clock: it is measured once and read ever after.
    """
    devices, taught = parallel.device_count(config.devices), supervised(config)
    timed: list[Timed] = []
    refused = []
    for size in sizes(len(ground.folds[0].labelled), devices):
        found = halved(size, devices, lambda size: measured(ground, taught, size))
        if found.size < size:
            refused.append({"size": size, "why": "out of memory"})
        if timed and found.size <= timed[-1].size:
            break
        timed.append(found)
        log.say(f"  batch {found.size}: {found.rate:,.0f} images/s")
        if refused or not fits(found.bytes) or not grows(timed):
            break
    chosen = knee(timed)
    why = (
        f"{_at(timed, chosen).rate:,.0f} images/s; a doubling must bring {GAIN - 1:.0%} more, and "
        f"the {len(ground.folds[0].labelled)} labels at least two steps an epoch"
    )
    return {
        "sizes": [t.size for t in timed],
        "images_per_second": [t.rate for t in timed],
        "gib": [t.bytes / 2**30 for t in timed],
        "refused": refused,
        "chosen": chosen,
        "why": why,
        "findings": [finding(config, "batch.labelled", chosen, why)],
    }


def sizes(labels: int, devices: int) -> Iterator[int]:
    """Doublings from SMALLEST that the devices can share, up to half of the labels."""
    size = -(-SMALLEST // devices) * devices
    yield size
    while (size := 2 * size) <= min(LARGEST, labels // 2):
        yield size


def grows(timed: list[Timed]) -> bool:
    """Whether the last doubling has brought enough to try another."""
    return len(timed) < 2 or timed[-1].rate >= GAIN * timed[-2].rate


def knee(timed: list[Timed]) -> int:
    """The largest size whose doubling from the one before it still paid, and which fits."""
    best = timed[0]
    for before, now in zip(timed, timed[1:], strict=False):
        if now.rate < GAIN * before.rate or not fits(now.bytes):
            break
        best = now
    return best.size


def fits(needed: int) -> bool:
    """Whether a step's working memory leaves a tenth of the device's free; True where it is not
    told (CPUs)."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return needed < 0.9 * stats.get("bytes_limit", float("inf"))


def measured(ground: Ground, config: Config, size: int) -> Timed:
    """A step of a size, compiled and timed: the fastest of some rounds."""
    config = applied(config, [finding(config, "batch.labelled", size, "")])
    count = ROUNDS * STEPS + 1
    given = given_numbers(config, {}, ())
    made = trial.program(ground, config, 0, count, list(given))
    ticks: list[float] = []
    every = itertools.repeat(given, count)
    for state, _ in trial.steps_of(ground, made, 0, trial.started(ground, made), every):
        jax.block_until_ready(state.step)
        ticks.append(time.perf_counter())
    rounds = np.diff(ticks[::STEPS])
    planned: Any = made.step.compiled
    needed = planned.memory_analysis().temp_size_in_bytes if planned else 0
    return Timed(size, float(made.images * STEPS / rounds.min()), int(needed))


def halved(size: int, smallest: int, run: Callable[[int], Timed]) -> Timed:
    """What run(size) gives for the first of size, size / 2, … that memory holds.

    Each try is a compilation of its own. Raises what `run` raises at the smallest size, and
    anything but running out of memory at once.
    """
    while True:
        try:
            return run(size)
        except Exception as error:
            if OUT_OF_MEMORY not in str(error) or size // 2 < smallest:
                raise
            log.warn(f"a batch of {size} does not fit in memory: trying {size // 2}.")
            size //= 2


def _at(timed: list[Timed], size: int) -> Timed:
    return next(t for t in timed if t.size == size)
