"""What the program says to the person watching: notes on stdout, warnings on stderr.

Where nobody reads any more, a command that only shows things ends, and a training goes on.
"""

import io
import os
import shutil
import sys
from pathlib import Path
from typing import TextIO

hushed: list[bool] = []  # anything in it: another process speaks for this one
lasting: list[bool] = []  # anything in it: see outlast


def hush() -> None:
    """Say nothing more: another process of the same run does. Warnings are still given."""
    hushed.append(True)


def say(text: str = "") -> None:
    """One line for the reader, at once even when piped."""
    if hushed:
        return
    try:
        sys.stdout.write(text + "\n")  # one write: lines of several threads do not mix
        sys.stdout.flush()
    except OSError:
        if not lasting:
            raise
        silence(sys.stdout)


def warn(text: str) -> None:
    """One line about something that went on all the same."""
    tell(f"warning: {text}")


def tell(text: str) -> None:
    """One line on stderr, if there is anyone to read it."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)


def outlast() -> None:
    """From here on there is work that does not end with its reader (`| head`), or with the room for
    what it says."""
    lasting.append(True)


def silence(stream: TextIO) -> None:
    """Send a stream that takes no more to nowhere, or Python stumbles over it again at its exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def take_any_text() -> None:
    """Let class names and dashes through to a terminal without Unicode, written as \\u2026."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(errors="backslashreplace")


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
