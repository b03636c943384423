"""A network as an SVG drawing: its stages from image to logits, each with what it hands on."""

import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from lowlabel_jax.core import files
from lowlabel_jax.runs.summary.summary_stages import Network, Stage, shape_text, short, totals

ROW, BOX, HEAD = 44, 30, 84  # heights of a row, of a box in it, of what lies above all rows
MIDDLE, WIDEST, NARROWEST = 180, 300, 110  # of the boxes: centre and widths, in pixels
BARS, BAR = 690, 140  # where the bars begin, and the longest one's length
COLUMNS = {"output": 356, "FLOPs": 540, "parameters": 660, "share of them": BARS}
WIDTH = 860
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

STYLE = """\
text { font-family: 'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif; fill: #1c2733 }
.title { font-size: 17px; font-weight: 600 }
.note { font-size: 12px; fill: #5b6875 }
.name { font-size: 13px; text-anchor: middle }
.cell { font-size: 13px }
.number { font-size: 13px; text-anchor: end }
.line { stroke: #9aa7b4; stroke-width: 1.4; fill: none }
.yes { fill: #d6e8fb; stroke: #3d7fc4 }
.later { fill: #eef4fb; stroke: #3d7fc4; stroke-dasharray: 4 3 }
.frozen { fill: #d5d9de; stroke: #8b95a0 }
.end { fill: #ffffff; stroke: #9aa7b4 }
.bar { fill: #a9c9ea; stroke: none }
.bar.frozen { fill: #c3c9d0 }
"""


def draw(network: Network, place: Path) -> None:
    """Write the drawing of a network to a file."""
    files.write_text(place, svg(network))


def svg(network: Network) -> str:
    """The drawing: boxes as wide as their maps are, the frozen ones grey, and numbers beside them.

    A box narrows with the logarithm of its map's height; a bar is a stage's share of parameters.
    """
    name, _, options = network.title.removesuffix(")").partition("(")
    said, notes = textwrap.wrap(options, 115), _notes(network)
    first = HEAD + 18 * len(said)
    last = first + ROW * (len(network.stages) + 1)
    height = last + 24 + 20 * len(notes)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{_text(network.title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text class="title" x="30" y="38">{_text(name)}</text>',
        *_lines(said, 58, 18),
        *_heads(first),
        *_image(network, first),
        *(
            line
            for i, stage in enumerate(network.stages, 1)
            for line in _stage(network, stage, first + ROW * i)
        ),
        *_lines(notes, last + 14, 20),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _notes(network: Network) -> list[str]:
    """What stands below: the totals, and what grey and dashes mean where there are any."""
    kinds = {_kind(stage) for stage in network.stages}
    grey = "grey: frozen, kept as the weights were" if "frozen" in kinds else ""
    dashed = "dashed: trained in the phases named" if "later" in kinds else ""
    return [*totals(network), *filter(None, (grey, dashed))]


def _lines(texts: Sequence[str], top: int, step: int) -> Iterator[str]:
    """Small lines one below the other."""
    for i, text in enumerate(texts):
        yield f'<text class="note" x="30" y="{top + step * i}">{_text(text)}</text>'


def _heads(first: int) -> Iterator[str]:
    """The columns' names, above the first row."""
    for name, x in COLUMNS.items():
        kind = ' style="text-anchor: end"' if name in ("parameters", "FLOPs") else ""
        yield f'<text class="note"{kind} x="{x}" y="{first - 12}">{name}</text>'


def _image(network: Network, top: int) -> Iterator[str]:
    """The first row: what the network is shown."""
    yield _box("image", "end", _width(network.image_shape, network), top)
    yield _cell("cell", "output", top, shape_text(network.image_shape))


def _stage(network: Network, stage: Stage, top: int) -> Iterator[str]:
    """A stage's row: an arrow from the row above, its box, its numbers, its bar."""
    above, kind = top - ROW + BOX, _kind(stage)
    yield f'<path class="line" d="M{MIDDLE} {above}V{top - 1}m-4 -5l4 5l4 -5"/>'
    yield _box(stage.name, kind, _width(stage.shape, network), top)
    yield _cell("cell", "output", top, shape_text(stage.shape))
    yield _cell("number", "parameters", top, f"{stage.parameters:,}")
    yield _cell("number", "FLOPs", top, short(stage.flops))
    most = max(s.parameters for s in network.stages) or 1
    place = f'x="{BARS}" y="{top + 9}" width="{BAR * stage.parameters / most:.1f}"'
    yield f'<rect class="bar {kind}" {place} height="12"/>'
    if kind == "later":
        yield f'<text class="note" x="{BARS}" y="{top + 34}">{_text(stage.trained)}</text>'


def _kind(stage: Stage) -> str:
    """How a stage is drawn: yes (trained), later (in some phases), frozen."""
    return {"": "yes", "yes": "yes", "frozen": "frozen"}.get(stage.trained, "later")


def _width(shape: tuple[int, ...], network: Network) -> float:
    """How wide a box is: full for a map as high as the image, least for a vector.

    Tokens [t, c] count as the square map of as many.
    """
    if len(shape) < 2:
        return NARROWEST
    side = shape[0] if len(shape) == 3 else math.sqrt(shape[0])
    share = math.log2(1 + side) / math.log2(1 + network.image_shape[0])
    return NARROWEST + (WIDEST - NARROWEST) * min(share, 1.0)


def _box(name: str, kind: str, width: float, top: int) -> str:
    place = f'x="{MIDDLE - width / 2:.1f}" y="{top}" width="{width:.1f}" height="{BOX}"'
    label = f'<text class="name" x="{MIDDLE}" y="{top + 20}">{_text(name)}</text>'
    return f'<rect class="{kind}" rx="6" {place}/>{label}'


def _cell(kind: str, column: str, top: int, text: str) -> str:
    return f'<text class="{kind}" x="{COLUMNS[column]}" y="{top + 20}">{_text(text)}</text>'


def _text(text: str) -> str:
    """Text as XML takes it."""
    return escape(NOT_XML.sub("\ufffd", text))
