"""SIGTERM and Ctrl-C as a flag that the training loop looks at between steps."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


class StopRequest:
    """Whether a signal has asked to stop, and which. A second signal ends the process at once."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def code(self) -> int:
        """The exit status that says which signal it was."""
        return EXIT_CODES[self.signal] if self.signal else 0

    @property
    def name(self) -> str:
        """SIGTERM or SIGINT."""
        return self.signal.name if self.signal else ""

    def handle(self, number: int, _: FrameType | None) -> None:
        """The signal handler: remember the first signal, obey the second."""
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = signal.Signals(number)


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Catch SIGTERM and SIGINT while the block runs; what handled them before comes back after."""
    request = StopRequest()
    before = {number: signal.signal(number, request.handle) for number in EXIT_CODES}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
