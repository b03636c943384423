"""What a finished run looks at in images, laid over them; and its features as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lowlabel_jax.evaluation import grad_cam
from lowlabel_jax.runs.explain import inside
from lowlabel_jax.runs.pages import figures
from lowlabel_jax.runs.pages.figures import COLOURS, GREY, INK
from lowlabel_jax.runs.predict.predict import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OPACITY = 0.7  # of the hottest place's colour
HUES, MARKERS = COLOURS[1:], "osD^vPX"  # classes take the colours in turn, then the next marker
HEIGHT = 6.2  # inches


def heat(
    run: Run, images: np.ndarray, classes: np.ndarray, layer: str = grad_cam.LAYER
) -> np.ndarray:
    """float32 [n, h, w] in 0..1: where in each image the logit of its class comes from, by
    Grad-CAM (arXiv:1610.02391).

    images uint8 [n, h, w, c] as the run's own, classes int [n]. layer: see inside.heat_at. Raises
    UserError for a layer that is no map, or that no logit comes from.
    """
    return inside.heat_at(run, images, classes, layer)[1]


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3]: the image uint8 [h, w, c] in grey, heat float32 [h, w] in colours over it.

    The colours are matplotlib's inferno, whose lightness rises evenly, for every eye; where it is
    cold nothing is over the image.
    """
    import matplotlib

    colours = 255 * matplotlib.colormaps["inferno"](0.2 + 0.8 * heat)[..., :3]
    grey = np.repeat(image.mean(-1, keepdims=True), 3, axis=-1)
    cover = OPACITY * heat[..., None]
    return np.rint((1 - cover) * grey + cover * colours).astype(np.uint8)


def draw_map(
    path: Path,
    points: np.ndarray,
    label: np.ndarray,
    guess: np.ndarray | None,
    class_names: Sequence[str],
    title: str,
    given: np.ndarray | None = None,
) -> None:
    """Write points [n, 2] as PNG: a colour and a mark a class, each class's name at its middle, a
    ring around mistakes.

    label int [n], -1 where it is not known; guess int [n], or None where there are none. given
    [m, 2]: points that are numbered from 1 on.
    """
    figure, (axes,) = figures.panels([HEIGHT])
    axes.grid(False)
    axes.set(xticks=[], yticks=[])  # the directions and the scale mean nothing
    axes.spines[["left", "bottom"]].set_visible(False)
    _classes(axes, points, label, class_names)
    wrong = np.zeros(0, int) if guess is None else np.flatnonzero((label >= 0) & (guess != label))
    look = {"facecolor": "none", "edgecolor": INK, "linewidth": 0.6, "zorder": 3}
    axes.scatter(*points[wrong].T, s=40, **look)
    _names(axes, points, label, class_names)
    _numbers(axes, np.zeros((0, 2)) if given is None else given)
    ringed = f"; {len(wrong)} mistakes ringed" if guess is not None else ""
    figures.label(axes, f"{len(points)} images{ringed}", title=title)
    there = [name for k, name in enumerate(class_names) if (label == k).any()]
    words = f"A point an image, near where features are alike. Classes: {', '.join(there)}."
    figures.save(figure, path, title, f"{words} {len(points)} images{ringed}.")


def _classes(axes: "Axes", points: np.ndarray, label: np.ndarray, names: Sequence[str]) -> None:
    """The points, those of unknown classes in grey."""
    look = {"s": 14, "linewidth": 0, "alpha": 0.75}
    axes.scatter(*points[label < 0].T, color=GREY, **look)
    for k in range(len(names)):
        colour, mark = HUES[k % len(HUES)], MARKERS[k // len(HUES) % len(MARKERS)]
        axes.scatter(*points[label == k].T, color=colour, marker=mark, **look)


def _names(axes: "Axes", points: np.ndarray, label: np.ndarray, names: Sequence[str]) -> None:
    """Each class's name at that point of it which is nearest to its middle."""
    for k in np.unique(label[label >= 0]).tolist():
        those = points[label == k]
        middle = np.median(those, axis=0)
        at = those[np.linalg.norm(those - middle, axis=1).argmin()]
        how = {"ha": "center", "va": "center", "fontweight": "bold", "zorder": 6}
        _write(axes, at, str(names[k]), 10, how)


def _numbers(axes: "Axes", given: np.ndarray) -> None:
    """A square and a number at each of the points [m, 2]."""
    look = {"facecolor": "none", "edgecolor": INK, "linewidth": 1.4, "zorder": 4}
    axes.scatter(*given.T, s=60, marker="s", **look)
    for number, at in enumerate(given, 1):
        how = {"xytext": (5, 4), "textcoords": "offset points", "zorder": 5}
        _write(axes, at, f"#{number}", 8, how)


def _write(axes: "Axes", at: np.ndarray, text: str, size: float, how: dict) -> None:
    """Text at a point, on a white edge that keeps it readable above others."""
    from matplotlib.patheffects import withStroke

    edge = [withStroke(linewidth=2.5, foreground="white")]
    look = {"fontsize": size, "color": INK, "path_effects": edge}
    axes.annotate(figures.plain(text), (at[0], at[1]), **look, **how)
