"""Which run comes next: not one that another process trains, nor one that waits for another's end.

A run whose process was killed is taken up again, a few times; one that failed by itself is not.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from lowlabel_jax.core import files
from lowlabel_jax.core.errors import Busy
from lowlabel_jax.runs.sweep import state

TRIES = 3  # of one run whose process is killed
BUSY = Busy.code
STOPPED = (0, 130, 143)  # exit codes of a run that somebody has stopped


class Todo:
    """What is left of a sweep: `waiting`, `at_work` and `codes`, the exit codes of what is over."""

    def __init__(self, commands: Mapping[str, Sequence[str]], folder: Path) -> None:
        self.commands, self.folder = commands, folder
        self.waiting, self.at_work = list(commands), set[str]()
        self.codes: dict[str, int] = {}
        self.tries: Counter[str] = Counter()
        self.needs = {name: needed(name, commands, folder) for name in commands}

    def __bool__(self) -> bool:
        """Whether anything is left to wait for."""
        return bool(self.waiting or self.at_work)

    def take(self) -> str | None:
        """The next run that can be trained now, which is then at work; None: there is none."""
        for name in self.waiting:
            if not self.needs[name] - self.codes.keys() and not is_busy(self.folder / name):
                self.waiting.remove(name)
                self.at_work.add(name)
                return name
        return None

    def over(self, name: str, code: int) -> bool:
        """A run at work has ended with a code, below 0 for a signal that killed its process;
        whether that is its end. Where it is not, it is the next one to be taken."""
        self.at_work.remove(name)
        if code == BUSY:
            self.waiting.append(name)
            return False
        stopped = code in STOPPED and not state.is_finished(self.folder / name)
        if code < 0 or stopped:
            self.tries[name] += 1
            if self.tries[name] < TRIES:
                self.waiting.insert(0, name)
                return False
        self.codes[name] = 128 - code if code < 0 else code or (143 if stopped else 0)
        return True


def needed(name: str, commands: Mapping[str, Sequence[str]], folder: Path) -> set[str]:
    """The other runs that a run's command names: a teacher comes before its student."""
    values = [Path(word.partition("=")[2]) for word in commands[name]]
    named = {path.name for path in values if path.parent == folder}
    return (named & commands.keys()) - {name}


def is_busy(run: Path) -> bool:
    """Whether another process trains a run: the kernel knows, whatever has become of that one."""
    if not run.is_dir():
        return False
    try:
        with files.locked(run):
            return False
    except Busy:
        return True
