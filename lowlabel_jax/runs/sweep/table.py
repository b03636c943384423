"""How the runs of a sweep stand: a live table on a terminal, a line for each event elsewhere."""

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lowlabel_jax.core import log, units
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs.sweep import state
from lowlabel_jax.runs.sweep.todo import BUSY, TRIES, Todo

TAIL = 8192  # bytes of metrics.jsonl that are read for the newest validation
EVERY = 1.0  # seconds between two pictures of the table


class Row(NamedTuple):
    """How one run stands. rate: steps a second, 0 where it is not known yet."""

    name: str
    state: str
    step: int
    total: int
    rate: float
    result: str


class Watch:
    """What is said while the workers train. live: where a table is drawn, or None."""

    def __init__(self, todo: Todo, live: Any = None) -> None:
        self.todo, self.live = todo, live
        self.drawn, self.held = -EVERY, set[str]()

    def begins(self, name: str) -> None:
        """A worker takes a run."""
        if not self.live:
            again = rundir.status(self.todo.folder / name)
            log.say(f"  {name}: {'goes on' if again else 'begins'}")

    def ends(self, name: str, code: int, over: bool) -> None:
        """Its worker has answered, or was killed; over: whether the run is done with."""
        if over and (code or not self.live):
            log.say(f"  {name}: {state.ending(self.todo.folder / name, self.todo.codes[name])}")
        elif code == BUSY and name not in self.held:
            self.held.add(name)
            log.say(f"  {name}: another process trains it; it is waited for")
        elif not over and code != BUSY:
            how = f"was killed by signal {-code}" if code < 0 else "was stopped"
            number = self.todo.tries[name] + 1
            log.say(f"  {name}: its process {how}; it goes on, try {number} of {TRIES}")

    def look(self) -> None:
        """Draw the table anew, if it is time."""
        if self.live and time.monotonic() - self.drawn >= EVERY:
            self.drawn = time.monotonic()
            self.live.update(drawing(self.rows(), self.live.console.height), refresh=True)

    def rows(self) -> list[Row]:
        """How every run stands now, in the order of the sweep."""
        return [self.row(name) for name in self.todo.commands]

    def row(self, name: str) -> Row:
        """How one run stands."""
        run, todo = self.todo.folder / name, self.todo
        status = rundir.status(run)
        step, total = status.get("step", 0), status.get("total", 0)
        if name in todo.codes:
            how = state.ending(run, todo.codes[name]).partition(",")[0]
            return Row(name, how, step, total or step, 0.0, rundir.headline(status))
        if name not in todo.at_work:
            return Row(name, "waiting", step, total, 0.0, "")
        if status.get("state") != "running":
            how = "ending" if status.get("state") == "finished" else "beginning"
            return Row(name, how, step, total or step, 0.0, "")
        return Row(name, "running", step, total, status.get("rate", 0.0), validation(run))


def validation(run: Path) -> str:
    """The newest look at the validation set, from the end of metrics.jsonl; "" for none."""
    path = run / "metrics.jsonl"
    if not path.exists():
        return ""
    with open(path, "rb") as file:
        file.seek(max(path.stat().st_size - TAIL, 0))
        lines = file.read().split(b"\n")[:-1]
    for line in reversed(lines):
        with contextlib.suppress(ValueError):  # the first one may be cut
            if (found := json.loads(line).get("validation/accuracy")) is not None:
                return f"validation accuracy {found:.4f}"
    return ""


def drawing(rows: Sequence[Row], height: int) -> Any:
    """The rows as a table of rich; where they do not fit, those of least news are counted alone."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    shown, hidden = fitting(rows, height)
    table = Table(box=None, pad_edge=False, caption=hidden, caption_justify="left")
    for column in ("run", "state", "", "step", "", "result"):
        table.add_column(column, no_wrap=True)
    for row in shown:
        bar = ProgressBar(row.total, row.step, width=16) if row.total else ""
        step = f"{row.step}/{row.total}" if row.total else ""
        table.add_row(row.name, row.state, bar, step, pace(row), row.result)
    return table


def fitting(rows: Sequence[Row], height: int) -> tuple[list[Row], str]:
    """(the rows that a terminal has lines for, what the others are): those at work first."""
    room = max(height - 4, 1)
    if len(rows) <= room:
        return list(rows), ""
    news = {"running": 0, "beginning": 0, "ending": 0, "waiting": 2, "finished": 3}
    wanted = sorted(range(len(rows)), key=lambda i: news.get(rows[i].state, 1))
    shown, others = sorted(wanted[:room]), [rows[i].state for i in wanted[room:]]
    counts = [f"{others.count(name)} {name}" for name in dict.fromkeys(others)]
    return [rows[i] for i in shown], f"and {', '.join(counts)}"


def pace(row: Row) -> str:
    """The rate and the time that is left: "52 steps/s, 9 s left"."""
    if not row.rate:
        return ""
    return f"{row.rate:.0f} steps/s, {units.duration((row.total - row.step) / row.rate)} left"


@contextlib.contextmanager
def watching(todo: Todo) -> Iterator[Watch]:
    """A watch over a sweep; its table is live only where a terminal can show it."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    if not console.is_terminal or console.is_dumb_terminal:
        yield Watch(todo)
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        watch = Watch(todo, live)
        yield watch
        live.update(drawing(watch.rows(), console.height), refresh=True)
