"""Several processes that train one run together, each on its own devices.

All of them take the same steps: what decides a step is computed from the same numbers, or is told
by the first process. The first one alone writes, evaluates and speaks. In a run of one process
every function here answers at once and costs nothing.
"""

import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from lowlabel_jax.core import log
from lowlabel_jax.core.errors import Lost, UserError
from lowlabel_jax.core.signals import StopRequest

AGREE = 20  # steps between two looks at whether any process has been asked to stop
SILENCE = 60  # seconds without a heartbeat after which a process counts as gone
GONE = re.compile("gloo|nccl|peer|heartbeat|coordination|connection|socket", re.IGNORECASE)
FLAGS = "--processes=N --process_id=I --coordinator=HOST:PORT"


def join(processes: str, number: int | None = None, coordinator: str = "") -> None:
    """Become one of several processes, before JAX's first array. Waits for the others.

    processes: how many, or "auto", where SLURM, Open MPI or the like say all three. number: which
    one this is, from 0. coordinator: host:port of the first one, which must be able to open it.
    Raises UserError where something is missing, or where the others do not come.
    """
    given: dict[str, Any] = {}
    if processes != "auto":
        given = {
            "coordinator_address": coordinator,
            "num_processes": _count(processes, number, coordinator),
            "process_id": number,
        }
    try:
        jax.distributed.initialize(**given, heartbeat_timeout_seconds=SILENCE)
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"the processes of this job did not come together ({str(error).splitlines()[0]}).",
            f"start all of them with {FLAGS}; --processes=auto is for SLURM and Open MPI.",
        ) from error
    if not first():
        log.hush()


def _count(processes: str, number: int | None, coordinator: str) -> int:
    """How many processes there are. Raises UserError where the flags do not say which is which."""
    if not processes.isdecimal() or not int(processes):
        raise UserError(
            f"--processes={processes} is no number of processes, and not auto.", f"write {FLAGS}."
        )
    if not coordinator or number is None or not 0 <= number < int(processes):
        raise UserError(
            f"--processes={processes} needs to know which process this is, and the first one's "
            f"address: --process_id={number}, --coordinator={coordinator or None}.",
            f"write {FLAGS}, with I from 0 to {int(processes) - 1}.",
        )
    return int(processes)


def count() -> int:
    """How many processes train together."""
    return jax.process_count()


def first() -> bool:
    """Whether this process is the one that writes, evaluates and speaks."""
    return jax.process_index() == 0


def part() -> tuple[int, int]:
    """(which process this is, how many there are): the share of a batch that is its own."""
    return jax.process_index(), jax.process_count()


def from_first(value: Any = None) -> Any:
    """What the first process gives, in every process: anything that JSON knows. All must ask."""
    if count() == 1:
        return value
    said = json.dumps(value).encode() if first() else b""
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(said))))
    text = np.frombuffer(said.ljust(size), np.uint8)
    return json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(text))))


def asked(stop: StopRequest, step: int, taken: int = 1) -> bool:
    """Whether this run is to save and stop here: of several processes, whether any has been asked.

    They look together, every AGREE steps, so that all stop at the same one. taken: how many steps
    lie between two calls.
    """
    if count() == 1:
        return bool(stop)
    if step % AGREE >= taken:
        return False
    mine = (stop.signal or 0) if stop else -1
    found = int(multihost_utils.process_allgather(np.int32(mine)).max())
    if found > 0:
        stop.signal = signal.Signals(found)
    return found >= 0


@contextlib.contextmanager
def companions() -> Iterator[None]:
    """Turn the failure of a collective operation into Lost: another process has gone."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if count() == 1 or not GONE.search(str(error)):
            raise
        raise Lost(
            f"another of the {count()} processes of this run is gone "
            f"({str(error).splitlines()[0][:200]}).",
            "start all of them again with the same commands: they go on from the last checkpoint.",
        ) from error


def leave(status: int) -> int:
    """The exit status; of several processes, one that failed does not wait for the others.

    JAX's own farewell waits until all have come, and they wait for this one.
    """
    if status and count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status
