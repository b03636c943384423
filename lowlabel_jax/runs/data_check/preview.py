"""What training sees, as a picture: images as they are, then weakly and strongly augmented.

The views are training's own (augment/views.py), with the keys of a run's first step, drawn as the
network is shown them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lowlabel_jax.augment.views import VIEWS, make_views
from lowlabel_jax.configuration import resolve
from lowlabel_jax.core import named, parallel
from lowlabel_jax.data.feed import STREAMS
from lowlabel_jax.data.source import Source
from lowlabel_jax.runs.data_check.data_given import Data
from lowlabel_jax.runs.data_check.data_page import printable
from lowlabel_jax.runs.data_check.data_pictures import Panel, draw, panels, save

DRAWN = ("weak", "strong", "strong_2", "strong_3")
AS_IS = "as it is"  # the caption of a draw that changes nothing


def preview(data: Data, source: Source, count: int) -> Path:
    """Draw `count` training images and their views to preview.png, and say where it is."""
    seeds = resolve.seeds(data.config)
    chosen = choose(source.labels["train"], count, seeds["split"])
    specs = data.config.augment.to_dict()
    originals = panels(source, [("train", at) for at in chosen.tolist()])
    images = np.stack([panel.image for panel in originals])
    columns = [originals, *views(images, specs, seeds["augment"])]
    named_by = {name: f"{name}: {spec['name']}" for name, spec in specs.items()}
    titles = ["original", *(named_by.get(name, name) for name in DRAWN)]
    title = f"{printable(data.name)}: what training sees"
    path = data.out / "preview.png"
    save(draw(title, titles, list(zip(*columns, strict=True))), path)
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
