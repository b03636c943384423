"""The runs of a sweep on this machine: processes that each take the next one. No JAX here."""

import contextlib
import json
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lowlabel_jax.core import signals
from lowlabel_jax.core.errors import Interrupted
from lowlabel_jax.runs import held
from lowlabel_jax.runs.sweep import table
from lowlabel_jax.runs.sweep.share import default_workers, share
from lowlabel_jax.runs.sweep.todo import Todo

PROGRAM = (sys.executable, "-m", "lowlabel_jax.runs.sweep.worker")
LOOK = 0.5  # seconds between two looks at what the workers have done
BUG = 1  # the exit code after which a worker goes


def train_all(
    commands: Mapping[str, Sequence[str]],
    folder: Path,
    workers: int = 0,
    max_seconds: float = 0,
    program: Sequence[str] = PROGRAM,
) -> dict[str, int]:
    """Train every run, {name: command of launch.py}, in folder/NAME; {name: exit code}.

    workers: processes side by side; 0: one a GPU, or one. max_seconds: after which all are saved
    and left; 0: no limit. Raises Interrupted, with all that was under way saved, where a signal or
    the time has stopped it.
    """
    todo = Todo(commands, folder)
    count = max(min(workers or default_workers(), len(commands)), 1)
    crew = [Worker(share(count, number), program) for number in range(count)]
    with (
        signals.stop_request(signals.StopRequest(max_seconds)) as stop,
        table.watching(todo) as watch,
        at_last(crew),
    ):
        while todo and not stop:
            for worker in crew:
                if not worker.run and (name := todo.take()):
                    watch.begins(name)
                    worker.begin(name, commands[name], folder)
            for worker in ready(crew):
                name, code = worker.run, worker.answer()
                watch.ends(name, code, todo.over(name, code))
            watch.look()
    if todo:
        left = f"{len(todo.waiting) + len(todo.at_work)} of {len(commands)} runs are left"
        raise Interrupted(
            f"stopped after {stop.name}: {left}, what was under way is saved. "
            "The same command goes on.",
            stop.code,
        )
    return todo.codes


class Worker:
    """A process that trains one run after another, started when it has something to do.

    Its stdin is what holds it: where that ends, also because this process was killed, it saves and
    goes.
    """

    def __init__(self, environment: Mapping[str, str], program: Sequence[str]) -> None:
        self.environment, self.program = environment, program
        self.process: subprocess.Popen[str] | None = None
        self.run = ""  # what it is at

    def begin(self, name: str, command: Sequence[str], folder: Path) -> None:
        """Train a run; what it says is added to its train.log."""
        self.run = name
        (folder / name).mkdir(parents=True, exist_ok=True)
        with open(folder / name / "train.log", "a", encoding="utf-8") as out:
            out.write(f"$ {shlex.join(command)}\n")
            out.flush()
            if self.process and self.process.poll() is not None:
                self.gone()  # killed while it had nothing to do
            self.process = self.process or held.start(
                self.program, self.environment, stdout=subprocess.PIPE, stderr=out, text=True
            )
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # killed just now: its answer is its end
            self.process.stdin.write(json.dumps(list(command)) + "\n")
            self.process.stdin.flush()

    def answer(self) -> int:
        """The exit code of what it was at; below 0 for the signal that killed the process."""
        assert self.process and self.process.stdout
        self.run, line = "", self.process.stdout.readline()
        if line and int(line) != BUG:
            return int(line)
        code = self.gone()
        return int(line) if line else code or -signal.SIGKILL

    def let_go(self) -> None:
        """Ask it to save and go."""
        if self.process:
            held.let_go(self.process)

    def gone(self) -> int:
        """Wait until it has gone; its exit code."""
        process, self.process = self.process, None
        return held.gone(process) if process else 0


def ready(crew: Sequence[Worker]) -> list[Worker]:
    """The workers that have answered or died, after waiting a moment for one."""
    at_work = {w.process.stdout: w for w in crew if w.run and w.process and w.process.stdout}
    readable, _, _ = select.select(list(at_work), [], [], LOOK)
    return [at_work[stream] for stream in readable]


@contextlib.contextmanager
def at_last(crew: Sequence[Worker]) -> Iterator[None]:
    """However the block ends, all workers are asked to save and go at once, and waited for."""
    try:
        yield
    finally:
        for worker in crew:
            worker.let_go()
        for worker in crew:
            worker.gone()
