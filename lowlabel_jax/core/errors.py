"""What a user can put right, said in two lines, and the exit codes of every door.

Codes: 0 ok, 1 a bug (traceback), 2 user / config / data, 3 directory busy, 4 diverged,
5 a process lost, 130 interrupted, 143 terminated after saving.
"""

import difflib
import errno
import sys
import traceback
from collections.abc import Callable, Iterable

from lowlabel_jax.core import log

FULL = (errno.ENOSPC, errno.EDQUOT)  # of the disk, or of the user's share of it


class UserError(Exception):
    """A mistake that its reader can mend: what is wrong, and a hint that says what to type."""

    code = 2

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.message, self.hint = message, hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class Busy(UserError):
    """Another process holds the run directory."""

    code = 3


class Diverged(UserError):
    """The numbers stopped being finite."""

    code = 4


class SaveFailed(UserError):
    """The state could not be written: the machine's fault, not the configuration's."""

    code = 1


class Lost(UserError):
    """Another process of the same run is gone, and with it what the next step needs."""

    code = 5


class Pruned(Exception):
    """A search has ended a trial that does worse than others did at the same step."""


class Interrupted(Exception):
    """A signal asked the run to stop, and its state is saved."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


def problems(found: Iterable[str], hint: str = "") -> None:
    """Raise one UserError that lists every problem, if there is any."""
    found = list(found)
    if len(found) == 1:
        raise UserError(found[0], hint)
    if found:
        raise UserError(f"{len(found)} problems:\n" + "\n".join(f"  - {p}" for p in found), hint)


def nearest(word: str, known: Iterable[str]) -> str:
    """ " Did you mean 'x'?" for the known word that is nearest, or nothing."""
    known = list(known)
    close = difflib.get_close_matches(word, known, 1, cutoff=0.6)
    if not close:  # a short name typed for the foot of a dotted one
        close = [k for k in known if k.rsplit(".", 1)[-1] == word.rsplit(".", 1)[-1]][:1]
    return f" Did you mean {close[0]!r}?" if close else ""


def guarded(main: Callable[[], int | None], traceback_wanted: bool = False) -> int:
    """Run `main`; turn what a user can mend into `error:` and `hint:` lines and an exit code."""
    try:
        return main() or 0
    except UserError as error:
        if traceback_wanted:
            traceback.print_exc()
        log.tell(f"error: {error.message}")
        if error.hint:
            log.tell(f"hint: {error.hint}")
        return error.code
    except Interrupted as stop:
        log.tell(str(stop))
        return stop.code
    except KeyboardInterrupt:
        log.tell("interrupted")
        return 130
    except BrokenPipeError:  # `lowlabel runs … | head`: the reader has seen enough
        log.silence(sys.stdout)
        return 0
    except OSError as error:
        if error.errno not in FULL or traceback_wanted:
            raise
        log.tell(f"error: disk full{f' at {error.filename}' if error.filename else ''}.")
        log.tell("hint: free some space and give the same command again.")
        return SaveFailed.code
