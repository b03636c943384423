"""A report's content, said once and written twice: as HTML that needs no network, and as Markdown.

All text in blocks is plain: what comes from a disk is escaped by both writers.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np

from lowlabel_jax.core.files import without_home
from lowlabel_jax.runs.compare.compare_pages import grid
from lowlabel_jax.runs.data_check.data_page import printable
from lowlabel_jax.runs.pages.web import anchor, img, safe, scrolling, thumbnail, whole


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


class Numbers(NamedTuple):
    """The numbers that matter, the first of them large: (name, value, how sure) of each."""

    items: Sequence[tuple[str, str, str]]


class Shot(NamedTuple):
    """Images that belong together, and lines of words below them, the first of them strong."""

    images: Sequence[np.ndarray]  # uint8 [h, w, c] each
    caption: Sequence[str]
    alt: str


class Gallery(NamedTuple):
    """Images in rows that fill the page; sheet: a PNG file of them, for where there is no page."""

    shots: Sequence[Shot]
    sheet: Path


class Link(NamedTuple):
    """A file beside the page, by its path from there."""

    text: str
    path: str


class Contents(NamedTuple):
    """A list of links to the page's headings."""


Block = Heading | Text | Points | Table | Picture | Code | Numbers | Gallery | Link | Contents


def html(title: str, blocks: Iterable[Block]) -> str:
    """The whole page. Pictures are in it; wide tables and pictures scroll by themselves."""
    blocks = list(blocks)
    headings = [block for block in blocks if isinstance(block, Heading) and block.level == 2]
    return whole(title, "\n".join(_html(block, headings) for block in blocks))


def markdown(blocks: Iterable[Block], folder: Path) -> str:
    """The same as Markdown, to lie in a folder: pictures are named as seen from there."""
    return "\n\n".join(_markdown(block, folder) for block in blocks) + "\n"


def _html(block: Block, headings: Sequence[Heading]) -> str:
    match block:
        case Heading(text, level):
            return f'<h{level} id="{anchor(text)}">{safe(text)}</h{level}>'
        case Text(text, kind):
            return f'<p class="{kind}">{safe(text)}</p>' if kind else f"<p>{safe(text)}</p>"
        case Points(items):
            return f"<ul>{''.join(f'<li>{safe(item)}</li>' for item in items)}</ul>"
        case Table():
            return _html_table(block)
        case Picture(path, alt, caption):
            shown = scrolling(img(path.read_bytes(), "png", alt), f"figure {path.stem}")
            return f'<figure class="plot">{shown}<figcaption>{safe(caption)}</figcaption></figure>'
        case Code(text):
            lines = "\n".join(map(safe, text.splitlines()))
            return f'<pre tabindex="0">{lines}</pre>'
        case Numbers(items):
            return f'<dl class="numbers">{"".join(_html_number(*item) for item in items)}</dl>'
        case Gallery(shots):
            most = max((len(shot.images) for shot in shots), default=1)
            wide = {1: "", 2: " two"}.get(most, " many")
            return f'<div class="grid{wide}">{"".join(map(_html_shot, shots))}</div>'
        case Link(text, path):
            return f'<p><a href="{safe(quote(path))}">{safe(text)}</a></p>'
        case Contents():
            links = (f'<a href="#{anchor(h.text)}">{safe(h.text)}</a>' for h in headings)
            items = "".join(f"<li>{link}</li>" for link in links)
            return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


def _html_number(name: str, value: str, sure: str) -> str:
    more = f"<small>{safe(sure)}</small>" if sure else ""
    return f"<div><dt>{safe(name)}</dt><dd>{safe(value)}{more}</dd></div>"


def _html_shot(shot: Shot) -> str:
    images = "".join(
        thumbnail(image, shot.alt if i == 0 else "") for i, image in enumerate(shot.images)
    )
    first, *rest = map(safe, shot.caption)
    said = "<br>".join([f"<b>{first}</b>", *rest])
    return f'<figure><div class="row">{images}</div><figcaption>{said}</figcaption></figure>'


def _html_table(table: Table) -> str:
    kinds = {**dict.fromkeys(table.numbers, "n"), **dict.fromkeys(table.long, "why")}
    style = [f' class="{kinds[i]}"' if i in kinds else "" for i in range(len(table.head))]

    def row(tag: str, cells: Sequence[str], scope: str = "") -> str:
        parts = zip(style, cells, strict=True)
        made = (f"<{tag}{scope}{of}>{safe(cell)}</{tag}>" for of, cell in parts)
        return f"<tr>{''.join(made)}</tr>"

    lines = [row("th", table.head, ' scope="col"'), *(row("td", cells) for cells in table.rows)]
    kind = "wide" if len(table.head) > 5 else "" if table.long else "slim"
    whole_table = scrolling(f"<table>{''.join(lines)}</table>", f"table: {table.head[0]}", kind)
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
            lines = map(printable, without_home(text).splitlines())
            return "\n".join(["```sh", *lines, "```"])
        case Numbers(items):
            lines = (f"{name}: {value} {sure}".rstrip() for name, value, sure in items)
            return "\n".join(f"- {_plain(line)}" for line in lines)
        case Gallery(shots, sheet):
            place = Path(os.path.relpath(sheet, folder)).as_posix()
            return f"![{_plain('; '.join(shot.alt for shot in shots))}]({place})"
        case Link(text, path):
            return f"[{_plain(text)}]({quote(path)})"
        case Contents():
            return ""  # readers of Markdown make their own


def _plain(text: str) -> str:
    """Text that Markdown shows as it is. Bars are left to the table."""
    kept = re.sub(r"([\\`*\[\]<>#]|(?<!\w)_|_(?!\w))", r"\\\1", printable(without_home(text)))
    return kept.replace("&", "&amp;")
