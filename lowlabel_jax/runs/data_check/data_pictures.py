"""Pictures of images with words below them, drawn with Pillow. No JAX."""

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lowlabel_jax.data import check as look_at
from lowlabel_jax.data.check import Place
from lowlabel_jax.data.source import Source, image_name
from lowlabel_jax.runs.data_check.data_check import Found
from lowlabel_jax.runs.data_check.data_page import shortened

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

SIDE = 168  # pixels of a panel at least; smaller images are enlarged by a whole factor to it
GAP, MARGIN, HEAD, LINE = 14, 24, 86, 17  # pixels: between panels, around, above them, a text line
LETTERS = 25  # that fit below a panel in one line
PAPER, INK, QUIET, EDGE = "#FFFFFF", "#222222", "#666666", "#CCCCCC"
SAMPLES, ACROSS = 192, 8  # images in the picture of samples, and in one of its rows
GROUPS = 24  # groups or pairs that are shown
MEMBERS = 6  # images of a group of equal ones that are shown


class Panel(NamedTuple):
    """One image of a picture and what is written below it."""

    image: np.ndarray  # uint8 [h, w, c]
    caption: Sequence[str]


class Pictures(NamedTuple):
    """What a report shows."""

    samples: dict[str, list[Panel]] = {}  # by class
    groups: Sequence[list[Panel]] = ()  # of equal images
    near: Sequence[list[Panel]] = ()  # pairs of nearly equal ones


def pictures_of(source: Source, found: Found) -> Pictures:
    """What the report on a source shows: images as training would cut them."""
    same = [panels(source, group[:MEMBERS]) for group in found.same[:GROUPS]]
    return Pictures(_samples(source), same, _near(source, found))


def _samples(source: Source) -> dict[str, list[Panel]]:
    """class -> some of its training images, drawn by a fixed seed."""
    label = source.labels["train"]
    each = min(ACROSS, max(1, SAMPLES // len(source.class_names)))
    found = {}
    for k, name in enumerate(source.class_names[:SAMPLES]):
        rows = np.random.default_rng([0, k]).permutation(np.flatnonzero(label == k))[:each]
        found[name] = [("train", row) for row in np.sort(rows).tolist()]
    read = iter(panels(source, [place for places in found.values() for place in places]))
    return {name: [next(read) for _ in places] for name, places in found.items() if places}


def panels(source: Source, places: Sequence[Place]) -> list[Panel]:
    """The images at these places, with their classes and names."""
    rows = {name: [i for other, i in places if other == name] for name, _ in places}
    read = {name: iter(source.read(name, np.array(of))) for name, of in rows.items()}
    return [Panel(next(read[name]), _caption(source, name, index)) for name, index in places]


def _caption(source: Source, name: str, index: int) -> list[str]:
    label = look_at.class_of(source, (name, index))
    folder, slash, file = image_name(source, name, index).rpartition("/")
    said = "no label" if label is None else f"class {label}"
    lines = [said, *([folder + slash] if slash else []), file]
    return [shortened(line, LETTERS) for line in lines]


def _near(source: Source, found: Found) -> list[list[Panel]]:
    """The first pairs that are nearly equal, and below the second how nearly."""
    shown = []
    for pair in found.near[:GROUPS]:
        first, second = panels(source, [pair.first, pair.second])
        said = f"{'mirrored, ' * pair.mirrored}correlation {pair.correlation:.2f}"
        shown.append([first, second._replace(caption=[*second.caption, said])])
    return shown


def draw_samples(name: str, shown: dict[str, list[Panel]]) -> "Image.Image":
    """A row a class; of many classes several share a row."""
    rows: list[list[Panel]] = [[]]
    for those in shown.values():
        if len(rows[-1]) + len(those) > ACROSS:
            rows.append([])
        rows[-1] += [panel._replace(image=np.asarray(shrunk(panel.image))) for panel in those]
    return draw(f"{name}: some images of each class", [""] * ACROSS, rows, blocks=1)


def save(picture: "Image.Image", path: Path) -> None:
    """Write the picture as PNG, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    picture.save(temporary, format="png")
    os.replace(temporary, path)


def draw(
    title: str, titles: Sequence[str], rows: Sequence[Sequence[Panel]], blocks: int = 0
) -> "Image.Image":
    """The picture of rows below their titles, in two blocks beside each other where rows are many.

    All images are of one size. blocks: so many, whatever the number of rows.
    """
    from PIL import Image, ImageDraw

    wide, high = enlarged(rows[0][0].image).size
    blocks = blocks or (2 if len(rows) > 6 else 1)
    deep = -(-len(rows) // blocks)
    lines = max(len(wrapped(panel.caption)) for row in rows for panel in row)
    step = max(wide, SIDE) + GAP, high + (lines + 1) * LINE
    block = len(titles) * step[0] + 2 * GAP
    size = 2 * MARGIN + blocks * block - 3 * GAP, HEAD + deep * step[1] + MARGIN
    picture = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(picture)
    pen.text((MARGIN, MARGIN), title, INK, font(20))
    for number, row in enumerate(rows):
        left, top = MARGIN + number // deep * block, HEAD + number % deep * step[1]
        for column, panel in enumerate(row):
            at = left + column * step[0], top
            if number % deep == 0:
                pen.text((at[0], top - 26), titles[column], INK, font(14))
            pen.rectangle((at[0] - 1, at[1] - 1, at[0] + wide, at[1] + high), outline=EDGE)
            picture.paste(enlarged(panel.image), at)
            _write(pen, (at[0], top + high + 4), panel.caption)
    return picture


def _write(pen: "ImageDraw.ImageDraw", at: tuple[int, int], caption: Sequence[str]) -> None:
    for number, line in enumerate(wrapped(caption)):
        pen.text((at[0], at[1] + number * LINE), line, QUIET, font(12))


def wrapped(caption: Sequence[str]) -> list[str]:
    """A caption's entries as lines that fit below a panel."""
    return [line for entry in caption for line in textwrap.wrap(entry, LETTERS)]


def shrunk(image: np.ndarray) -> "Image.Image":
    """image uint8 [h, w, c] as RGB, no side longer than SIDE."""
    from PIL import Image

    shown = Image.fromarray(image if image.shape[-1] == 3 else image[..., 0]).convert("RGB")
    shown.thumbnail((SIDE, SIDE))
    return shown


def enlarged(image: np.ndarray) -> "Image.Image":
    """image uint8 [h, w, c] enlarged so that a pixel is a square; made smaller if it is large."""
    from PIL import Image

    shown = Image.fromarray(image if image.shape[-1] == 3 else image[..., 0]).convert("RGB")
    factor = max(1, round(SIDE / max(shown.size)))
    large = shown.resize((shown.width * factor, shown.height * factor), Image.Resampling.NEAREST)
    large.thumbnail((2 * SIDE, 2 * SIDE))
    return large


def font(size: int) -> Any:
    """matplotlib's own DejaVu Sans, which has the letters of most languages, in pixels."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)
