"""What the program says to the person watching: notes on stdout, warnings on stderr."""

import os
import shutil
import sys
from pathlib import Path


def say(text: str = "") -> None:
    """One line for the reader, at once even when piped."""
    sys.stdout.write(text + "\n")  # one write: lines of several threads do not mix
    sys.stdout.flush()


def warn(text: str) -> None:
    """One line about something that went on all the same."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def typed(command: str) -> str:
    """A command that begins with `python` or `lowlabel`, as it has to be typed in this shell.

    Where the environment is not activated, its programs are not on the path: they are named whole.
    """
    program, space, rest = command.partition(" ")
    there = Path(sys.executable).parent / program
    found = shutil.which(program)
    if (found and Path(found) == there) or not there.exists():
        return command
    near = os.path.relpath(there)
    return f"{there if near.startswith('..') else near}{space}{rest}"
