"""The report of a self-tuned run, made from what lies in its directory and nothing else.

No JAX, no clock and no network: the same files give the same bytes. A part whose file is missing is
left out with a sentence that says so.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lowlabel_jax import __version__
from lowlabel_jax.core import files
from lowlabel_jax.runs.auto import (
    auto_course,
    auto_curves,
    auto_learnt,
    auto_plots,
    auto_result,
    auto_trials,
)
from lowlabel_jax.runs.auto import auto_words as said
from lowlabel_jax.runs.auto.auto_plots import Plot
from lowlabel_jax.runs.auto.auto_read import Found, read
from lowlabel_jax.runs.compare import compare_plot
from lowlabel_jax.runs.pages import blocks, figures
from lowlabel_jax.runs.pages.blocks import Block, Picture

TRIALS = (
    "Trials from the best to the worst. One is chosen that beats what it is compared with by more "
    "than the standard error of their difference, image by image: the width of the pale band. "
    "Trials that were cut short stand last."
)
CAPTIONS = {  # how to read each picture, in the order in which they are drawn
    "comparison": "Bars are means over seeds, whiskers 95 % intervals, dots single seeds; a line "
    "joins the same seed's runs.",
    "batch": "Larger batches are faster until the machine is busy. The ring is the choice.",
    "rate": "The learning rate grows with each batch. The loss falls fastest at the dotted line; "
    "beyond a dashed one, if there is any, it diverges; the solid line was chosen in the end.",
    "halving": "Each line is a learning rate. After each rung the worse ones are stopped "
    "(dashed, ended by a cross); the ring is the choice.",
    "distance": "How much stronger augmentation raises the model's loss, a panel a kind. The "
    "numbered dots are levels an equal distance of loss apart, which trials choose from.",
    "regularisation": TRIALS,
    "semi": TRIALS,
    "training": "Dash-dotted lines are the borders of phases. Mask rate: the share of unlabelled "
    "images that teach. Pseudo-label accuracy is known only where the unlabelled images' true "
    "labels are, and is never used in training.",
}


def report(directory: Path) -> list[Path]:
    """Write report.html, report.md and pictures into directory/report; the files written.

    Raises UserError where there is no such directory, or a file in it is not JSON.
    """
    found = read(Path(directory))
    folder = found.directory / "report"
    shown = draw(found, folder)
    parts = list(content(found, shown))
    page = blocks.html(f"Self-tuned run: {said.policy(found)}", parts)
    files.write_text(folder / "report.html", page)
    files.write_text(folder / "report.md", blocks.markdown(parts, folder))
    return [folder / "report.html", folder / "report.md", *(p.path for p in shown.values())]


words = said.words  # for the terminal


def draw(found: Found, folder: Path) -> Mapping[str, Picture]:
    """Write the plots that there is data for. One of an earlier report is not left behind."""
    shown = {}
    for name, plot in plots(found):
        path = folder / f"{name}.png"
        path.unlink(missing_ok=True)
        if plot:
            figures.save(plot.figure, path, name, plot.words)
            shown[name] = Picture(path, plot.words, CAPTIONS[name])
    return shown


def plots(found: Found) -> Iterator[tuple[str, Plot | None]]:
    """The name of each plot, and the plot where there is data for it."""
    drawings = {
        "comparison": (found.comparison, _comparison),
        "batch": (found.learnt["batch"], auto_plots.batch),
        "rate": (found.learnt["rate"], auto_plots.rate_range),
        "halving": (found.learnt["rate"], auto_plots.halving),
        "distance": (found.learnt["regularisation"], auto_trials.distance),
        "regularisation": (found.learnt["regularisation"], auto_trials.trials),
        "semi": (found.learnt["semi"], auto_trials.trials),
        "training": (found.rows, auto_curves.curves),
    }
    for name, (of, drawing) in drawings.items():
        yield name, drawing(of) if of else None


def _comparison(compared: Mapping[str, Any]) -> Plot:
    words = compare_plot.description(compared).replace("\n", " ")
    return Plot(compare_plot.draw(compared), words)


def content(found: Found, shown: Mapping[str, Picture]) -> Iterator[Block]:
    """The whole report, part by part, with the pictures that were drawn."""
    yield from auto_result.headline(found, shown.get("comparison"))
    yield from auto_learnt.data(found)
    yield from auto_learnt.learnt(found)
    yield from auto_learnt.evidence(found, shown)
    yield from auto_course.training(found, shown)
    yield from auto_course.cost(found)
    yield from auto_result.limits(found)
    yield from auto_course.repeat(found)
    yield blocks.Text(f"lowlabel_jax {__version__}", "quiet")
