"""The evidence for augmentation and semi-supervised settings: distances, and trials in order."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lowlabel_jax.runs.auto.auto_plots import Plot, floats
from lowlabel_jax.runs.auto.auto_read import DEFAULT
from lowlabel_jax.runs.auto.auto_words import number
from lowlabel_jax.runs.pages.figures import BLUE, GREY, INK, ORANGE, QUIET, RED, SKY, label, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 40  # trials in a plot; the table has them all
ROW = 0.22  # inches of a trial


def distance(found: Mapping[str, Any]) -> Plot | None:
    """How far each cluster of augmentations moves the loss: a panel a cluster, levels marked."""
    clusters = {
        name: of for name, of in (found.get("distance") or {}).items() if of.get("magnitude")
    }
    if not clusters:
        return None
    rows = -(-len(clusters) // 2)
    figure, axes = panels([2.1] * rows, min(2, len(clusters)), sharey=True)
    for at, (name, of) in zip(axes, clusters.items(), strict=False):
        _cluster(at, of)
        label(at, "magnitude", "loss", name)
    for empty in axes[len(clusters) :]:
        empty.set_axis_off()
    said = [f"{name}: {', '.join(map(number, of['levels']))}" for name, of in clusters.items()]
    return Plot(figure, f"magnitudes of the levels from 0 up; {'; '.join(said)}")


def _cluster(axes: "Axes", of: Mapping[str, Any]) -> None:
    """Loss against magnitude, and where on it each level lies, with the level's number."""
    magnitude, loss = floats(of["magnitude"]), floats(of["loss"])
    axes.plot(magnitude, loss, color=BLUE, linewidth=1.8)
    levels = floats(of.get("levels") or [])
    heights = np.interp(levels, magnitude, loss)
    axes.plot(levels, heights, "o", color=ORANGE, markeredgecolor=INK, markersize=6, zorder=4)
    for number_of, (x, y) in enumerate(zip(levels, heights, strict=True)):
        if np.isfinite(x) and np.isfinite(y):
            place = {"textcoords": "offset points", "xytext": (0, 7), "ha": "center"}
            axes.annotate(str(number_of), (x, y), fontsize=8, color=INK, **place)
    axes.margins(y=0.18)


def trials(found: Mapping[str, Any]) -> Plot | None:
    """Trials from the best to the worst: mean loss, its standard error over folds, single folds."""
    ranked = in_order(found.get("trials") or [])
    scored = [trial for trial in ranked if trial.get("mean") is not None]
    shown = _shown(scored, found.get("chosen"))
    if not shown:
        return None
    figure, (axes,) = panels([1.5 + ROW * len(shown)])
    before = [trial["mean"] for trial in scored if trial["number"] == DEFAULT]
    if before and found.get("standard_error"):
        low = before[0] - found["standard_error"]
        axes.axvspan(low, before[0], color=SKY, alpha=0.3, zorder=0)
    for row, trial in enumerate(shown):
        _trial(axes, row, trial, found.get("chosen"))
    axes.set_yticks(range(len(shown)), [name(trial, found.get("chosen")) for trial in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    cut = f" ({len(shown)} of {len(scored)})" if len(shown) < len(scored) else ""
    label(axes, "calibrated validation loss", "trial", f"Trials{cut}")
    axes.legend(**_legend(), fontsize=9, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    words = [f"{name(trial, found.get('chosen'))}: {number(trial['mean'])}" for trial in shown]
    return Plot(figure, f"mean calibrated validation loss of trials {'; '.join(words)}")


def in_order(trials: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The best first; what has no mean last; equal ones by their number."""

    def place(trial: Mapping[str, Any]) -> tuple[bool, float, int]:
        mean = trial.get("mean")
        # A trial that was pruned early has seen fewer folds: it does not stand among whole ones.
        return trial["state"] != "complete", np.inf if mean is None else mean, trial["number"]

    return sorted(trials, key=place)


def name(trial: Mapping[str, Any], chosen: int | None) -> str:
    """A trial's number, and whether it is the default's, the chosen one, or was cut short."""
    marks = ["default"] * (trial["number"] == DEFAULT) + ["chosen"] * (trial["number"] == chosen)
    marks += [trial["state"]] * (trial["state"] != "complete")
    return ", ".join([f"{trial['number']}", *marks])


def spread(trial: Mapping[str, Any]) -> float | None:
    """The standard error of a trial's mean over its folds; None for fewer than two."""
    loss = floats(trial.get("loss") or [])
    loss = loss[np.isfinite(loss)]
    return float(loss.std(ddof=1) / len(loss) ** 0.5) if len(loss) > 1 else None


def _shown(scored: Sequence[Mapping[str, Any]], chosen: int | None) -> list[Mapping[str, Any]]:
    """The best trials, and wherever they stand the default's and the chosen one."""
    marked = {DEFAULT, chosen}
    return [t for row, t in enumerate(scored) if row < MOST or t["number"] in marked]


def _trial(axes: "Axes", row: int, trial: Mapping[str, Any], chosen: int | None) -> None:
    """A row: the mean with its whisker, and a small grey dot a fold."""
    folds = floats(trial.get("loss") or [])
    axes.plot(folds, [row] * len(folds), ".", color=GREY, markersize=5, zorder=2)
    colour, marker = _look(trial, chosen)
    reach = {"xerr": spread(trial), "capsize": 3, "linewidth": 1.3, "zorder": 3}
    axes.errorbar(trial["mean"], row, fmt=marker, color=colour, markersize=7, **reach)


def _look(trial: Mapping[str, Any], chosen: int | None) -> tuple[str, str]:
    """Colour and shape of a trial's mean: told apart by either."""
    if trial["number"] == chosen:
        return ORANGE, "D"
    if trial["state"] != "complete":
        return RED, "X"
    return (INK, "s") if trial["number"] == DEFAULT else (BLUE, "o")


def _legend() -> dict[str, Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    shapes = {"chosen": (ORANGE, "D"), "default": (INK, "s"), "other": (BLUE, "o")}
    shapes |= {"cut short": (RED, "X"), "one fold": (GREY, ".")}
    handles: list[Any] = [
        Line2D([], [], color=colour, marker=marker, linestyle="", label=said)
        for said, (colour, marker) in shapes.items()
    ]
    error = Patch(color=SKY, alpha=0.3, label="standard error of\nthe difference")
    whisker = Line2D([], [], color=QUIET, label="standard error\nover folds")
    return {"handles": [*handles, whisker, error]}
