"""What a run leaves on disk while it goes on: metrics.jsonl, and what is derived from it.

metrics.jsonl is the source of truth and holds no times, so that a run that was interrupted ends
with the same bytes as one that was not. tb/ and status.json may be deleted at any time.
"""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from lowlabel_jax.core import files


class Record:
    """The open files of one run. Make one with `recording`."""

    def __init__(self, directory: Path, rows: list[dict[str, Any]]):
        self.directory = directory
        self.file = open(directory / "metrics.jsonl", "a", encoding="utf-8")  # noqa: SIM115
        self.board = SummaryWriter(str(directory / "tb"), write_to_disk=True)
        for row in rows:
            self._show(row)

    def write(self, row: dict[str, Any]) -> None:
        """Append one row, on the disk's side of a crash of this process."""
        self.file.write(json.dumps(row, allow_nan=False) + "\n")
        self.file.flush()
        self._show(row)

    def sync(self) -> None:
        """Make the rows durable: called before a checkpoint that counts on them."""
        os.fsync(self.file.fileno())

    def close(self) -> None:
        """Close both files."""
        self.file.close()
        self.board.close()

    def _show(self, row: dict[str, Any]) -> None:
        for name, value in row.items():
            if isinstance(value, float):  # numbers; what is one for each class stays in the row
                self.board.add_scalar(name, value, row["step"], walltime=row["step"])


@contextmanager
def recording(directory: Path, step: int) -> Iterator[Record]:
    """A record that goes on after `step`: later rows and a torn last line are dropped first."""
    rows = kept_rows(directory / "metrics.jsonl", step)
    files.write_text(directory / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    shutil.rmtree(directory / "tb", ignore_errors=True)  # derived: rebuilt, never doubled
    record = Record(directory, rows)
    try:
        yield record
    finally:
        record.close()


def kept_rows(path: Path, step: int) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl up to and including a step; a line cut short is not a row."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    rows = (json.loads(line) for line in lines)
    return [row for row in rows if row["step"] <= step]


def write_status(directory: Path, state: str, step: int, **more: Any) -> None:
    """status.json: how the run stands, for people and for `lowlabel runs`. Also its heartbeat."""
    who = {"pid": os.getpid(), "host": socket.gethostname(), "time": files.now()}
    files.write_json(directory / "status.json", {"state": state, "step": step, **who, **more})
