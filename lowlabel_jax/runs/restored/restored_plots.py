"""Plots of runs that restore images: rows of images, errors, the ROC curve, a latent plane."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lowlabel_jax.evaluation.scores import by_level
from lowlabel_jax.runs.pages.figures import (
    BLUE,
    COLOURS,
    FAINT,
    INK,
    ORANGE,
    QUIET,
    WIDTH,
    label,
    panels,
    plain,
    ring,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "os^Dv"  # with seven colours enough for 35 classes
BINS, WIDE = 60, 50  # bars; largest to smallest value from which an axis is logarithmic
NORMAL, ODD = "normal", "anomalies"
OF_THEM = {NORMAL: BLUE, ODD: ORANGE}


def grid(
    rows: Sequence[tuple[str, np.ndarray]], heads: Sequence[str] = (), title: str = ""
) -> "Figure":
    """Rows of images in [0, 1], (name, float32 [m, h, w, c]) each; heads: over the columns."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = max(len(images) for _, images in rows)
    side = (WIDTH - 0.9) / max(columns, 6)
    tall = len(rows) * side * rows[0][1].shape[1] / rows[0][1].shape[2]
    top = 0.2 * bool(heads) + 0.3 * bool(title)
    close = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.03, wspace=0, hspace=0)
    figure = Figure(figsize=(0.9 + side * columns, tall + top + 0.1), layout=close)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for each in axes.flat:
        each.set_axis_off()
    for (name, images), line in zip(rows, axes, strict=True):
        line[0].text(
            -0.12, 0.5, name, transform=line[0].transAxes, ha="right", va="center", color=QUIET,
            fontsize=9,
        )  # fmt: skip
        for image, place in zip(images, line, strict=False):
            place.imshow(_shown(image), vmin=0, vmax=1, cmap="gray", interpolation="nearest")
    for head, place in zip(heads, axes[0], strict=False):
        place.set_title(plain(head), fontsize=7.5, color=QUIET, pad=3)
    if title:
        figure.suptitle(plain(title), x=0.01, ha="left", color=INK, fontsize=10.5)
    return figure


def _shown(image: np.ndarray) -> np.ndarray:
    """[h, w, c] as matplotlib draws it: grey without an axis of channels."""
    image = np.clip(image, 0, 1)
    return image[..., 0] if image.shape[-1] == 1 else image


def histogram(
    groups: Sequence[tuple[str, np.ndarray]], limit: float | None, name: str, title: str
) -> "Figure":
    """How often values occur in each group (name, [n]), as shares of the group, and a threshold.

    On a logarithmic axis where positive values lie far apart: errors have long tails.
    """
    from matplotlib.ticker import NullFormatter

    figure, (axes,) = panels([3.0])
    every = np.concatenate([values for _, values in groups])
    positive = every.min() > 0 and every.max() > WIDE * every.min()
    ends = (every.min(), every.max() if every.max() > every.min() else every.min() + 1)
    edges = (np.geomspace if positive else np.linspace)(*ends, BINS + 1)
    for kind, values in groups:
        share = np.histogram(values, edges)[0] / max(len(values), 1)
        colour, name_of = OF_THEM.get(kind, BLUE), f"{kind}, {len(values):,}"
        axes.stairs(share, edges, fill=True, alpha=0.45, color=colour, label=name_of)
        axes.stairs(share, edges, color=colour, linewidth=1.2)
    if limit is not None:
        axes.axvline(limit, color=INK, linewidth=1.4, label=f"threshold {limit:.4g}")
    if positive:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(fontsize=9, frameon=False)
    label(axes, name, "share of the images", title)
    return figure


def roc(anomaly: np.ndarray, score: np.ndarray, limit: float, title: str) -> "Figure":
    """The ROC curve of scores [n] for anomalies bool [n], with the point of the threshold."""
    hits, misses = by_level(anomaly, score)
    found = np.concatenate([[0], np.cumsum(hits) / hits.sum()])
    alarms = np.concatenate([[0], np.cumsum(misses) / misses.sum()])
    figure, (axes,) = panels([5.2])
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.2)
    axes.plot(alarms, found, color=BLUE, linewidth=2)
    at = float((score[~anomaly] > limit).mean()), float((score[anomaly] > limit).mean())
    said = f"threshold {limit:.4g}: {at[1]:.1%} found, {at[0]:.1%} false alarms"
    ring(axes, *at, ORANGE, said)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_aspect("equal")
    axes.legend(fontsize=9, frameon=False, loc="lower right")
    label(axes, "share of normals called anomalies", "share of anomalies found", title)
    return figure


def plane(
    tiles: np.ndarray, reach: float, codes: np.ndarray, of: np.ndarray, names: Sequence[str]
) -> "Figure":
    """A latent plane: what it decodes to, tiles [m, m, h, w, c] from -reach to reach (the first row
    is the top), and beside it the codes [n, 2] of images, by class [n]."""
    figure, (left, right) = panels([3.6], columns=2)
    m, _, h, w, c = tiles.shape
    whole = tiles.transpose(0, 2, 1, 3, 4).reshape(m * h, m * w, c)
    look = {"vmin": 0, "vmax": 1, "cmap": "gray", "interpolation": "nearest"}
    left.grid(False)
    left.imshow(_shown(whole), extent=(-reach, reach, -reach, reach), aspect="auto", **look)
    label(left, "first latent", "second latent", "What each place decodes to")
    _points(right, codes, of, names)
    label(right, "first latent", "", "Where images lie")
    return figure


def _points(axes: "Axes", codes: np.ndarray, of: np.ndarray, names: Sequence[str]) -> None:
    """A dot an image; the legend has each class's colour and marker."""
    shapes = [(COLOURS[i % 7], MARKERS[i // 7 % len(MARKERS)]) for i in range(len(names))]
    for k in np.unique(of):
        colour, marker = shapes[k]
        how: dict[str, Any] = {"s": 7, "linewidths": 0, "alpha": 0.7, "label": plain(names[int(k)])}
        axes.scatter(*codes[of == k].T, color=colour, marker=marker, **how)
    if len(names) <= len(COLOURS) * len(MARKERS):
        axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5),
                    markerscale=2)  # fmt: skip
