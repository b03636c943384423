"""What a run leaves on disk while it goes on: metrics.jsonl, and what is derived from it.

metrics.jsonl is the source of truth and holds no times, so that a run that was interrupted ends
with the same bytes as one that was not. tb/ and status.json may be deleted at any time. A full disk
stops none of them: what could not be written is tried again at the next interval. A checkpoint does
not wait so: it counts on the rows.
"""

import contextlib
import json
import math
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event  # type: ignore[attr-defined]  # generated
from tensorboardX.proto.summary_pb2 import Summary  # type: ignore[attr-defined]
from tensorboardX.record_writer import RecordWriter
from tensorboardX.summary import scalar

from lowlabel_jax.core import files, log, processes
from lowlabel_jax.core.errors import SaveFailed

LIVE = 30  # seconds after which TensorBoard sees what was written
full: set[Path] = set()  # directories on a full disk: said once


class Record:
    """The open files of one run. Make one with `recording`."""

    def __init__(self, directory: Path):
        self.directory, self.unwritten = directory, b""
        self.file = open(directory / "metrics.jsonl", "ab", buffering=0)  # noqa: SIM115
        self.board: Board | None = None
        with spared(directory):
            self.board = Board(directory)

    def write(self, row: dict[str, Any]) -> None:
        """Append one row, on the disk's side of a crash of this process."""
        if self.unwritten:
            self._drop_board()  # it has missed what waits
        self.unwritten += (json.dumps(row, allow_nan=False) + "\n").encode()
        with spared(self.directory):
            self._drain()
            self._show(row)

    def sync(self) -> None:
        """Make the rows durable: called before a checkpoint that counts on them.

        Raises SaveFailed where the disk is full.
        """
        try:
            self._drain()
            os.fsync(self.file.fileno())
        except OSError as error:
            if not files.is_full(error):
                raise
            raise SaveFailed(
                f"disk full: {self.directory / 'metrics.jsonl'} cannot be written.",
                "free some space and give the same command again: it goes on from the last "
                "checkpoint.",
            ) from error

    def close(self) -> None:
        """Close both files."""
        if self.unwritten:
            self._drop_board()
        with spared(self.directory):
            self._drain()
            self.board = self.board or Board(self.directory)
            self.board.close()
        self.file.close()

    def _show(self, row: dict[str, Any]) -> None:
        if self.board is None:
            self.board = Board(self.directory)  # which has this row, too
            return
        try:
            self.board.show(row)
        except OSError:
            self._drop_board()
            raise

    def _drop_board(self) -> None:
        if self.board:
            with contextlib.suppress(OSError):
                self.board.close()
        self.board = None

    def _drain(self) -> None:
        while self.unwritten:  # a disk that fills takes a part of it
            self.unwritten = self.unwritten[self.file.write(self.unwritten) :]


class Board:
    """tb/: the rows of metrics.jsonl for TensorBoard, made anew from them.

    Written by the calling thread: tensorboardX's own one dies of a full disk, and with its queue
    full the training would wait for ever.
    """

    def __init__(self, directory: Path):
        place = directory / "tb"
        shutil.rmtree(place, ignore_errors=True)  # derived: rebuilt, never doubled
        place.mkdir()
        self.events = RecordWriter(str(place / f"events.out.tfevents.{time.time():.0f}.lowlabel"))
        self.flushed = time.monotonic()
        try:
            self._add(Event(file_version="brain.Event:2"))
            for row in kept_rows(directory / "metrics.jsonl"):
                self.show(row)
        except OSError:
            with contextlib.suppress(OSError):
                self.close()
            raise

    def show(self, row: dict[str, Any]) -> None:
        """Add the numbers of a row; what is one for each class stays in metrics.jsonl."""
        found = [scalar(name, x).value[0] for name, x in row.items() if isinstance(x, float)]
        step = row["step"]
        self._add(Event(wall_time=step, step=step, summary=Summary(value=found)))
        if time.monotonic() - self.flushed > LIVE:
            self.events.flush()
            self.flushed = time.monotonic()

    def close(self) -> None:
        """Close the file, also where what is left of it finds no room."""
        self.events.close()

    def _add(self, event: Event) -> None:
        self.events.write(event.SerializeToString())


class Unwritten(Record):
    """The record of a process that is not the first one of its run, which writes for all."""

    def __init__(self) -> None:
        """Open nothing."""

    def write(self, row: dict[str, Any]) -> None:
        """Nothing: the first process has the same row."""

    def sync(self) -> None:
        """Nothing."""


@contextlib.contextmanager
def recording(directory: Path, step: int) -> Iterator[Record]:
    """A record that goes on after `step`: later rows and a torn last line are dropped first."""
    if not processes.first():
        yield Unwritten()
        return
    rows = kept_rows(directory / "metrics.jsonl", step)
    files.write_text(directory / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    record = Record(directory)
    try:
        yield record
    finally:
        record.close()


@contextlib.contextmanager
def spared(directory: Path) -> Iterator[None]:
    """Go on where the disk is full with what can be written later; say so once."""
    try:
        yield
    except OSError as error:
        if not files.is_full(error):
            raise
        if directory not in full:
            full.add(directory)
            log.warn(
                f"disk full at {directory}: training goes on, and its numbers are written when "
                "there is room again. The next checkpoint needs it."
            )


def kept_rows(path: Path, step: float = math.inf) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl up to and including a step; a line cut short is not a row."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    rows = (json.loads(line) for line in lines)
    return [row for row in rows if row["step"] <= step]


def write_status(directory: Path, state: str, step: int, **more: Any) -> None:
    """status.json: how the run stands, for people and for `lowlabel runs`. Also its heartbeat."""
    if not processes.first():
        return
    who = {"pid": os.getpid(), "host": socket.gethostname(), "time": files.now()}
    with spared(directory):
        files.write_json(directory / "status.json", {"state": state, "step": step, **who, **more})
