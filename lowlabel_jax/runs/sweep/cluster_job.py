"""What a cluster runs: launch.py as a child, told to save when the scheduler wants its place back.

SIGUSR1 announces the end of a job's time or its pre-emption. submitit's handler calls `checkpoint`,
which hands it on, waits until the run has saved, and gives the job back to the queue: there the
same command goes on with it. SIGTERM is somebody's wish to stop: saved too, and not queued again by
us; where SLURM pre-empts by it, SLURM queues the job again itself (`--requeue`).
"""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from lowlabel_jax.core import files

TERMINATED = (143, -signal.SIGTERM)  # saved and stopped; or before there was anything to save
STOPPED = (0, -signal.SIGUSR1, 130, *TERMINATED)  # exit codes of runs that another job goes on with
Runs = Sequence[tuple[Path, Sequence[str]]]  # a run's directory, the command that trains it


class Job:
    """One or more runs, in turn. directory: where the commands are given. notes: where the runs'
    exit codes are noted. environment: a worker's share of this machine; None where a cluster has
    given the job its own."""

    def __init__(
        self, runs: Runs, directory: Path, notes: Path, environment: Mapping[str, str] | None
    ) -> None:
        self.runs, self.directory = list(runs), directory
        self.notes, self.environment = notes, environment
        self.child: subprocess.Popen[Any] | None = None

    def __call__(self) -> None:
        """Train all. Raises RuntimeError, for submitit, that names those that failed."""
        if os.environ.get("SUBMITIT_EXECUTOR") == "local":
            # SLURM signals every process of a job; here this one alone is signalled.
            signal.signal(signal.SIGTERM, self._hand_on)
        failed = []
        while self.runs:
            run, command = self.runs[0]
            code = self._train(run, command)
            if not _number():
                files.write_text(
                    noted(self.directory / self.notes, run), f"{code if code >= 0 else 128 - code}"
                )
            if code in TERMINATED:
                sys.exit(143)
            if code:
                failed.append(f"{run}: exit code {code}; see {run / 'train.log'}")
            del self.runs[0]
        if failed:
            raise RuntimeError("not all runs finished:\n" + "\n".join(failed))

    def checkpoint(self) -> Any:
        """submitit asks, in a signal's handler: save, and say what is queued in this job's place.

        None, where the run has failed: to begin it again would not help.
        """
        from submitit.helpers import DelayedSubmission

        if self.child is not None and self._stop(self.child) not in STOPPED:
            return None
        return DelayedSubmission(Job(self.runs, self.directory, self.notes, self.environment))

    def _train(self, run: Path, command: Sequence[str]) -> int:
        """Train one run; what it says is added to its train.log. Of several processes that train
        one run together, the others speak into the job's own log."""
        (self.directory / run).mkdir(parents=True, exist_ok=True)
        beside = _number() > 0
        with open(os.devnull if beside else self.directory / run / "train.log", "a") as out:
            out.write(f"$ {shlex.join(command)}\n")
            out.flush()
            said = None if beside else out
            how: dict[str, Any] = {
                "stdout": said,
                "stderr": said,
                "cwd": self.directory,
                "env": self._environ(),
            }
            self.child = subprocess.Popen(command, **how)
            with self.child as child:
                try:
                    code = ended(child.pid)
                except KeyboardInterrupt:
                    self._stop(child)
                    raise
        self.child = None
        return code

    def _environ(self) -> dict[str, str]:
        if self.environment is None:
            return dict(os.environ)
        # submitit's local executor hides all GPUs of which it was not told.
        mine = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
        return {**mine, **self.environment}

    def _stop(self, child: subprocess.Popen[Any]) -> int:
        """Ask a child to save and go; its exit code. Twice does no harm: it knows SIGUSR1."""
        child.send_signal(signal.SIGUSR1)
        return ended(child.pid) if child.returncode is None else child.returncode

    def _hand_on(self, number: int, _: FrameType | None) -> None:
        if self.child is not None:
            self.child.send_signal(number)


def noted(notes: Path, run: Path) -> Path:
    """Where a run's exit code is noted."""
    return notes / f"{run.name}.code"


def _number() -> int:
    """Which of the processes that train one run together this one is, from 0."""
    return int(os.environ.get("SLURM_PROCID", os.environ.get("SUBMITIT_LOCAL_GLOBALID", 0)))


def ended(pid: int) -> int:
    """Wait for a child's end; its exit code, below 0 for a signal.

    It is left for Popen to collect: Popen's own wait would lock a signal's handler out.
    """
    try:
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:  # collected already
        return 0
    assert found is not None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
