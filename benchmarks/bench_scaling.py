"""How cost grows: images a second, and memory of a step, against batch, mu, image size and data.

python -m benchmarks.bench_scaling [--quick] [--only TEXT]
The step of runs on one core, augmentation and feed included: the small CNN, supervised or FixMatch,
on images of noise. Within a group of rows one thing grows. Devices: bench_devices. The time to the
first step: bench_startup.
"""

from typing import NamedTuple

from benchmarks import interleaved
from benchmarks.interleaved import Options, median

CONFIG = "cifar10_fixmatch.py:labels=40"
STEPS = 4
SUPERVISED, FIXMATCH = "objective.name=supervised", "objective.name=fixmatch"


class Row(NamedTuple):
    """One size."""

    group: str  # what grows in it
    size: str
    overrides: tuple[str, ...]
    side: int = 32
    images: int = 1000


def rows(quick: bool) -> list[Row]:
    """Every size, group by group."""
    few = slice(0, 1 if quick else None)
    found = [
        Row("batch, supervised", str(b), (SUPERVISED, f"batch.labelled={b}"))
        for b in (8, 16, 32, 64, 128, 256)[few]
    ]
    found += [
        Row(
            "mu, FixMatch of 16 labelled",
            str(mu),
            (FIXMATCH, "batch.labelled=16", f"batch.mu={mu}"),
        )
        for mu in (1, 3, 7)[few]
    ]
    found += [
        Row("side of the images, supervised batch of 16", str(side),
            (SUPERVISED, "batch.labelled=16"), side)
        for side in (16, 32, 64, 128)[few]
    ]  # fmt: skip
    found += [
        Row(f"images in the data, {mode}, supervised batch of 64", f"{n:,}",
            (SUPERVISED, "batch.labelled=64", f"feed.mode={mode}", f"split.labelled.total={n}"),
            32, n)
        for mode in ("resident", "streamed") for n in (1000, 10000, 50000)[few]
    ]  # fmt: skip
    return found


def measured(options: Options) -> dict:
    """The rows with their times and memory; those of a group take turns with each other."""
    wanted = [row for row in rows(options.quick) if options.wants(row.group)]
    found = []
    for group in dict.fromkeys(row.group for row in wanted):
        found += grown([row for row in wanted if row.group == group], options)
    return {"rows": found, "goals": []}


def grown(group: list[Row], options: Options) -> list[dict]:
    """One group's rows."""
    from benchmarks.real_step import Run

    small = ("model.name=small_cnn",)
    if options.quick:
        small += ("model.channels=(4,8)",)
    shapes = [(row.side, row.side, 3) for row in group]
    made = {
        row.size: Run(CONFIG, *small, *row.overrides, image=shape, images=row.images)
        for row, shape in zip(group, shapes, strict=True)
    }
    clocks = {
        size: interleaved.clock(lambda run=run: run.take(STEPS)) for size, run in made.items()
    }
    seconds = interleaved.rounds(clocks, options)
    found = []
    for row in group:
        run = made[row.size]
        planned = run.compiled().memory_analysis()
        found.append({"group": row.group, "size": row.size, "images": run.images,
                      "working bytes": planned.temp_size_in_bytes,
                      "argument bytes": planned.argument_size_in_bytes,
                      "seconds": seconds[row.size]})  # fmt: skip
        run.feed.close()
    return found


def table(report: dict) -> str:
    """Images a second of CPU time, and what XLA plans for a step."""
    lines = []
    for row in report["rows"]:
        cpu, wall = (median(row["seconds"], of) / STEPS for of in (False, True))
        lines.append([row["group"], row["size"], 1e3 * cpu, 1e3 * wall, row["images"] / cpu,
                      row["working bytes"] / 2**20, row["argument bytes"] / 2**20])  # fmt: skip
    header = ["what grows", "to", "ms CPU a step (median)", "ms wall", "images/s of CPU time",
              "working memory of a step, MiB", "state and data, MiB"]  # fmt: skip
    return interleaved.markdown(header, lines)


if __name__ == "__main__":
    interleaved.script("bench_scaling", __doc__ or "", measured, table)
