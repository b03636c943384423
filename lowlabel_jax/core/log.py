"""What the program says to the person watching: notes on stdout, warnings on stderr."""

import sys


def say(text: str = "") -> None:
    """One line for the reader, at once even when piped."""
    sys.stdout.write(text + "\n")  # one write: lines of several threads do not mix
    sys.stdout.flush()


def warn(text: str) -> None:
    """One line about something that went on all the same."""
    print(f"warning: {text}", file=sys.stderr, flush=True)
