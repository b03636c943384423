"""Eight devices: our pmap against jit(shard_map) of the same step, and images a second by devices.

python -m benchmarks.bench_devices [--quick]
The devices are forced host devices on all cores of this machine: they share its cores, so this is
the overhead of several devices and no speed-up. start.py sets NPROC, without which jax 0.10 stalls.
"""

import os

from benchmarks import interleaved
from benchmarks.interleaved import Options, goal, median, ratio

CONFIG, DIGITS, STEPS = "digits_fixmatch.py", (8, 8, 1), 20
BATCH = ("batch.labelled=16", "batch.mu=3", "objective.name=fixmatch")
OURS, OTHER = "our pmap, 8 devices", "jit(shard_map), 8 devices"


def eight() -> None:
    """Eight host devices on all cores."""
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count=8".strip()
    os.environ["JAX_PLATFORMS"] = "cpu"


def shard_mapped(run):
    """A function that takes STEPS steps of a run's own step through jit(shard_map)."""
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from lowlabel_jax.core.parallel import AXIS
    from lowlabel_jax.ops.compiling import compile_options

    whole, parts = PartitionSpec(), PartitionSpec(AXIS)
    mesh = Mesh(np.asarray(jax.local_devices()[: run.devices]), (AXIS,))
    fn = jax.shard_map(run.phase.step.fn, mesh=mesh, in_specs=(whole, parts, whole),
                       out_specs=whole, check_vma=False)  # fmt: skip
    place = NamedSharding(mesh, parts)

    def batch(step):
        return jax.device_put(run.feed.batch(step), place)

    step = jax.jit(fn, donate_argnums=0)
    first = (run.state, batch(0), run.resident)
    compiled = step.lower(*first).compile(compiler_options=compile_options("cpu"))

    def steps():
        pending = None
        for number in range(STEPS):
            run.state, metrics = compiled(run.state, batch(number), run.resident)
            jax.device_get(pending)
            pending = metrics
        jax.device_get(pending)

    return steps


def measured(options: Options) -> dict:
    """Seconds that STEPS steps take, by devices and by how they are told."""
    from benchmarks.real_step import Run

    def run(devices):
        return Run(CONFIG, *BATCH, f"devices={devices}", image=DIGITS)

    made = {f"our pmap, {n} devices": run(n) for n in ((8,) if options.quick else (1, 2, 4, 8))}
    clocks = {name: interleaved.clock(lambda r=r: r.take(STEPS)) for name, r in made.items()}
    clocks[OTHER] = interleaved.clock(shard_mapped(run(8)))
    seconds = interleaved.rounds(clocks, options)
    times = 1 / ratio(seconds[OTHER], seconds[OURS], wall=True)
    rows = [goal("8 host devices, our pmap", "wall time, times jit(shard_map)", times, at_most=1.4)]
    return {"seconds": seconds, "images": made[OURS].images, "steps": STEPS, "goals": rows}


def table(report: dict) -> str:
    """Milliseconds a step and images a second of wall time: the cores are shared."""
    rows = []
    for name, times in report["seconds"].items():
        cpu, wall = (median(times, of) / STEPS for of in (False, True))
        rows.append([name, 1e3 * wall, 1e3 * cpu, report["images"] / wall])
    header = ["step of 16 labelled and 48 unlabelled digits", "ms wall (median)", "ms CPU",
              "images/s of wall time"]  # fmt: skip
    return interleaved.markdown(header, rows)


if __name__ == "__main__":
    interleaved.script("bench_devices", __doc__ or "", measured, table, eight)
