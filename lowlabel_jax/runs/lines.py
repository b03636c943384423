"""Lines of text about files: paths may hold line ends, formulas, and bytes that are no UTF-8."""

import csv
import io
from collections.abc import Sequence
from typing import Any


def csv_line(cells: Sequence[Any]) -> str:
    """Cells as a line of CSV, without its end."""
    text, end = io.StringIO(), "\r\n"  # a cell is quoted where it holds one of these
    csv.writer(text, lineterminator=end).writerow(cells)
    return text.getvalue().removesuffix(end)


def one_line(path: str) -> str:
    """A path on one line: quoted, as Python would, where it holds line ends or the like."""
    return repr(path) if any(ord(c) < 32 for c in path) else path


def as_bytes(text: str) -> bytes:
    """UTF-8; bytes of paths that are none come out as they were."""
    return text.encode("utf-8", "surrogateescape")
