"""One process of a search: `python -m lowlabel_jax.runs.search.worker FOLDER`.

It takes trial after trial until none is left, and trains each as a run of its own. What a trial
says goes to its train.log. Its stdin is what holds it: where that ends, because the search was
asked to stop or was killed, the trial under way is saved and the process goes.
"""

import contextlib
import fcntl
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lowlabel_jax.configuration import load
from lowlabel_jax.core import files, log
from lowlabel_jax.core.errors import Diverged, Interrupted, Pruned, UserError, guarded
from lowlabel_jax.runs import held
from lowlabel_jax.runs.search import score, study
from lowlabel_jax.runs.search.space import space_of
from lowlabel_jax.runs.sweep.plan import as_arguments
from lowlabel_jax.tuning.studies import said


class Ended(NamedTuple):
    """How a trial has ended: complete with its medians, pruned, diverged or failed; and why."""

    state: str
    reason: str
    numbers: Mapping[str, float]


def main(folder: Path) -> int:
    """Train trials until there are enough; 0, or 2 where the first ones of all have failed."""
    over = threading.Event()
    held.may_go()
    threading.Thread(target=_listen, args=(over,), daemon=True).start()
    asked, session = (files.read_json(folder / name) for name in ("asked.json", "session.json"))
    from lowlabel_jax import start

    start.jax_ready()
    config = load.load(asked["config"], asked["overrides"])
    space = space_of(asked["config"], asked["space"], config)
    with open(folder / "study" / ".workers", "a") as alive:
        fcntl.flock(alive, fcntl.LOCK_SH)  # while it is held nobody mends the journal
        shared = study.open_study(folder, asked)
        while not over.is_set() and (left := _left(session)) >= 0:
            taken = study.take(folder, shared, asked, session, space)
            if taken is None:
                break
            try:
                with taken.lock:
                    state = one(folder, shared, taken, asked, left)
            except Interrupted:  # it is saved, and goes on when the search does
                break
            if state == "failed" and not study.ended(shared):
                return UserError.code  # what breaks the first trial would break them all
    return 0


def _listen(over: threading.Event) -> None:
    """Wait for the end of stdin, then leave."""
    while os.read(0, 1):  # sys.stdin has a lock, over which a process that ends may stumble
        pass
    over.set()
    held.leave()


def one(
    folder: Path, shared: Any, taken: study.Taken, asked: Mapping[str, Any], left: float
) -> str:
    """Train one trial and keep how it ended. Raises Interrupted where it was asked to stop.

    left: seconds that it may take before it is saved and left; 0: no limit.
    """
    run, by = folder / taken.name, asked["score"]
    run.mkdir(exist_ok=True)

    def look(step: int, numbers: Mapping[str, float]) -> None:
        value = score.of(score.plain(numbers), by)
        if study.should_prune(taken, step, _steps(run), value):
            raise Pruned(f"validation {by} {value:.4f} at step {step}")

    found = _ended(run, lambda: _train(run, taken.values, asked, left, look))
    if found.state == "failed":
        study.set_aside(taken, found.reason)
    else:
        study.tell(shared, taken, found.state, found.numbers, found.numbers.get(by, 0.0))
    if found.state == "pruned":
        study.forget(run)
    log.say(f"  {taken.name}: {said(taken.values)}: {found.state}, {found.reason}")
    return found.state


def _train(
    run: Path, values: Mapping[str, Any], asked: Mapping[str, Any], left: float, look: Callable
) -> Ended:
    """Train a run, not reading the test set; what it came to."""
    import jax

    from lowlabel_jax.runs.train import train

    file, overrides = asked["config"], [*as_arguments(values), *asked["overrides"]]
    command = ["python", "launch.py", f"--config={file}", f"--workdir={run}", *overrides]
    try:
        given = load.load(file, overrides)
        train(given, run, command=command, max_seconds=left, look=look, test=False)
    finally:
        jax.clear_caches()  # no other trial runs these programs
    numbers = score.medians(run)
    return Ended(
        "complete", f"validation {asked['score']} {score.of(numbers, asked['score']):.4f}", numbers
    )


def _ended(run: Path, trained: Callable[[], Ended]) -> Ended:
    """How a training ends that may be pruned, diverge or fail; what it says goes to train.log."""
    with (
        open(run / "train.log", "a", encoding="utf-8") as out,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(out),
    ):
        try:
            return trained()
        except (Pruned, Diverged, UserError) as error:
            print(f"error: {error}" if isinstance(error, UserError) else f"pruned: {error}")
            kinds = {Pruned: "pruned", Diverged: "diverged"}
            return Ended(kinds.get(type(error), "failed"), str(error).splitlines()[0], {})
        except Interrupted as stopped:
            print(stopped)
            raise
        except Exception as error:  # a bug, or the device is full: the other trials go on
            traceback.print_exc()
            return Ended("failed", f"{type(error).__name__}, see {run / 'train.log'}", {})


def _steps(run: Path) -> int:
    """The most steps that a trial's run can take."""
    return sum(spec["steps"] for spec in files.read_json(run / "config.json")["phases"])


def _left(session: Mapping[str, Any]) -> float:
    """Seconds left to the search, below 0 when its time is over; 0: no limit."""
    left = session["ends"] and session["ends"] - time.time()
    return left or 0.0


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(Path(sys.argv[1]))))
