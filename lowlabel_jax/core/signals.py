"""What asks a run to stop, as a flag that it looks at between steps: signals, or its time is spent.

SIGTERM and Ctrl-C end the process with their own codes after saving. SIGUSR1, with which SLURM
announces the end (`sbatch --signal=USR1@120`), and a limit of seconds end it with 0: all is well.

Python runs handlers of signals between two of its instructions, and a compilation is one that may
take minutes. So a thread hears the signals too, and ends a process that has nothing to save.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from lowlabel_jax.core.errors import Interrupted

EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 0}
PATIENCE = 15  # seconds from a signal until the thread looks: schedulers kill after 30 or more


class Now(BaseException):
    """A signal in a block of `at_once`. No code that forgives an Exception holds it up."""


class StopRequest:
    """Whether something has asked to stop, and what. A second signal ends the process at once.

    seconds: for how long the run may go on from here; 0: for ever. clock: a monotonic one, in
    seconds.
    """

    def __init__(self, seconds: float = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.signal: signal.Signals | None = None
        self.seconds, self.clock, self.began = seconds, clock, clock()
        self.hurry = False  # nothing would be lost: a signal ends what is under way
        self.leave: Callable[[signal.Signals], None] | None = None

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
        Raises Now in a block of `at_once`.
        """
        if self.signal is None:
            self.signal = signal.Signals(number)
            if self.hurry:
                raise Now
        elif number != signal.SIGUSR1:
            os._exit(128 + number)


@contextlib.contextmanager
def stop_request(request: StopRequest | None = None) -> Iterator[StopRequest]:
    """Catch the signals while the block runs; what handled them before comes back after."""
    request = StopRequest() if request is None else request
    before = {number: signal.signal(number, request.handle) for number in EXIT_CODES}
    try:
        with _heard_by_a_thread(request):
            yield request
    finally:
        for number, handler in before.items():  # None: one that no Python has set (JAX's own)
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def at_once(request: StopRequest) -> Iterator[None]:
    """A block with nothing to save, which can be done again: a signal ends it there and then.

    Raises Interrupted, also for a signal that came before.
    """
    try:
        request.hurry = True
        if request.signal:
            raise Now
        yield
    except Now:
        raise Interrupted(f"all steps are saved; stopped by {request.name}", request.code) from None
    finally:
        request.hurry = False


@contextlib.contextmanager
def _heard_by_a_thread(request: StopRequest) -> Iterator[None]:
    ear, mouth = socket.socketpair()
    mouth.setblocking(False)
    before = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=_listen, args=(ear, request), daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        mouth.close()
        thread.join()
        ear.close()


def _listen(ear: socket.socket, request: StopRequest) -> None:
    """End the process on a second signal; after the first one, once `request.leave` agrees."""
    heard: list[signal.Signals] = []
    while True:
        try:
            told = ear.recv(1)
        except TimeoutError:
            _leave(request, heard[0])
            continue
        if not told:  # the block is over
            return
        if (number := told[0]) not in EXIT_CODES:
            continue
        if heard and number != signal.SIGUSR1:
            os._exit(128 + number)
        heard.append(signal.Signals(number))
        if heard[0] != signal.SIGINT:  # a person is there to press it again
            ear.settimeout(PATIENCE)


def _leave(request: StopRequest, number: signal.Signals) -> None:
    try:
        if request.leave:
            request.leave(number)
    except Interrupted as stopped:
        print(stopped, file=sys.stderr, flush=True)
        os._exit(stopped.code)
