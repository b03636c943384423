"""A comparison as a picture: a bar a method, its interval, and every seed as a dot."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowlabel_jax.runs.pages import figures
from lowlabel_jax.runs.pages.figures import COLOURS, INK, QUIET, WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW, MARGIN = 0.7, 1.45  # inches
SHOWN_AS = {"psnr": "PSNR in dB", "auroc": "AUROC"}  # names of numbers that are no words
DOTS, WHISKER = (-0.33, 0.17), 0.24  # where in a bar (height 0.7, down from -0.35) they lie


def save(result: Mapping[str, Any], path: Path) -> None:
    """Write the picture as PNG, whole or not at all, with its text in the file's description."""
    figures.save(draw(result), path, result["metric"], description(result))


def draw(result: Mapping[str, Any]) -> "Figure":
    """The figure: methods from the top down, the baseline first, from 0 to all there is."""
    from matplotlib.figure import Figure

    methods = result["methods"]
    figure = Figure(figsize=(WIDTH, MARGIN + ROW * len(methods)), layout="constrained")
    axes = figure.add_subplot()
    for row, m in enumerate(methods.values()):
        _bar(axes, row, m, COLOURS[row % len(COLOURS)])
    _dots(axes, list(methods.values()))
    name, _, statistic = result["metric"].removeprefix("test/").partition(" ")
    _frame(axes, methods, name)
    title = f"Test {SHOWN_AS.get(name, name)} {statistic}, {seeds(methods)}"
    figure.suptitle(title, color=INK, fontsize=12)
    axes.set_title(_legend(methods), color=QUIET, fontsize=8.5, pad=18)
    return figure


def description(result: Mapping[str, Any]) -> str:
    """The picture in words, a line a method."""
    lines = [f"{name}: {_words(m)}, n = {m['n']}." for name, m in result["methods"].items()]
    return "\n".join([f"{result['metric']}; mean and 95 % interval over seeds.", *lines])


def seeds(methods: Mapping[str, Any]) -> str:
    """`5 seeds`, `1 seed`, or `3 to 5 seeds` where methods have different numbers of them."""
    counts = [m["n"] for m in methods.values()]
    low, high = min(counts), max(counts)
    return f"{low} to {high} seeds" if low < high else f"{low} seed{'s' * (low != 1)}"


def _bar(axes: "Axes", row: int, m: Mapping[str, Any], colour: str) -> None:
    """A bar to the mean, the whisker over it, and the numbers at the right of the frame."""
    axes.barh(row, m["mean"], height=0.7, color=colour, alpha=0.55, edgecolor=colour, zorder=1)
    if m["ci95"]:
        low, high = m["ci95"]
        reach = [[m["mean"] - low], [high - m["mean"]]]
        axes.errorbar(
            m["mean"], row + WHISKER, xerr=reach, color=INK, capsize=5, linewidth=1.6, zorder=4
        )
    beside = {"transform": axes.get_yaxis_transform(), "va": "center"}
    axes.text(1.02, row, _words(m), fontsize=9, color=INK, **beside)


def _dots(axes: "Axes", methods: Sequence[Mapping[str, Any]]) -> None:
    """A dot a seed, and thin lines from a seed to the same seed of the next method."""
    all_seeds = sorted({seed for m in methods for seed in m["seeds"]})
    for i, seed in enumerate(all_seeds):
        # Each seed has its own height within the bar, so that equal accuracies stay apart.
        shift = DOTS[0] + (DOTS[1] - DOTS[0]) * (i + 0.5) / len(all_seeds)
        places = [
            (m["values"][m["seeds"].index(seed)] if seed in m["seeds"] else float("nan"))
            for m in methods
        ]
        heights = [row + shift for row in range(len(methods))]
        axes.plot(places, heights, color=QUIET, linewidth=0.6, alpha=0.7, zorder=2)
        look = {"s": 18, "color": INK, "edgecolor": "white", "linewidth": 0.6}
        axes.scatter(places, heights, **look, zorder=5, clip_on=False)  # 1.0 is on the edge


def _frame(axes: "Axes", methods: Mapping[str, Any], name: str) -> None:
    """Axis from 0 to 1, whole: a cut axis makes small differences look large. dB have no end."""
    if name == "psnr":
        axes.set_xlim(0, 1.1 * max(v for m in methods.values() for v in m["values"]))
    else:
        axes.set_xlim(0, 1)
        axes.set_xticks([i / 10 for i in range(11)])
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.set_yticks(range(len(methods)), [_wrapped(name) for name in methods], fontsize=10)
    axes.tick_params(colors=INK, length=0)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    beside = axes.get_yaxis_transform()
    axes.text(1.02, -0.54, "mean [95 % CI]", fontsize=8.5, color=QUIET, transform=beside)
    axes.set_xlabel(f"{SHOWN_AS.get(name, name)} on the test images", color=QUIET, fontsize=9)


def _legend(methods: Mapping[str, Any]) -> str:
    dots = "Dots: single seeds, lines join equal seeds." if len(methods) > 1 else "Dots: seeds."
    return f"Bar: mean. Whisker: 95 % confidence interval of the mean (t). {dots}"


def _words(m: Mapping[str, Any]) -> str:
    return f"{m['mean']:.3f}" + (" [{:.3f}, {:.3f}]".format(*m["ci95"]) if m["ci95"] else "")


def _wrapped(name: str) -> str:
    """A name in lines of about 22 characters; a "$" in it is no mathematics."""
    return figures.plain("\n".join(textwrap.wrap(name, 22)))
