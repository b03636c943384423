"""The worker processes of a search, side by side, until no trial is left. No JAX here."""

import subprocess
import sys
import time
from pathlib import Path

from lowlabel_jax.core import log, signals
from lowlabel_jax.core.errors import Interrupted
from lowlabel_jax.runs.sweep.share import share

LOOK = 0.2  # seconds between two looks at the workers
WORKER = (sys.executable, "-m", "lowlabel_jax.runs.search.worker")
ROOT = Path(__file__).parent.parent.parent.parent


def train_all(folder: Path, workers: int) -> None:
    """Worker processes side by side until no trial is left; one that is killed is replaced.

    Raises Interrupted, with all that was under way saved, where a signal asks to stop.
    """
    with signals.stop_request() as stop:
        crew = [_worker(folder, workers, number) for number in range(workers)]
        spare = 2 * workers  # a machine that kills every worker shall not be asked for ever
        while not stop:
            for number, process in enumerate(crew):
                code = process.poll() or 0
                if code < 0 and spare:
                    log.warn(f"worker {number} was killed (signal {-code}): a new one.")
                    _gone(process)
                    crew[number], spare = _worker(folder, workers, number), spare - 1
            if all(process.poll() is not None for process in crew):
                break
            time.sleep(LOOK)
        for process in crew:
            _let_go(process)
        for process in crew:
            _gone(process)
        if stop:
            raise Interrupted(
                f"stopped after {stop.name}; what was under way is saved. "
                "The same command goes on.",
                stop.code,
            )


def _worker(folder: Path, workers: int, number: int) -> subprocess.Popen[bytes]:
    environment = share(workers, number)
    path = ":".join(filter(None, (str(ROOT), environment.get("PYTHONPATH"))))
    return subprocess.Popen(
        [*WORKER, str(folder)],
        stdin=subprocess.PIPE,
        env={**environment, "PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C is for the search, which asks each to save
    )


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """Ask a worker to save and go."""
    if process.stdin:
        process.stdin.close()


def _gone(process: subprocess.Popen[bytes]) -> None:
    _let_go(process)
    process.wait()
