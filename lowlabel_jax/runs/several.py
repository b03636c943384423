"""Several runs by one process: `python -m lowlabel_jax.runs.several JOBS.json`.

Processes given the same file share the work: each takes the next run that is neither finished nor
being trained. What a run says goes to its train.log. It saves the seconds in which a process
imports JAX, which are half of what a small run takes.
"""

import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lowlabel_jax.configuration import load
from lowlabel_jax.core import files, log
from lowlabel_jax.core.errors import Busy, guarded
from lowlabel_jax.runs import directory as rundir

Job = tuple[str, str, Sequence[str]]  # the run's directory, its config file, overrides
BUSY = -1  # another process has it


def write(path: Path, jobs: Sequence[Job], max_seconds: float) -> None:
    """Keep what there is to do, for `main`; max_seconds: after which all are saved and left."""
    files.write_json(path, {"jobs": [list(job) for job in jobs], "max_seconds": max_seconds})


def main(path: Path) -> int:
    """Train what the file lists; 0, or the exit code of the last run that failed."""
    given, parent, began, failed = files.read_json(path), os.getppid(), time.monotonic(), 0
    from lowlabel_jax import start

    start.jax_ready()
    for directory, config, overrides in given["jobs"]:
        left = given["max_seconds"] and given["max_seconds"] - (time.monotonic() - began)
        if os.getppid() != parent or left < 0:
            break  # who asked for this is gone, or its time is over
        if rundir.status(Path(directory)).get("state") != "finished":
            failed = one(Path(directory), config, overrides, left) or failed
    return failed


def one(directory: Path, config: str, overrides: Sequence[str], left: float) -> int:
    """Train one run, unless another process is at it; its exit code."""
    from lowlabel_jax.runs.train import train

    directory.mkdir(parents=True, exist_ok=True)
    made = load.load(config, overrides)
    command = ["python", "launch.py", f"--config={config}", f"--workdir={directory}", *overrides]

    def run() -> int:
        try:
            train(made, directory, command=command, max_seconds=left)
        except Busy:
            return BUSY
        return 0

    place = directory / "train.log"
    with (
        open(place, "a", encoding="utf-8") as out,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(out),
    ):
        code = guarded(run)
    if code != BUSY:
        log.say(f"  {directory.name}: {ending(rundir.status(directory), code)}")
    return 0 if code == BUSY else code


def ending(status: Mapping[str, Any], code: int) -> str:
    """How a run ended, in words."""
    if code or status.get("state") != "finished":
        return f"{status.get('state', 'failed')} (exit code {code})"
    return f"finished, {rundir.headline(status)}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
