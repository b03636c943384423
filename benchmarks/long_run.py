"""The whole loop for many tiny steps: does anything grow, does it slow down?

python -m benchmarks.long_run --workdir=runs/long [--steps=20000]

One run of launch.py's own line, digits and a net of a thousand weights, looked at ten times: CPU
time a step, memory, open files, threads, kept programs, bytes of the logs. Prints a table.
"""

import argparse
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

PARTS = 10  # looks at the run, evenly
PAGE = os.sysconf("SC_PAGE_SIZE")


class Sample(NamedTuple):
    """What a process is and has at a step."""

    step: int
    cpu: float  # seconds of this process so far
    wall: float
    memory: int  # bytes resident
    files: int  # open
    threads: int
    programs: int  # files in the cache of compiled programs
    logs: int  # bytes of metrics.jsonl and tb/


def sample(step: int, directory: Path) -> Sample:
    """Look at this process, and at what its run has written."""
    memory = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
    return Sample(
        step,
        time.process_time(),
        time.monotonic(),
        memory,
        len(os.listdir("/proc/self/fd")),
        threading.active_count(),
        _files(_cache()),
        sum(p.stat().st_size for p in _logs(directory)),
    )


def long_run(directory: Path, steps: int, parts: int = PARTS) -> list[Sample]:
    """The samples of a run of so many steps, one after each of its parts."""
    from lowlabel_jax.runs.train import train

    found: list[Sample] = []
    train(
        config(steps, parts), directory, look=lambda step, _: found.append(sample(step, directory))
    )
    return found


def config(steps: int, parts: int) -> Any:
    """FixMatch on digits with a net of a thousand weights, batches of 8, looks and checkpoints."""
    from lowlabel_jax.configuration.keys import base

    made = base()
    made.split.labelled, made.split.validation = {"per_class": 2}, {"per_class": 2}
    made.batch.labelled, made.batch.mu = 8, 3
    made.augment.strong = {"name": "flip_shift"}
    made.model = {"name": "small_cnn", "channels": (4, 8), "pool": (True, True)}
    made.objective = {"name": "fixmatch", "threshold": 0.5}
    made.length = {"steps": steps}
    made.devices, made.log_every = 1, 20
    made.evaluate_every, made.checkpoint.every = steps // parts, steps // parts
    return made


def changes(found: list[Sample]) -> dict[str, float]:
    """From the second sample (the first part compiles) to the last: what has grown, and how.

    slower: CPU seconds a step in the last part over those in the second one. megabytes: of memory
    in the second half, since what the first steps and looks have taken is let go of only later.
    """
    first, half, last = found[1], found[len(found) // 2 - 1], found[-1]
    each = [(b.cpu - a.cpu) / (b.step - a.step) for a, b in zip(found, found[1:], strict=False)]
    return {
        "slower": each[-1] / each[0],
        "megabytes": (last.memory - half.memory) / 1e6,
        "files": last.files - first.files,
        "threads": last.threads - first.threads,
        "programs": last.programs - first.programs,
        "log_bytes_a_step": (last.logs - first.logs) / (last.step - first.step),
    }


def _cache() -> Path:
    from lowlabel_jax.start import cache_directory

    return cache_directory()


def _files(place: Path) -> int:
    return sum(1 for _ in place.iterdir()) if place.is_dir() else 0


def _logs(directory: Path) -> list[Path]:
    return [directory / "metrics.jsonl", *(p for p in (directory / "tb").iterdir() if p.is_file())]


def main() -> int:
    """Run it and print what was seen."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20_000)
    options = parser.parse_args()

    from lowlabel_jax import start

    start.jax_ready()
    found = long_run(options.workdir, options.steps)
    for one in found:
        print(json.dumps(one._asdict()))
    print(json.dumps({name: round(value, 4) for name, value in changes(found).items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
