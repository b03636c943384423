"""What training sees, as a picture: images as they are, then weakly and strongly augmented.

The views are training's own (augment/views.py), with the keys of a run's first step, drawn as the
network is shown them.
"""

import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from lowlabel_jax.augment.views import VIEWS, make_views
from lowlabel_jax.configuration import resolve
from lowlabel_jax.core import named, parallel
from lowlabel_jax.data.check import class_of
from lowlabel_jax.data.feed import STREAMS
from lowlabel_jax.runs.data_check import Data

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

DRAWN = ("weak", "strong", "strong_2", "strong_3")
SIDE = 168  # pixels of a panel at least; smaller images are enlarged by a whole factor to it
GAP, MARGIN, HEAD, LINE = 14, 24, 86, 17  # pixels: between panels, around, above them, a text line
AS_IS = "as it is"  # the caption of a draw that changes nothing
LETTERS = 25  # that fit below a panel in one line
PAPER, INK, QUIET, EDGE = "#FFFFFF", "#222222", "#666666", "#CCCCCC"


class Panel(NamedTuple):
    """One image of the picture and what is written below it."""

    image: np.ndarray  # uint8 [h, w, c]
    caption: Sequence[str]


def preview(data: Data, count: int, out: Path | None = None) -> Path:
    """Draw `count` training images and their views to out/preview.png, and say where it is."""
    seeds, labels = resolve.seeds(data.config), data.source.labels["train"]
    chosen = choose(labels, count, seeds["split"])
    images = data.source.read("train", chosen)
    specs = data.config.augment.to_dict()
    originals = [Panel(x, _name(data, at)) for x, at in zip(images, chosen.tolist(), strict=True)]
    columns = [originals, *views(images, specs, seeds["augment"])]
    named_by = {name: f"{name}: {spec['name']}" for name, spec in specs.items()}
    titles = ["original", *(named_by.get(name, name) for name in DRAWN)]
    path = (out or Path("data-check") / data.name) / "preview.png"
    save(draw(f"{data.name}: what training sees", titles, list(zip(*columns, strict=True))), path)
    return path


def choose(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """[count] indices of labelled images, as many of each class as can be; sorted by class.

    labels int [n], -1 unknown. All of them where there are fewer; any where none has a label.
    """
    known = np.flatnonzero(labels >= 0) if (labels >= 0).any() else np.arange(len(labels))
    drawn = np.random.default_rng(seed).permutation(known)
    turn = np.zeros(len(drawn), int)  # how many of its class were drawn before it
    for k in np.unique(labels[drawn]):
        mine = labels[drawn] == k
        turn[mine] = np.arange(mine.sum())
    first = drawn[np.argsort(turn, kind="stable")][:count]
    return first[np.argsort(labels[first], kind="stable")]


def views(images: np.ndarray, specs: Mapping[str, Any], seed: int) -> list[list[Panel]]:
    """For each view of DRAWN, that of images [n, h, w, c] as a run with this seed draws it first.

    Below each stands what its recipe says that it did to the image, or else the recipe's name.
    """
    recipes = {name: named.build("augment", spec) for name, spec in specs.items()}
    key, _ = jax.random.split(jax.random.fold_in(jax.random.key(seed), 0))  # as training/step.py
    places = np.arange(len(images))
    batch = dict.fromkeys(STREAMS, {"image": images, "index": places, "label": 0 * places})
    seen = jax.jit(lambda key, batch: make_views(DRAWN, batch, recipes, key))(key, batch)

    def column(name: str) -> list[Panel]:
        recipe = VIEWS[name][1]
        says = getattr(recipes[recipe], "describe", None) or (lambda k, x: [specs[recipe]["name"]])
        said = map(says, view_keys(key, name, len(images)), images)
        pixels = np.rint((np.asarray(seen[name]) + 1) * 127.5).astype(np.uint8)
        return [Panel(p, caption or [AS_IS]) for p, caption in zip(pixels, said, strict=True)]

    return [column(name) for name in DRAWN]


def view_keys(key: jax.Array, name: str, count: int) -> jax.Array:
    """[count] keys: those by which make_views draws the view `name` of a batch's images."""
    key_view = jax.random.fold_in(key, list(VIEWS).index(name))
    return parallel.example_keys(key_view, parallel.positions(count))


def _name(data: Data, at: int) -> list[str]:
    label = class_of(data.source, ("train", at))
    return ["no label" if label is None else f"class {label}", f"train[{at}]"]


def save(picture: "Image.Image", path: Path) -> None:
    """Write the picture as PNG, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    picture.save(temporary, format="png")
    os.replace(temporary, path)


def draw(title: str, titles: Sequence[str], rows: Sequence[Sequence[Panel]]) -> "Image.Image":
    """The picture: a row an image, in two blocks beside each other where there are many."""
    from PIL import Image, ImageDraw

    wide, high = enlarged(rows[0][0].image).size
    blocks = 2 if len(rows) > 6 else 1
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
