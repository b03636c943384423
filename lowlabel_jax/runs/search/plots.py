"""The plots of a search: its history, and each setting against the score."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowlabel_jax.runs.pages.figures import (
    BLUE,
    GREY,
    ORANGE,
    frame,
    label,
    panels,
    save,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lowlabel_jax.runs.search.outcome import Trial

COLUMNS = 2


def write(folder: Path, found: "Sequence[Trial]", asked: Mapping[str, Any]) -> None:
    """Draw history.png and settings.png."""
    what = f"validation {asked['score']}"
    _history(folder / "history.png", found, asked["score"])
    names = [name for name in asked["names"] if any(name in trial.params for trial in found)]
    _settings(folder / "settings.png", found, {n: asked["names"][n] for n in names}, what)


def _history(path: Path, found: "Sequence[Trial]", by: str) -> None:
    """Scores in the order of the trials, the best so far, and what was pruned."""
    from matplotlib.ticker import MaxNLocator

    figure, (axes,) = panels([3.0])
    _points(axes, [t.number for t in found], found)
    done = [trial for trial in found if trial.score is not None]
    better = np.maximum if by == "accuracy" else np.minimum
    so_far = better.accumulate(np.array([t.score for t in done], np.float64))
    axes.step([t.number for t in done], so_far, where="post", color=ORANGE, label="best so far")
    axes.legend(fontsize=9, frameon=False)
    label(axes, "trial", f"validation {by}", "Trials of the search")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    words = ", ".join(f"{t.name} {t.score:.4f}" for t in done)
    save(figure, path, "Trials of a search", f"scores: {words}")


def _settings(
    path: Path, found: "Sequence[Trial]", names: Mapping[str, Mapping[str, Any]], what: str
) -> None:
    """Of each setting its values against the score."""
    rows = -(-len(names) // COLUMNS)
    figure, axes = panels([2.3] * rows, columns=min(COLUMNS, len(names)), sharey=True)
    for one, (name, distribution) in zip(axes, names.items(), strict=False):
        about = distribution["attributes"]
        those = [trial for trial in found if name in trial.params]
        values = [trial.params[name] for trial in those]
        if "choices" in about:
            places = range(len(about["choices"]))
            one.set_xticks(list(places), [str(choice) for choice in about["choices"]])
            values = [about["choices"].index(value) for value in values]
        elif about["log"]:
            one.set_xscale("log")
        _points(one, values, those)
        frame(one)
        label(one, name, what)
    for unused in axes[len(names) :]:
        unused.set_visible(False)
    title = "Each setting against the score"
    save(figure, path, title, f"{title}: {', '.join(names)}")


def _points(axes: "Axes", x: Sequence[Any], found: "Sequence[Trial]") -> None:
    """A dot for a trial that came to its end, a cross at the last look of one that did not."""
    pairs = list(zip(x, found, strict=True))
    done = [(at, trial.score) for at, trial in pairs if trial.score is not None]
    cut = [
        (at, list(trial.looks.values())[-1])
        for at, trial in pairs
        if trial.score is None and trial.looks
    ]
    if done:
        axes.plot(*zip(*done, strict=True), "o", color=BLUE, markersize=5, label="finished")
    if cut:
        axes.plot(
            *zip(*cut, strict=True), "x", color=GREY, markersize=5, label="ended early, last look"
        )
