"""From the start of Python to the end of the first training step, with and without kept programs.

python -m benchmarks.bench_startup [--quick] [--only TEXT]
Each time is of a process of its own that imports everything, builds FixMatch's step, takes one and
ends: as runs do, with their data and augmentation; or of images that are given, as naive Flax does.
Cold: nothing is kept. Warm: the programs that the process before has compiled are, in a cache of
their own. The system's file cache is warm.
"""

import os
import subprocess
import sys
import tempfile
import time

from benchmarks import interleaved
from benchmarks.interleaved import Options, goal, median
from benchmarks.workloads import TRAINING, Workload

CONFIG = "cifar10_fixmatch.py:labels=40"
SMALL = "small CNN FixMatch, augmentation included"
WRN = "WRN-28-2 FixMatch, augmentation included"
GIVEN, NAIVE = "WRN-28-2 FixMatch, images given", "WRN-28-2 FixMatch, images given, naive Flax"
BATCH = ("batch.labelled=4", "batch.mu=3")
ROWS = {SMALL: (*BATCH, "model.name=small_cnn"), WRN: BATCH, GIVEN: (), NAIVE: ()}
GOALS = {"cold": 6.0, "warm": 2.0}  # seconds


def all_cores() -> None:
    """A start uses all cores."""
    os.environ["JAX_PLATFORMS"] = "cpu"


def child(name: str) -> None:
    """What is timed: one step of ours, or of naive Flax's with its own first weights."""
    if name == NAIVE:
        return first_naive_step()
    from lowlabel_jax import start

    start.jax_ready()
    if name == GIVEN:
        from benchmarks.flax_side import ours

        return ours(work()).run()
    from benchmarks.real_step import Run

    Run(CONFIG, *ROWS[name]).take(1)


def work() -> Workload:
    """FixMatch's joint step of a batch of 4 labelled and 12 unlabelled images."""
    return next(work for name, work in TRAINING.items() if "joint" in name)


def first_naive_step() -> None:
    """Flax's own initialisation, a plain jit, no augmentation."""
    import jax
    import jax.numpy as jnp
    import optax

    from benchmarks import naive_flax

    model, tx = naive_flax.network(work()), optax.sgd(0.01, 0.9)
    images = jnp.zeros((work().images, 32, 32, 3))
    variables = model.init(jax.random.key(0), images, True)
    params = variables["params"]
    live = (params, variables["batch_stats"], tx.init(params), params)
    step = jax.jit(naive_flax.training_step(work(), model, tx))
    jax.block_until_ready(step(live, images, jnp.arange(work().labelled)))


def started(name: str, cache: str) -> tuple[float, float]:
    """(CPU, wall) seconds of a process that takes one step and ends."""
    environment = {**os.environ, "LOWLABEL_CACHE": cache}
    command = [sys.executable, "-m", "benchmarks.bench_startup", "--child", name]
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, env=environment, cwd=interleaved.ROOT, check=True)
    wall, after = time.perf_counter() - began, os.times()
    cpu = [times.children_user + times.children_system for times in (before, after)]
    return cpu[1] - cpu[0], wall


def measured(options: Options) -> dict:
    """{row: {"cold" or "warm": a pair a round}}."""
    names = [name for name in ROWS if options.wants(name)][slice(1 if options.quick else None)]
    found = {name: {"cold": [], "warm": []} for name in names}
    for _ in range(1 if options.quick else min(options.rounds, 3)):
        for name, times in found.items():
            with tempfile.TemporaryDirectory() as cache:
                times["cold"].append(started(name, cache))
                if name != NAIVE:
                    times["warm"].append(started(name, cache))
    goals = [
        goal(name, f"seconds of a process with one step, {kind}",
             median(found[name][kind], wall=True), at_most=limit)
        for name in (WRN, GIVEN) if name in found
        for kind, limit in GOALS.items()
    ]  # fmt: skip
    return {"seconds": found, "goals": goals}


def table(report: dict) -> str:
    """Seconds."""
    rows = []
    for name, kinds in report["seconds"].items():
        for kind, times in kinds.items():
            if times:
                spread = [of(wall for _, wall in times) for of in (min, max)]
                shown = f"{spread[0]:.1f} to {spread[1]:.1f}"
                rows.append([name, kind, median(times, wall=True), shown, median(times)])
    header = ["process", "kept programs", "s wall (median)", "min to max", "s CPU"]
    return interleaved.markdown(header, rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
    else:
        interleaved.script("bench_startup", __doc__ or "", measured, table, all_cores)
