"""The contact sheets of `lowlabel explain`, drawn with Pillow."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lowlabel_jax.evaluation.confusions import Pair
from lowlabel_jax.runs.data_check import data_pictures
from lowlabel_jax.runs.data_check.data_page import shortened
from lowlabel_jax.runs.data_check.data_pictures import LETTERS, Panel
from lowlabel_jax.runs.explain.explain_read import Near, Own, Subjects
from lowlabel_jax.runs.explain.explained import overlay

if TYPE_CHECKING:
    from PIL import Image

ROWS = 12  # images on a sheet
PAIRS, EXAMPLES = 8, 6  # pairs of classes in the picture of confusions, and images of each


class Heat(NamedTuple):
    """A column of heat."""

    title: str
    classes: np.ndarray  # int [n]: whose
    heat: np.ndarray  # float32 [n, h, w]
    layer: str


def sheets(
    title: str, names: Sequence[str], subjects: Subjects, heats: Sequence[Heat], near: Near | None
) -> "list[Image.Image]":
    """A row an image: itself, its heats, its nearest labelled images; ROWS rows a sheet."""
    titles = ["image", *(column.title for column in heats)]
    if near:
        several = near.labels.shape[1]
        titles += ["nearest labelled", "second nearest", "third nearest"][:several]
    rows = [_row(i, names, subjects, heats, near) for i in range(len(subjects.names))]
    starts = range(0, len(rows), ROWS)
    return [data_pictures.draw(title, titles, rows[i : i + ROWS], blocks=1) for i in starts]


def _row(
    i: int, names: Sequence[str], subjects: Subjects, heats: Sequence[Heat], near: Near | None
) -> list[Panel]:
    """The panels of one image."""
    truth = subjects.truth[i]
    known = [f"is {names[truth]}"] if truth >= 0 else []
    called = f"#{i + 1}: {os.path.basename(subjects.names[i])}"
    row = [Panel(subjects.images[i], _short([called, *known]))]
    for column in heats:
        k = column.classes[i]
        said = f"{names[k]} {subjects.probs[i, k]:.2f}"
        row.append(Panel(overlay(subjects.images[i], column.heat[i]), _short([said])))
    if near:
        for j, image in enumerate(near.images[i]):
            said = f"{names[near.labels[i, j]]}, alike {near.cosines[i, j]:.2f}"
            row.append(Panel(image, _short([said, os.path.basename(near.names[i][j])])))
    return row


def confused(title: str, own: Own, pairs: Sequence[Pair]) -> "Image.Image":
    """Examples of the most confused pairs, a row a pair, the surest first."""
    rows = [_examples(own, pair) for pair in pairs[:PAIRS]]
    return data_pictures.draw(title, [""] * EXAMPLES, rows, blocks=1)


def _examples(own: Own, pair: Pair) -> list[Panel]:
    names = list(own.source.class_names)
    true, guessed = names.index(pair.true), names.index(pair.guessed)
    those = np.flatnonzero((own.label == true) & (own.guess == guessed))
    sure = own.probs[those, guessed]
    places = those[np.argsort(-sure, kind="stable")][:EXAMPLES]
    said = f"{pair.true}, called {pair.guessed}"
    panels = []
    for i, image in zip(places.tolist(), own.images(places)[:], strict=True):
        name = os.path.basename(own.called(i))
        panels.append(Panel(image, _short([said, f"{own.probs[i, guessed]:.2f}, {name}"])))
    return panels


def _short(lines: Sequence[str]) -> list[str]:
    return [shortened(line, LETTERS) for line in lines]
