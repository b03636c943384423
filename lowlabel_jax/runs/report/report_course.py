"""How training went, for a run's report: its curves, and what the unlabelled images taught."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.runs.auto import auto_curves
from lowlabel_jax.runs.pages import figures
from lowlabel_jax.runs.pages.blocks import Block, Picture, Table, Text
from lowlabel_jax.runs.report.report_read import Found, called, percent, said, write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HISTOGRAM, MASK = "pseudo_label/histogram", "mask_rate"
TAUGHT = {
    MASK: ("mask rate", figures.GREEN, "--"),
    "confidence": ("confidence of the guesses", figures.SKY, "-"),
    "pseudo_label/accuracy": ("pseudo-labels that are right, all", figures.PINK, ":"),
    "pseudo_label/accuracy_kept": ("pseudo-labels that are right, kept", figures.RED, "-"),
}
LEARNT = {key: look for key, look in auto_curves.SHARES.items() if key not in TAUGHT}
MOST = 20  # classes that the histogram over time shows


def curves(found: Found, folder: Path) -> list[Block]:
    """Losses and accuracies over all phases; curves.csv has every number of every row."""
    plot = auto_curves.curves(found.rows, LEARNT) if found.rows else None
    if plot is None:
        raise UserError("metrics.jsonl holds no loss yet")
    keys = [k for k in dict.fromkeys(k for row in found.rows for k in row) if _plain(found, k)]
    write_csv(folder / "curves.csv", keys, ([row.get(k) for k in keys] for row in found.rows))
    figures.save(plot.figure, folder / "curves.png", "learning curves", plot.words)
    caption = "Every number of every row: curves.csv."
    many = len(auto_curves.phases(found.rows)) > 1
    if many:
        caption = f"Dash-dotted lines are the borders of phases. {caption}"
    shown: list[Block] = [Picture(folder / "curves.png", f"Learning curves: {plot.words}", caption)]
    return [*shown, _phases(found)] if many else shown


def _plain(found: Found, key: str) -> bool:
    return not any(isinstance(row.get(key), list) for row in found.rows)


def _phases(found: Found) -> Table:
    specs = {spec.get("name", ""): spec for spec in found.config["phases"]}
    rows = []
    for name, start, end in auto_curves.phases(found.rows):
        those = [row for row in found.rows if start < row["step"] <= end]
        loss = [row["validation/loss"] for row in those if row.get("validation/loss") is not None]
        objective = specs.get(name, {}).get("objective", {}).get("name", "–")
        rows.append((name, objective, said(start), said(end), said(min(loss, default=None))))
    head = ("phase", "objective", "from step", "to step", "lowest validation loss")
    return Table(head, rows, numbers=(2, 3, 4))


def taught(found: Found, folder: Path) -> list[Block]:
    """Which of the guesses on unlabelled images taught, how many were right, and of which class."""
    rows = [row for row in found.rows if row.get(MASK) is not None]
    if not rows:
        raise UserError("no pseudo-label taught")
    counted = [row for row in rows if row.get(HISTOGRAM)]
    heights = [2.6, 0.9 + 0.2 * min(len(found.names), MOST)] if counted else [2.8]
    figure, axes = figures.panels(heights, sharex=True)
    auto_curves.lines(axes[0], rows, TAUGHT)
    axes[0].set_ylim(-0.02, 1.02)
    figures.label(axes[0], y="share")
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1.0), "ncols": 2}
    axes[0].legend(fontsize=9, frameon=False, **above)
    words = _last(rows[-1])
    if counted:
        words += "; " + _histogram(axes[1], counted, found.names)
        write_csv(folder / "pseudo_labels.csv", ("step", "class", "share"), _shares(found, counted))
    axes[-1].set_xlabel("step", color=figures.QUIET, fontsize=9)
    figures.save(figure, folder / "pseudo_labels.png", "pseudo-labels", words)
    caption = (
        "Mask rate: the share of unlabelled images that teach. Which pseudo-labels are right is "
        "known only where the true labels are, and is never used in training."
        + (" Below: how the pseudo-labels spread over the classes. Numbers: pseudo_labels.csv and "
           "curves.csv." if counted else " Numbers: curves.csv.")
    )  # fmt: skip
    picture = Picture(
        folder / "pseudo_labels.png", f"Pseudo-labels over training: {words}", caption
    )
    return [Text(_meaning(rows[-1])), picture]


def _last(row: Mapping[str, Any]) -> str:
    known = [f"{TAUGHT[key][0]} {percent(row[key])}" for key in TAUGHT if row.get(key) is not None]
    return f"at step {said(row['step'])} {', '.join(known)}"


def _meaning(row: Mapping[str, Any]) -> str:
    """The end of training in words."""
    text = f"At the end {percent(row[MASK], 0)} of the unlabelled images taught"
    kept, whole = (row.get(f"pseudo_label/accuracy{end}") for end in ("_kept", ""))
    if kept is None:
        return f"{text}. Their true labels are not known here."
    lost = kept < 0.9 and row[MASK] > 0.5
    warning = " Much of what was taught is wrong, and surely so." if lost else ""
    right = f"; {percent(kept, 0)} of these were named correctly"
    return f"{text}{right} ({percent(whole, 0)} of all).{warning}"


def _shares(found: Found, rows: Sequence[Mapping[str, Any]]) -> list[tuple]:
    return [
        (row["step"], name, share)
        for row in rows
        for name, share in zip(found.names, row[HISTOGRAM], strict=True)
    ]


def _histogram(axes: "Axes", rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Draw the share of each class over time, a row a class; of many the most uneven ones."""
    share = np.array([row[HISTOGRAM] for row in rows]).T  # [k, t]
    uneven = np.argsort(-abs(share[:, -1] - 1 / len(share)), kind="stable")[:MOST]
    shown = np.sort(uneven)
    steps = [row["step"] for row in rows]
    edges = [max(0, 2 * steps[0] - steps[1]) if len(steps) > 1 else 0, *steps]
    ends = np.arange(len(shown) + 1) - 0.5
    drawn = axes.pcolormesh(edges, ends, share[shown], cmap="cividis", vmin=0, rasterized=True)
    axes.set_yticks(range(len(shown)), [called(names[int(k)]) for k in shown])
    axes.invert_yaxis()
    axes.grid(visible=False)
    bar = axes.figure.colorbar(drawn, ax=axes, pad=0.02, aspect=12)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    even = f"evenly spread: {1 / len(share):.3g}"
    figures.label(axes, title=f"Share of pseudo-labels by class ({even})")
    last = share[:, -1].tolist()
    most, least = (f"{names[last.index(end)]} has {percent(end)}" for end in (max(last), min(last)))
    return f"of the last pseudo-labels {most}, {least}"
