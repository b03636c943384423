"""A CSV as programs and people write it: BOM, CRLF, three delimiters, newlines in quotes."""

import csv
import difflib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lowlabel_jax.core.errors import UserError, problems

DELIMITERS = (",", ";", "\t")


class Row(NamedTuple):
    """One row: the line of the file that it begins on, counted from 1, and its fields."""

    line: int
    fields: list[str]


class Table(NamedTuple):
    """The rows below the header; blank ones are left out."""

    header: tuple[str, ...]
    rows: list[Row]


def read(path: Path, wanted: Sequence[str], delimiter: str = "") -> Table:
    """The table in a file of UTF-8. delimiter "": the one that finds most `wanted` columns.

    Raises UserError where there is no such file, it is not UTF-8 (with the line), a quote is not
    closed (with the line), or a wanted column is missing (with the columns there are).
    """
    if len(delimiter) > 1:
        raise UserError(
            f"the delimiter {delimiter!r} is not one character.",
            "leave it empty (comma, semicolon, tab are found) or set --config.source.delimiter.",
        )
    text = _text(path)
    delimiter = delimiter or max(DELIMITERS, key=lambda each: _fitness(text, each, wanted))
    rows = list(_rows(path, text, delimiter))
    if not rows:
        named = ", ".join(map(repr, wanted))
        raise UserError(f"{path} is empty.", f"its first line must name the columns {named}.")
    header, *rows = rows
    columns = tuple(name.strip() for name in header.fields)
    _check_columns(path, columns, wanted)
    return Table(columns, rows)


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path} line {line}: the byte {content[error.start]:#04x} is not UTF-8.",
            "save it as UTF-8, in a spreadsheet as 'CSV UTF-8', or: "
            f"iconv -f WINDOWS-1252 -t UTF-8 {path} > utf8.csv",
        ) from None


def _rows(path: Path, text: str, delimiter: str) -> Iterator[Row]:
    """Every row that is not blank, with the line that it begins on."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for fields in reader:
            if len(fields) > 1 or (fields and fields[0].strip()):
                yield Row(line, fields)
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{path} line {line}: the row that begins here cannot be read ({error}).",
            'close its quotes; a quote inside quotes is written twice: "".',
        ) from None


def _fitness(text: str, delimiter: str, wanted: Sequence[str]) -> tuple[int, int]:
    """(wanted columns, columns) of the first row, by which delimiters are compared."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        first = next((fields for fields in reader if any(map(str.strip, fields))), [])
    except csv.Error:  # said by `_rows`, with its line
        return 0, 0
    return len(set(wanted) & {name.strip() for name in first}), len(first)


def _check_columns(path: Path, columns: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise UserError where a wanted column is missing, or is there twice."""
    found = []
    for name in wanted:
        if name not in columns:
            said = f"columns are {list(columns)}"
            found.append(f"{path}: column {name!r} not found; {said}{_near(name, columns)}")
        elif columns.count(name) > 1:
            found.append(f"{path}: column {name!r} is there {columns.count(name)} times.")
    problems(found, "set --config.source.id, .label and .split to the names of the columns.")


def _near(name: str, columns: Sequence[str]) -> str:
    by_small = {column.casefold(): column for column in columns}
    close = difflib.get_close_matches(name.casefold(), by_small, 1, cutoff=0.6)
    return f"; did you mean {by_small[close[0]]!r}?" if close else "."
