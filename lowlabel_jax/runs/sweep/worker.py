"""One process that trains run after run: `python -m lowlabel_jax.runs.sweep.worker`.

A line of stdin is a run (a command of launch.py as JSON); a line of stdout is its exit code. What
a run says goes to its train.log. Where stdin ends, whoever gave the runs wants no more, or is gone:
the run under way is saved and the process ends. It saves the seconds in which a process imports
JAX, which are half of what a small run takes.
"""

import gc
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path

from lowlabel_jax.configuration import load
from lowlabel_jax.core.errors import guarded
from lowlabel_jax.runs import held

BUG = 1  # the exit code of what nobody has foreseen


def main() -> int:
    """Train what stdin lists, one run at a time; 0."""
    held.may_go()
    runs: queue.SimpleQueue[list[str] | None] = queue.SimpleQueue()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    threading.Thread(target=_listen, args=(runs,), daemon=True).start()
    from lowlabel_jax import start

    start.jax_ready()
    while (command := runs.get()) is not None:
        code = one(command)
        print(code, file=answers, flush=True)
        if code == BUG:  # nobody knows in what state it has left this process
            break
    return 0


def _listen(runs: "queue.SimpleQueue[list[str] | None]") -> None:
    """Pass on what stdin says; at its end, leave."""
    for line in sys.stdin:
        runs.put(json.loads(line))
    runs.put(None)
    held.leave()


def one(command: Sequence[str]) -> int:
    """Train the run of a command of launch.py; its exit code."""
    import jax

    _say_in(Path(option(command, "--workdir=")) / "train.log")
    try:
        return guarded(lambda: train(command))
    except Exception:
        traceback.print_exc()
        return BUG
    finally:
        jax.clear_caches()  # hundreds of programs in one process have crashed jaxlib 0.10.2
        gc.collect()


def train(command: Sequence[str]) -> None:
    """What launch.py does with such a command."""
    from lowlabel_jax.runs.auto.auto import auto
    from lowlabel_jax.runs.train import train

    config = load.load(option(command, "--config="), overrides(command))
    how = auto if config.tune.budget != "off" else train
    how(config, Path(option(command, "--workdir=")), command=["python", "launch.py", *command[2:]])


def option(command: Sequence[str], name: str) -> str:
    """The value of an option that a command has: ("--workdir=x", "--workdir=") -> "x"."""
    return next(word.removeprefix(name) for word in command if word.startswith(name))


def overrides(command: Sequence[str]) -> list[str]:
    """The settings that a command changes."""
    return [word for word in command if word.startswith(load.PREFIX)]


def _say_in(log: Path) -> None:
    """From here on all that this process says, libraries in C++ too, goes to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    with open(log, "ab") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)


if __name__ == "__main__":
    sys.exit(main())
