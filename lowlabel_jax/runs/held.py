"""Worker processes that are held by their stdin: where it ends, they save what they do and go.

It ends when the process that started them asks for it, and also when that one is killed. No JAX.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parent.parent.parent
AGAIN = 0.5  # seconds between two wishes to save


def start(
    program: Sequence[str], environment: Mapping[str, str], **how: Any
) -> subprocess.Popen[Any]:
    """Start a worker that finds this package wherever it runs; how: of subprocess.Popen."""
    path = os.pathsep.join(filter(None, (str(ROOT), environment.get("PYTHONPATH"))))
    return subprocess.Popen(
        program,
        stdin=subprocess.PIPE,
        env={**environment, "PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C is for who started it, and asks each to save
        **how,
    )


def let_go(process: subprocess.Popen[Any]) -> None:
    """Ask a worker to save and go."""
    if process.stdin:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def gone(process: subprocess.Popen[Any]) -> int:
    """Let a worker go, and wait until it has; its exit code, below 0 for a signal."""
    let_go(process)
    code = process.wait()
    if process.stdout:
        process.stdout.close()
    return code


def may_go() -> None:
    """In a worker: the wish to save may come at any time; between runs there is nothing to save."""
    signal.signal(signal.SIGUSR1, lambda *_: None)


def leave() -> NoReturn:
    """In a worker, whose stdin has ended: ask its run to save until the process is over.

    Again and again: a run may just be beginning, and not listen yet.
    """
    while True:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(AGAIN)
