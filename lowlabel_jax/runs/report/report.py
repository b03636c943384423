"""`lowlabel report RUN`: one page about a run that needs no network, its pictures and its numbers.

A part is a function that gives blocks, or raises UserError with the reason why this run has none:
the reasons stand at the end of the page. No clock: the same files give the same page.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from lowlabel_jax import __version__
from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.runs.pages import blocks
from lowlabel_jax.runs.pages.blocks import Block, Heading, Points, Text
from lowlabel_jax.runs.report import (
    report_about,
    report_classes,
    report_course,
    report_first,
    report_pictures,
    report_restored,
    report_sight,
    report_trust,
)
from lowlabel_jax.runs.report.report_read import Found

Part = Callable[[], list[Block]]
FIGURES = (  # files that a part may write; those of an earlier report are not left behind
    *("curves", "pseudo_labels", "classes", "confusion", "calibration", "roc", "mistakes", "heat"),
    *("map", "views", "restored"),
)


def report(found: Found, out: Path | None = None) -> list[Path]:
    """Write the page, PNG and CSV files into out (RUN/report); the files, the page first.

    The page is report.html; of a self-tuned run, whose training has written one, run.html.
    """
    folder = out or found.directory / "report"
    folder.mkdir(parents=True, exist_ok=True)
    mine = [folder / f"{name}.{ending}" for name in FIGURES for ending in ("png", "csv")]
    for path in mine:
        path.unlink(missing_ok=True)
    whole = list(content(found, folder))
    page = folder / ("run.html" if found.is_tuned else "report.html")
    files.write_text(page, blocks.html(report_first.title(found), whole))
    return [page, *(path for path in mine if path.exists())]


def content(found: Found, folder: Path) -> Iterator[Block]:
    """The whole page, part by part; what is left out is said at the end."""
    yield from report_first.first(found)
    left_out = []
    for title, part in parts(found, folder).items():
        try:
            made = part()
        except UserError as error:
            left_out.append(f"{title}: {error.message.rstrip('.')}.")
            continue
        yield Heading(title)
        yield from made
    if left_out:
        yield Heading("Not shown, and why")
        yield Points(left_out)
    yield Text(f"lowlabel_jax {__version__}", "quiet")


def parts(found: Found, folder: Path) -> dict[str, Part]:
    """The parts of the page by their titles, in its order."""
    sight = report_sight.see(found)
    of_run, seen = (found, folder), (found, sight, folder)
    return {
        "Learning curves": lambda: report_course.curves(*of_run),
        "What the unlabelled images taught": lambda: report_course.taught(*of_run),
        "Restored images": lambda: report_restored.restored(*of_run),
        "Class by class": lambda: report_classes.classes(*of_run),
        "What is taken for what": lambda: report_classes.confusions(*of_run),
        "Can its confidence be trusted?": lambda: report_trust.calibration(*of_run),
        "Where to draw the line": lambda: report_trust.lines(*of_run),
        "The surest mistakes": lambda: report_pictures.mistakes(*seen),
        "Where it looks": lambda: report_pictures.heat(*seen),
        "A map of the images": lambda: report_pictures.plane(*seen),
        "What training saw": lambda: report_pictures.views(*seen),
        "What was learnt by trials": lambda: report_about.learnt(*of_run),
        "The model": lambda: report_about.network(found, sight),
        "The data": lambda: report_about.data(found),
        "How to repeat it": lambda: report_about.repeat(found),
    }
