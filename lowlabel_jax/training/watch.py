"""Progress for the person watching: a live bar a phase on a terminal, plain lines when piped."""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lowlabel_jax.core import log, units
from lowlabel_jax.training.trace import Trace

SHOWN = {  # metric -> what the line calls it; a line shows those of them that a method has
    "loss": "loss",
    "accuracy/labelled": "labelled accuracy",
    "mask_rate": "mask rate",
    "pseudo_label/accuracy": "pseudo-label accuracy",
    "psnr": "PSNR in dB",
    "statistics/drift": "drift",
    "validation/accuracy": "validation accuracy",
}


LINES, APART = 30, 10.0  # where lines are piped: so many at once, then one in so many seconds


class Watch:
    """Counts the steps of each phase and shows numbers. Make one with `watching`; begin first."""

    def __init__(
        self,
        phases: Sequence[Mapping[str, Any]],
        bar: Progress | None,
        trace: Trace | None = None,
    ):
        self.trace, self.lines, self.said = trace, 0, -math.inf
        self.parts = [(spec["name"], spec["steps"]) for spec in phases]  # a name may come twice
        self.total, self.bar, self.tasks = sum(steps for _, steps in self.parts), bar, []
        self.began: float | None = None
        if bar:
            self.tasks = [bar.add_task(n, total=t, start=False, text="") for n, t in self.parts]

    def begin(self, phase: int, done: int) -> None:
        """The phase of that number begins, or goes on, with so many steps done."""
        self.phase, self.done = phase, done
        self.name, self.length = self.parts[phase]
        self.began, self.first = None, done  # the clock starts behind the step that compiles
        for task in self.tasks[:phase]:  # an earlier process may have been at them
            if self.bar and not self.bar.tasks[task].started:
                self.bar.update(task, completed=self.parts[task][1])
        if self.bar:
            self.bar.start_task(self.tasks[phase])
            self.bar.update(self.tasks[phase], completed=done)

    @property
    def waits(self) -> bool:
        """Whether no step is done since the phase began, or went on: what was before is saved."""
        return self.began is None

    @property
    def rate(self) -> float:
        """Steps a second since the phase began, or went on."""
        if self.began is None or self.done == self.first:
            return 0.0
        return (self.done - self.first) / (time.monotonic() - self.began)

    def step(self, done: int) -> None:
        """So many steps of the phase are done."""
        if self.began is None:
            self.began, self.first = time.monotonic(), done
        self.done = done
        if self.trace:
            self.trace.step(done)
        if self.bar:
            self.bar.update(self.tasks[self.phase], completed=done)

    def end(self) -> None:
        """The phase is over, though it may have steps left."""
        if self.bar:
            self.bar.update(self.tasks[self.phase], total=self.done)
            self.bar.stop_task(self.tasks[self.phase])

    def show(self, numbers: Mapping[str, Any]) -> None:
        """These are the newest numbers."""
        found = [(name, numbers.get(key)) for key, name in SHOWN.items()]
        text = "  ".join(f"{name} {value:.3f}" for name, value in found if value is not None)
        if self.bar:
            self.bar.update(self.tasks[self.phase], text=f"{self.rate:.0f} steps/s  {text}")
        elif self.rate > 0 and self._due():
            left = units.duration((self.length - self.done) / self.rate)
            rate = f"{self.rate:.1f} steps/s  {left} left"
            name = f"{self.name} " if len(self.parts) > 1 else ""
            log.say(f"{name}step {self.done}/{self.length}  {rate}  {text}")

    def _due(self) -> bool:
        """Whether to say a line: a run of a million steps does not fill a disk with them."""
        self.lines += 1
        if self.lines <= LINES or self.done >= self.length:
            return True
        now = time.monotonic()
        if now - self.said < APART:
            return False
        self.said = now
        return True


@contextlib.contextmanager
def watching(
    phases: Sequence[Mapping[str, Any]], folder: Path | None = None, profile: int = 0
) -> Iterator[Watch]:
    """A watch over a run's phases; live bars only where a terminal can show them.

    profile: steps that are traced into the folder; 0: none.
    """
    console = Console()
    with contextlib.ExitStack() as held:
        bar = None
        if console.is_terminal and not console.is_dumb_terminal:
            bar = held.enter_context(Progress(*columns(len(phases)), console=console))
        traced = held.enter_context(Trace(folder, profile)) if folder and profile else None
        yield Watch(phases, bar, traced)


def columns(phases: int) -> tuple[Any, ...]:
    """What a live bar shows; its name where there are several."""
    name = (TextColumn("{task.description}"),) if phases > 1 else ()
    numbers = TextColumn("{task.fields[text]}")
    return (*name, BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn(), numbers)
