"""What asks a run to stop, as a flag that it looks at between steps: signals, or its time is spent.

SIGTERM and Ctrl-C end the process with their own codes after saving. SIGUSR1, with which SLURM
announces the end (`sbatch --signal=USR1@120`), and a limit of seconds end it with 0: all is well.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 0}


class StopRequest:
    """Whether something has asked to stop, and what. A second signal ends the process at once.

    seconds: for how long the run may go on from here; 0: for ever. clock: a monotonic one, in
    seconds.
    """

    def __init__(self, seconds: float = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.signal: signal.Signals | None = None
        self.seconds, self.clock, self.began = seconds, clock, clock()

    def __bool__(self) -> bool:
        return self.signal is not None or 0 < self.seconds <= self.clock() - self.began

    @property
    def code(self) -> int:
        """The exit status that says which signal it was; 0 for time that is spent."""
        return EXIT_CODES[self.signal] if self.signal else 0

    @property
    def name(self) -> str:
        """SIGTERM, SIGINT, SIGUSR1, or the seconds that are spent."""
        return self.signal.name if self.signal else f"{self.seconds:g} seconds"

    def handle(self, number: int, _: FrameType | None) -> None:
        """The signal handler: remember the first signal, obey the second.

        A second SIGUSR1 is a scheduler's that announces itself to several processes: no haste.
        """
        if self.signal is None:
            self.signal = signal.Signals(number)
        elif number != signal.SIGUSR1:
            os._exit(128 + number)


@contextlib.contextmanager
def stop_request(request: StopRequest | None = None) -> Iterator[StopRequest]:
    """Catch the signals while the block runs; what handled them before comes back after."""
    request = StopRequest() if request is None else request
    before = {number: signal.signal(number, request.handle) for number in EXIT_CODES}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
