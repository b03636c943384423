"""What `lowlabel data-check --html` writes: the report as JSON and as a page, and its pictures."""

from collections.abc import Sequence
from pathlib import Path

from lowlabel_jax.core import files
from lowlabel_jax.runs.data_check import data_pictures as pictures
from lowlabel_jax.runs.data_check.data_check import Found
from lowlabel_jax.runs.data_check.data_given import Data
from lowlabel_jax.runs.data_check.data_html import html_page
from lowlabel_jax.runs.data_check.data_page import printable
from lowlabel_jax.runs.data_check.data_pictures import Pictures


def write(data: Data, found: Found, drawn: Sequence[Path] = ()) -> list[Path]:
    """Write the report and its pictures to data.out, and say where they are.

    drawn: preview.png, where it was drawn before; the page shows it.
    """
    shown = pictures.pictures_of(data.source, found) if data.source else Pictures()
    page = html_page(data, found, shown, [path.read_bytes() for path in drawn])
    files.write_text(data.out / "report.html", page)
    files.write_json(data.out / "report.json", found.report)
    return [data.out / "report.html", data.out / "report.json", *_draw(data, shown)]


def _draw(data: Data, shown: Pictures) -> list[Path]:
    name, written = printable(data.name), []
    if shown.samples:
        written.append(data.out / "samples.png")
        pictures.save(pictures.draw_samples(name, shown.samples), written[-1])
    if shown.near:
        written.append(data.out / "near_duplicates.png")
        pictures.save(pictures.draw(f"{name}: nearly the same", ["", ""], shown.near), written[-1])
    return written
