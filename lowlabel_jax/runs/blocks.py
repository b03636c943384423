"""A report's content, said once and written twice: as HTML that needs no network, and as Markdown.

All text in blocks is plain: what comes from a disk is escaped by both writers.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lowlabel_jax.runs.compare_pages import grid
from lowlabel_jax.runs.data_page import printable
from lowlabel_jax.runs.web import img, safe, whole


class Heading(NamedTuple):
    """A title; level 1 is the page's."""

    text: str
    level: int = 2


class Text(NamedTuple):
    """A paragraph. kind: "verdict", "verdict wrong" or "quiet", as web.STYLE has them."""

    text: str
    kind: str = ""


class Points(NamedTuple):
    """A list of sentences."""

    items: Sequence[str]


class Table(NamedTuple):
    """Rows of cells. numbers: columns that stand at the right; long: columns that may wrap."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[int] = ()
    long: Sequence[int] = ()
    folded: str = ""  # the line that opens it, where it is closed at first


class Picture(NamedTuple):
    """A PNG file, what it shows in words, and how to read it."""

    path: Path
    alt: str
    caption: str


class Code(NamedTuple):
    """Lines as they are to be typed."""

    text: str


Block = Heading | Text | Points | Table | Picture | Code


def html(title: str, blocks: Iterable[Block]) -> str:
    """The whole page. Pictures are in it; wide tables and pictures scroll by themselves."""
    return whole(title, "\n".join(_html(block) for block in blocks))


def markdown(blocks: Iterable[Block], folder: Path) -> str:
    """The same as Markdown, to lie in a folder: pictures are named as seen from there."""
    return "\n\n".join(_markdown(block, folder) for block in blocks) + "\n"


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{safe(text)}</h{level}>"
        case Text(text, kind):
            return f'<p class="{kind}">{safe(text)}</p>' if kind else f"<p>{safe(text)}</p>"
        case Points(items):
            return f"<ul>{''.join(f'<li>{safe(item)}</li>' for item in items)}</ul>"
        case Table():
            return _html_table(block)
        case Picture(path, alt, caption):
            shown = img(path.read_bytes(), "png", alt)
            caption = f"<figcaption>{safe(caption)}</figcaption>"
            return f'<figure class="plot"><div class="scroll">{shown}</div>{caption}</figure>'
        case Code(text):
            lines = "\n".join(map(safe, text.splitlines()))
            return f"<pre>{lines}</pre>"


def _html_table(table: Table) -> str:
    kinds = {**dict.fromkeys(table.numbers, "n"), **dict.fromkeys(table.long, "why")}
    style = [f' class="{kinds[i]}"' if i in kinds else "" for i in range(len(table.head))]

    def row(tag: str, cells: Sequence[str]) -> str:
        parts = zip(style, cells, strict=True)
        return f"<tr>{''.join(f'<{tag}{of}>{safe(cell)}</{tag}>' for of, cell in parts)}</tr>"

    lines = [row("th", table.head), *(row("td", cells) for cells in table.rows)]
    whole_table = f'<div class="scroll"><table>{"".join(lines)}</table></div>'
    if not table.folded:
        return whole_table
    return f"<details><summary>{safe(table.folded)}</summary>{whole_table}</details>"


def _markdown(block: Block, folder: Path) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_plain(text)}"
        case Text(text, kind):
            return f"**{_plain(text)}**" if kind.startswith("verdict") else _plain(text)
        case Points(items):
            return "\n".join(f"- {_plain(item)}" for item in items)
        case Table():
            rows = [[_plain(cell) for cell in row] for row in block.rows]
            table = grid([_plain(cell) for cell in block.head], rows)
            return f"{_plain(block.folded)}:\n\n{table}" if block.folded else table
        case Picture(path, alt, caption):
            place = Path(os.path.relpath(path, folder)).as_posix()
            return f"![{_plain(alt)}]({place})\n\n{_plain(caption)}"
        case Code(text):
            return "\n".join(["```sh", *map(printable, text.splitlines()), "```"])


def _plain(text: str) -> str:
    """Text that Markdown shows as it is. Bars are left to the table."""
    kept = re.sub(r"([\\`*\[\]<>#]|(?<!\w)_|_(?!\w))", r"\\\1", printable(text))
    return kept.replace("&", "&amp;")
