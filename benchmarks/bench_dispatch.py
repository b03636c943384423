"""What it costs to start a step from Python: one step a call against ten and a hundred, in turn.

python -m benchmarks.bench_dispatch [--quick]
The digits' own step with all that is in it (steps_per_call of the config). On a CPU the host is the
device and Python is not what is waited for; benchmarks.gpu has the same table for a GPU.
"""

from benchmarks import interleaved
from benchmarks.interleaved import Options, goal, median, ratio

CONFIG, DIGITS = "digits_fixmatch.py", (8, 8, 1)
COUNTS = (1, 10, 100)


def measured(options: Options) -> dict:
    """Seconds that the same number of steps takes, by steps in a call."""
    from benchmarks.real_step import Run

    counts = (1, 2) if options.quick else COUNTS
    clocks = {}
    for count in counts:
        run = Run(CONFIG, "objective.name=fixmatch", f"steps_per_call={count}", image=DIGITS)
        take = lambda run=run, count=count: run.take(max(counts), count)  # noqa: E731
        clocks[str(count)] = interleaved.clock(take)
    seconds = interleaved.rounds(clocks, options)
    loop = seconds["1"]
    goals = [
        goal(f"{count} steps a call", "time of a step, times that of one a call",
             1 / ratio(loop, seconds[str(count)]), at_most=1.3)
        for count in counts[1:]
    ]  # fmt: skip
    return {"seconds": seconds, "steps": max(counts), "goals": goals}


def table(report: dict) -> str:
    """Milliseconds a step."""
    rows, steps = [], report["steps"]
    for count, times in report["seconds"].items():
        more = 1 / ratio(report["seconds"]["1"], times)
        ms = [1e3 * median(times, wall) / steps for wall in (False, True)]
        rows.append([count, *ms, f"{more:.2f}x"])
    header = ["steps a call", "ms CPU a step (median)", "ms wall", "of one a call"]
    return interleaved.markdown(header, rows)


if __name__ == "__main__":
    interleaved.script("bench_dispatch", __doc__ or "", measured, table)
