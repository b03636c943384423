"""The worker processes of a search, side by side, until no trial is left. No JAX here."""

import sys
import time
from pathlib import Path

from lowlabel_jax.core import log, signals
from lowlabel_jax.core.errors import Interrupted
from lowlabel_jax.runs import held
from lowlabel_jax.runs.sweep.share import share

LOOK = 0.2  # seconds between two looks at the workers
WORKER = (sys.executable, "-m", "lowlabel_jax.runs.search.worker")


def train_all(folder: Path, workers: int) -> None:
    """Worker processes side by side until no trial is left; one that is killed is replaced.

    Raises Interrupted, with all that was under way saved, where a signal asks to stop.
    """
    program = (*WORKER, str(folder))
    with signals.stop_request() as stop:
        shares = [share(workers, number) for number in range(workers)]
        crew = [held.start(program, environment) for environment in shares]
        spare = 2 * workers  # a machine that kills every worker shall not be asked for ever
        while not stop:
            for number, process in enumerate(crew):
                code = process.poll() or 0
                if code < 0 and spare:
                    log.warn(f"worker {number} was killed (signal {-code}): a new one.")
                    held.gone(process)
                    crew[number], spare = held.start(program, shares[number]), spare - 1
            if all(process.poll() is not None for process in crew):
                break
            time.sleep(LOOK)
        for process in crew:
            held.let_go(process)
        for process in crew:
            held.gone(process)
        if stop:
            raise Interrupted(
                f"stopped after {stop.name}; what was under way is saved. "
                "The same command goes on.",
                stop.code,
            )
