"""Class by class, for a run's report: shares found with their intervals, and who is taken for whom.

Of many classes the figures show the worst ones; the CSV files have all.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.evaluation.confusions import most_confused
from lowlabel_jax.evaluation.guesses import wilson
from lowlabel_jax.runs.pages import figures
from lowlabel_jax.runs.pages.blocks import Block, Heading, Picture, Table, Text
from lowlabel_jax.runs.report.report_read import Found, called, classified, percent, write_csv

MOST = 20  # classes in a figure
OTHERS = "others"
HEAD = ("class", "images", "found", "recall", "recall_low", "recall_high", "guessed", "precision")


def classes(found: Found, folder: Path) -> list[Block]:
    """The share of each class that is found, with its interval and how many images that is of."""
    every = classified(found)["per_class"]
    write_csv(folder / "classes.csv", (*HEAD, "f1"), map(_row, every))
    known = [one for one in every if one["n"]]
    shown = _worst(every)
    _bars([every[k] for k in shown], len(known) > MOST, folder / "classes.png")
    words = "; ".join(f"{every[k]['name']} {_share(every[k])}" for k in shown)
    caption = (
        "Bars: the share of a class's images that is called by it (recall). Whiskers: Wilson's "
        "95 % interval. Numbers: classes.csv."
    )
    title = f"Recall of the {len(shown)} worst of {len(known)} classes" if len(known) > MOST else ""
    alt = f"{title or 'Recall of each class'}: {words}"
    blocks: list[Block] = [Picture(folder / "classes.png", alt, caption)]
    if missing := len(every) - len(known):
        blocks.append(Text(f"{missing:,} classes have no image in this set.", "quiet"))
    return [*blocks, _table(every)]


def _worst(every: Sequence[Mapping[str, Any]]) -> list[int]:
    """Places of the classes with images, in order; of more than MOST those found least."""
    known = [k for k, one in enumerate(every) if one["n"]]
    if len(known) <= MOST:
        return known
    return sorted(known, key=lambda k: (every[k]["recall"], -every[k]["n"]))[:MOST]


def _row(one: Mapping[str, Any]) -> tuple:
    low, high = wilson(one["correct"], one["n"]) if one["n"] else (None, None)
    counts = (one["name"], one["n"], one["correct"], one["recall"], low, high)
    return (*counts, one["guessed"], one["precision"], one["f1"])


def _share(one: Mapping[str, Any]) -> str:
    return f"{one['correct']} of {one['n']}"


def _bars(shown: Sequence[Mapping[str, Any]], many: bool, path: Path) -> None:
    figure, (axes,) = figures.panels([0.8 + 0.27 * len(shown)])
    recall = np.array([one["recall"] for one in shown])
    reach = np.array([wilson(one["correct"], one["n"]) for one in shown])
    rows = range(len(shown))
    axes.barh(rows, recall, height=0.66, color=figures.SKY, zorder=1)
    spread = np.maximum(0, [recall - reach[:, 0], reach[:, 1] - recall])
    look = {"color": figures.INK, "linewidth": 1.3, "capsize": 3, "linestyle": ""}
    axes.errorbar(recall, rows, xerr=spread, zorder=3, **look)
    for row, one in enumerate(shown):
        axes.text(1.03, row, _share(one), va="center", fontsize=9, color=figures.QUIET)
    axes.set_yticks(rows, [called(one["name"]) for one in shown])
    axes.set_xlim(0, 1)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    kind = f"the {len(shown)} classes with the least" if many else "each class"
    figures.label(axes, "share of the class's images that is found", title=f"Recall of {kind}")
    figures.save(figure, path, "classes", "recall of each class with its 95 % interval")


def _table(every: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for one in every:
        low, high = wilson(one["correct"], one["n"]) if one["n"] else (None, None)
        reach = f"{percent(low)} to {percent(high)}" if one["n"] else "–"
        shares = (percent(one["recall"]), reach, percent(one["precision"]), percent(one["f1"]))
        rows.append((one["name"], f"{one['n']:,}", f"{one['guessed']:,}", *shares))
    head = ("class", "images", "guessed", "recall", "95 % interval", "precision", "F1")
    return Table(head, rows, range(1, 7), folded=f"All {len(every):,} classes as numbers")


def confusions(found: Found, folder: Path) -> list[Block]:
    """Who is taken for whom: a matrix, and the pairs that are confused most."""
    every = classified(found)["per_class"]
    matrix = np.array(found.numbers.get("confusion") or [])
    if not matrix.size:
        raise UserError("the scores hold no confusion matrix")
    rows = [(name, *line) for name, line in zip(found.names, matrix.tolist(), strict=True)]
    write_csv(folder / "confusion.csv", ("true \\ guessed", *found.names), rows)
    shown = _worst(every)
    many = len(shown) < sum(one["n"] > 0 for one in every)
    _matrix(matrix, shown if many else list(range(len(every))), found.names, folder)
    label, guess = (np.repeat(axis.ravel(), matrix.ravel()) for axis in np.indices(matrix.shape))
    pairs = most_confused(label, guess, found.names)
    said = (
        "; ".join(f"{p.true} called {p.guessed} {p.count} times" for p in pairs[:5]) or "no mistake"
    )
    kind = f" of the {len(shown)} classes that are found least" if many else ""
    caption = (
        "A row is a true class, a column a guess; the shade is the share of the row, so that the "
        "diagonal is recall. Numbers: confusion.csv, with all classes."
    )
    picture = Picture(folder / "confusion.png", f"Confusion matrix{kind}: {said}", caption)
    return [picture, *_pairs(pairs)]


def _pairs(pairs: Sequence[Any]) -> list[Block]:
    if not pairs:
        return [Text("No image was called by a wrong class.")]
    rows = [(p.true, p.guessed, f"{p.count:,}", percent(p.share)) for p in pairs]
    head = ("true class", "was called", "images", "of the true class")
    return [Heading("Confused most often", 3), Table(head, rows, numbers=(2, 3))]


def _matrix(matrix: np.ndarray, shown: Sequence[int], names: Sequence[str], folder: Path) -> None:
    """Draw the rows of the classes shown; guesses of other classes go into a last column."""
    whole = matrix[shown][:, shown]
    heads = [called(names[k]) for k in shown]
    if len(shown) < len(matrix):
        whole = np.column_stack([whole, matrix[shown].sum(1) - whole.sum(1)])
        heads.append(OTHERS)
    share = whole / np.maximum(matrix[shown].sum(1, keepdims=True), 1)
    side = max(1.2, min(0.5 * len(shown), 5.6))
    figure, (axes,) = figures.panels([side + 1.3])
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto" if len(shown) > 2 else 0.4)
    for i, j in zip(*np.nonzero(whole), strict=True):
        ink = "white" if share[i, j] > 0.55 else figures.INK
        size = 9 if len(shown) <= 12 else 7
        axes.text(j, i, f"{whole[i, j]:,}", ha="center", va="center", fontsize=size, color=ink)
    steep = max(map(len, heads)) > 60 / len(heads)
    how = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if steep else {}
    axes.set_xticks(range(len(heads)), heads, **how)
    axes.set_yticks(range(len(shown)), heads[: len(shown)])
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figures.label(axes, "guessed", "true")
    figures.save(figure, folder / "confusion.png", "confusion matrix", "rows true, columns guessed")
