"""Progress for the person watching: one live line on a terminal, plain lines when piped."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lowlabel_jax.core import log, units

SHOWN = {  # metric -> what the line calls it; a line shows those of them that a method has
    "loss": "loss",
    "accuracy/labelled": "labelled accuracy",
    "mask_rate": "mask rate",
    "pseudo_label/accuracy": "pseudo-label accuracy",
    "validation/accuracy": "validation accuracy",
}


class Watch:
    """Counts steps and shows numbers. Make one with `watching`."""

    def __init__(self, total: int, done: int, bar: Progress | None):
        self.total, self.done, self.bar = total, done, bar
        self.began, self.first = None, done  # the clock starts behind the step that compiles
        self.task = bar.add_task("", total=total, completed=done, text="") if bar else None

    @property
    def rate(self) -> float:
        """Steps a second since the watch began."""
        if self.began is None or self.done == self.first:
            return 0.0
        return (self.done - self.first) / (time.monotonic() - self.began)

    def step(self, done: int) -> None:
        """So many steps are done."""
        if self.began is None:
            self.began, self.first = time.monotonic(), done
        self.done = done
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=done)

    def show(self, numbers: Mapping[str, Any]) -> None:
        """These are the newest numbers."""
        found = [(name, numbers.get(key)) for key, name in SHOWN.items()]
        text = "  ".join(f"{name} {value:.3f}" for name, value in found if value is not None)
        if self.bar and self.task is not None:
            self.bar.update(self.task, text=f"{self.rate:.0f} steps/s  {text}")
        elif self.rate > 0:
            left = units.duration((self.total - self.done) / self.rate)
            rate = f"{self.rate:.1f} steps/s  {left} left"
            log.say(f"step {self.done}/{self.total}  {rate}  {text}")


@contextlib.contextmanager
def watching(total: int, done: int) -> Iterator[Watch]:
    """A watch over the steps of a run; a live line only where a terminal can show it."""
    console = Console()
    if not console.is_terminal or console.is_dumb_terminal:
        yield Watch(total, done, None)
        return
    columns = (
        BarColumn(20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=console) as bar:
        yield Watch(total, done, bar)
