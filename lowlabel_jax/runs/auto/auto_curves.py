"""The curves of training: losses and shares over all phases, from metrics.jsonl."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lowlabel_jax.runs.auto.auto_plots import Plot
from lowlabel_jax.runs.auto.auto_words import number
from lowlabel_jax.runs.pages.figures import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PINK,
    QUIET,
    RED,
    SKY,
    label,
    panels,
    plain,
    ring,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, Any]]
Look = tuple[str, str, str]  # a curve's name, colour and line
LOSSES = {
    "loss": ("training", BLUE, "-"),
    "loss/unlabelled": ("unlabelled term, unweighted", SKY, "--"),
    "validation/loss": ("validation", ORANGE, "-"),
}
SHARES = {
    "accuracy/labelled": ("accuracy on labelled images", SKY, "-"),
    "validation/accuracy": ("validation accuracy", ORANGE, "-"),
    "mask_rate": ("mask rate", GREEN, "--"),
    "pseudo_label/accuracy": ("pseudo-label accuracy, all", PINK, ":"),
    "pseudo_label/accuracy_kept": ("pseudo-label accuracy, kept", RED, "-"),
}
LETTER = 0.0125  # of the plot's width: a letter of a phase's name


def curves(rows: Rows, shown: Mapping[str, Look] = SHARES) -> Plot | None:
    """Losses above, shares below where there are any; borders of phases with their names."""
    if not any(_known(rows, key) for key in LOSSES):
        return None
    shares = [key for key in shown if _known(rows, key)]
    figure, axes = panels([2.8, 2.5] if shares else [3.0], sharex=True)
    lines(axes[0], rows, LOSSES)
    _best(axes[0], rows)
    label(axes[0], y="loss")
    if shares:
        lines(axes[1], rows, shown)
        axes[1].set_ylim(-0.02, 1.02)
        rate = " and mask rate" if "mask_rate" in shares else ""
        label(axes[1], y="share", title=f"Accuracies{rate}")
    axes[0].set_xlim(0, 1.02 * max(row["step"] for row in rows))
    found = phases(rows)
    deep = _names(axes[0], found)
    axes[0].set_title("Loss", color=INK, fontsize=10.5, loc="left", pad=8 + 12 * deep)
    for at in axes:
        for _, start, _ in found[1:]:
            at.axvline(start, color=QUIET, linewidth=1, linestyle="-.")
        at.legend(fontsize=9, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    axes[-1].set_xlabel("step", color=QUIET, fontsize=9)
    return Plot(figure, words(rows, {**LOSSES, **shown}))


def phases(rows: Rows) -> list[tuple[str, int, int]]:
    """(name, first step, last step) of each phase, as far as rows tell; one begins as one ends."""
    found, start = [], 0
    for name, those in itertools.groupby(rows, key=lambda row: row.get("phase", "")):
        end = max(row["step"] for row in those)
        found.append((str(name), start, end))
        start = end
    return found


def words(rows: Rows, curves: Mapping[str, Look]) -> str:
    """The last value of each curve, and the phases with their steps."""
    last = {name: _known(rows, key) for key, (name, *_) in curves.items()}
    said = [f"{name} {number(of[-1][1])}" for name, of in last.items() if of]
    parts = [f"{name} to step {number(end)}" for name, _, end in phases(rows)]
    return f"phases {', '.join(parts)}; at the end {', '.join(said)}"


def _known(rows: Rows, key: str) -> list[tuple[int, float]]:
    return [(row["step"], row[key]) for row in rows if row.get(key) is not None]


def lines(axes: "Axes", rows: Rows, curves: Mapping[str, Look]) -> None:
    """Draw each curve that rows have a value of, with its name for the legend."""
    for key, (name, colour, line) in curves.items():
        if points := _known(rows, key):
            dots = {"marker": "o", "markersize": 3} if len(points) < 40 else {}
            look = {"color": colour, "linestyle": line, "linewidth": 1.6}
            axes.plot(*zip(*points, strict=True), label=name, **look, **dots)


def _best(axes: "Axes", rows: Rows) -> None:
    """A ring around each phase's lowest validation loss, whose weights are kept."""
    said = "lowest of its phase"
    for _, those in itertools.groupby(rows, key=lambda row: row.get("phase", "")):
        if points := _known(list(those), "validation/loss"):
            step, loss = min(points, key=lambda point: point[1])
            ring(axes, step, loss, INK, said)
            said = None


def _names(axes: "Axes", found: Iterable[tuple[str, int, int]]) -> int:
    """Write each phase's name above its beginning; how many lines it took.

    Names of short phases would lie on each other: each goes to the lowest line that is free there.
    """
    parts = list(found)
    low, high = axes.get_xlim()
    free: list[float] = []
    for name, start, _ in parts:
        wide = LETTER * len(name) + 0.01
        left = min((start - low) / (high - low), max(0.0, 1 - wide))
        line = next((i for i, end in enumerate(free) if end <= left), len(free))
        free[line : line + 1] = [left + wide]
        axes.annotate(
            plain(name),
            (left, 1),
            (2, 3 + 12 * line),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=9,
            color=QUIET,
        )
    return len(free)
