"""What all plots have in common: colours, a quiet frame, and files that are whole or not there.

matplotlib's objects and not pyplot: no global state, no window, half the import.
"""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart with every common colour blindness. Yellow is left out (too
# pale for a bar on white); grey, the first, is the baseline's.
COLOURS = ("#999999", "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
GREY, BLUE, ORANGE, GREEN, RED, SKY, PINK = COLOURS
INK, QUIET, FAINT = "#222222", "#666666", "#dddddd"
WIDTH, DPI = 7.2, 160  # inches, pixels to an inch


def save(figure: "Figure", path: Path, title: str, words: str) -> None:
    """Write a figure as PNG, whole or not at all, with its text in the file's description.

    No time of day is in it: the same figure is the same file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    about = {"Title": title, "Description": words}
    with warnings.catch_warnings():  # a letter that the font has not is a box; the words have it
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(temporary, format="png", dpi=DPI, metadata=about)
    os.replace(temporary, path)


def panels(heights: Sequence[float], columns: int = 1, **how: Any) -> "tuple[Figure, list[Axes]]":
    """A figure of rows of the given heights in inches, and its axes row by row, framed.

    how: what Figure.subplots takes (sharex, sharey, squeeze is False).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    shape = {"nrows": len(heights), "ncols": columns, "height_ratios": heights}
    axes = figure.subplots(**shape, squeeze=False, **how).ravel().tolist()
    for each in axes:
        frame(each)
    return figure, axes


def frame(axes: "Axes") -> None:
    """Lines to read values by, and nothing else around the plot."""
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=INK, labelsize=9)


def label(axes: "Axes", x: str = "", y: str = "", title: str = "") -> None:
    """What the axes are, in quiet letters, and a title at the left."""
    axes.set_xlabel(x, color=QUIET, fontsize=9)
    axes.set_ylabel(y, color=QUIET, fontsize=9)
    axes.set_title(plain(title), color=INK, fontsize=10.5, loc="left")


def ring(axes: "Axes", x: float, y: float, colour: str, name: str | None = None) -> None:
    """A ring around a point of a plot. name: what the legend says of it."""
    look = {"markersize": 12, "markeredgewidth": 2.2, "fillstyle": "none", "linestyle": ""}
    axes.plot(x, y, marker="o", color=colour, label=name, zorder=5, **look)


def plain(text: str) -> str:
    """Text in which a "$" is no mathematics."""
    return text.replace("$", r"\$")
