"""The evidence for batch size and learning rate as plots, from tuning/batch.json and rate.json."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lowlabel_jax.runs.auto.auto_words import number
from lowlabel_jax.runs.pages.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    QUIET,
    RED,
    label,
    panels,
    ring,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Plot(NamedTuple):
    """A figure, and what it shows in one line of words."""

    figure: "Figure"
    words: str


def batch(found: Mapping[str, Any]) -> Plot | None:
    """Images a second, and memory where it was measured, against the batch size."""
    sizes, speeds, memory = found["sizes"], found["images_per_second"], found.get("gib") or []
    refused = [each["size"] for each in found.get("refused") or []]
    if not sizes:
        return None
    has_memory = any(memory)  # nothing was planned, or not told: zeros
    figure, axes = panels([2.5, 1.5] if has_memory else [2.6], sharex=True)
    _measured(axes[0], sizes, speeds, found["chosen"])
    for n, size in enumerate(refused):
        cross = {"color": RED, "markersize": 9, "clip_on": False, "linestyle": ""}
        axes[0].plot(size, 0, marker="X", label=None if n else "refused", **cross)
    axes[0].legend(fontsize=9, frameon=False)
    label(axes[0], y="images a second", title="Speed of a training step")
    if has_memory:
        _measured(axes[1], sizes, memory, found["chosen"])
        label(axes[1], y="GiB", title="Memory of a training step")
    axes[-1].set_xscale("log", base=2)
    every = sorted({*sizes, *refused})
    axes[-1].set_xticks(every, [f"{size:,}" for size in every], minor=False)
    axes[-1].minorticks_off()
    label(axes[-1], "labelled images in a batch", axes[-1].get_ylabel(), axes[-1].get_title("left"))
    said = ", ".join(f"{a:,}: {number(b)}" for a, b in zip(sizes, speeds, strict=True))
    return Plot(figure, f"images a second by batch size: {said}; chosen {number(found['chosen'])}")


def _measured(axes: "Axes", x: Sequence[Any], y: Sequence[Any], chosen: Any) -> None:
    """A line through what was measured, from zero up, and a ring around the choice."""
    values = floats(y)
    axes.set_ylim(0, 1.15 * float(np.nanmax(values)))
    axes.plot(x, values, color=BLUE, marker="o", markersize=4, linewidth=1.6)
    if chosen in x:
        at = values[list(x).index(chosen)]
        ring(axes, chosen, at, ORANGE, f"chosen: {number(chosen)}")


def rate_range(found: Mapping[str, Any]) -> Plot | None:
    """The range test: the loss while the learning rate grows, on a logarithmic axis."""
    test = found.get("range") or {}
    if not test.get("rate"):
        return None
    rate, loss, smoothed = (floats(test[key]) for key in ("rate", "loss", "smoothed"))
    figure, (axes,) = panels([3.2])
    axes.plot(rate, loss, color=GREY, linewidth=0.9, label="loss of each batch")
    axes.plot(rate, smoothed, color=BLUE, linewidth=2, label="smoothed")
    _mark(axes, test.get("steepest"), QUIET, ":", "steepest")
    _mark(axes, test.get("suggested"), GREEN, "-.", "suggested")
    _mark(axes, test.get("diverges"), RED, "--", "diverges")
    _mark(axes, found.get("chosen"), ORANGE, "-", "chosen")
    axes.set_xscale("log")
    before = rate <= (test.get("diverges") or np.inf)
    axes.set_ylim(*_shown(loss[before], smoothed[before]))
    axes.legend(fontsize=9, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    label(axes, "learning rate", "training loss", "Learning-rate range test")
    marks = {"chosen": found.get("chosen")}
    marks |= {key: test.get(key) for key in ("steepest", "suggested", "diverges")}
    return Plot(figure, "; ".join(f"{k} at {number(v)}" for k, v in marks.items() if v is not None))


def _mark(axes: "Axes", at: float | None, colour: str, line: str, name: str) -> None:
    if at is not None:
        look = {"color": colour, "linestyle": line, "linewidth": 1.8}
        axes.axvline(at, label=f"{name}: {number(at)}", **look)


def _shown(loss: np.ndarray, smoothed: np.ndarray) -> tuple[float | None, float | None]:
    """The ends of an axis that shows the smoothed losses [n] whole, and no peak of a single one."""
    known = smoothed[np.isfinite(smoothed)]
    if not known.size or known.min() == known.max():
        return None, None
    low, high = float(min(known.min(), np.nanmin(loss))), float(known.max())
    return low - 0.05 * (high - low), high + 0.35 * (high - low)


def halving(found: Mapping[str, Any]) -> Plot | None:
    """Successive halving: a line a learning rate; where it ends in a cross it was stopped."""
    from matplotlib import colormaps

    tried = sorted(
        (one for one in found.get("halving") or [] if one["rungs"]), key=lambda one: one["rate"]
    )
    if not tried:
        return None
    figure, (axes,) = panels([3.2])
    shades = colormaps["viridis"](np.linspace(0, 0.8, len(tried)))
    for one, shade in zip(tried, shades, strict=True):
        _rungs(axes, one, shade, one["rate"] == found.get("chosen"))
    axes.legend(fontsize=9, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    label(axes, "step", "loss", "Successive halving of learning rates")
    said = [f"{number(one['rate'])}: {number(one['rungs'][-1]['loss'])}" for one in tried]
    words = f"last loss by learning rate: {', '.join(said)}; chosen {number(found.get('chosen'))}"
    return Plot(figure, words)


def _rungs(axes: "Axes", one: Mapping[str, Any], colour: Any, chosen: bool) -> None:
    """One learning rate's losses. A line alone would not show a single rung."""
    steps = [rung["step"] for rung in one["rungs"]]
    loss = floats([rung["loss"] for rung in one["rungs"]])
    stopped = one["state"] != "kept"
    marks = [one["state"]] * stopped + ["chosen"] * chosen
    name = ", ".join([number(one["rate"]), *marks])
    look = {"linewidth": 3 if chosen else 1.4, "linestyle": "--" if stopped else "-"}
    axes.plot(steps, loss, color=colour, marker="o", markersize=4, label=name, **look)
    if stopped:
        axes.plot(steps[-1], loss[-1], "X", color=colour, markersize=9)
    if chosen:
        ring(axes, steps[-1], loss[-1], ORANGE)


def floats(values: Sequence[float | None]) -> np.ndarray:
    """Numbers [n] as an array; what JSON could not say is NaN, and leaves a gap in a line."""
    return np.array([np.nan if v is None else v for v in values], np.float64)
