"""A comparison as one page that needs no network: what compare.md says, with its picture in it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lowlabel_jax import __version__
from lowlabel_jax.runs.compare import compare_pages, compare_plot
from lowlabel_jax.runs.pages import blocks
from lowlabel_jax.runs.pages.blocks import Block, Heading, Picture, Points, Table, Text

FIRST = 3  # differences that the first screen shows
CAPTION = (
    "Bars are means over seeds, whiskers 95 % intervals of the mean, dots single seeds; a line "
    "joins the same seed's runs."
)
SPREAD = (
    "± is the standard deviation over seeds, the interval is Student's t for the mean. Raw is the "
    "same with the weights of the last step instead of their moving average (EMA)."
)


def page(result: Mapping[str, Any], picture: Path) -> str:
    """The whole page. result: as in compare.json; picture: compare.png, which is put into it."""
    return blocks.html(f"Comparison: {', '.join(result['methods'])}", content(result, picture))


def content(result: Mapping[str, Any], picture: Path) -> Iterator[Block]:
    """The page, part by part."""
    methods, pairs = result["methods"], result["pairs"]
    yield from _first(result)
    yield Picture(picture, compare_plot.description(result).replace("\n", " "), CAPTION)
    yield Heading("Methods")
    yield _table(compare_pages.of_methods(methods))
    yield Text(SPREAD, "quiet")
    if pairs:
        yield Heading("Differences")
        yield _table(compare_pages.of_pairs(pairs))
        yield Text(compare_pages.reading(pairs).replace("`", ""), "quiet")
    yield Heading("Single seeds")
    yield _table(compare_pages.of_seeds(methods))
    rows = [
        (name, str(seed), run)
        for name, m in methods.items()
        for seed, run in zip(m["seeds"], m["runs"], strict=True)
    ]
    yield Table(("method", "seed", "run"), rows, (1,), (2,), folded="Where the runs lie")
    if result["skipped"]:
        yield Heading("Left out")
        yield Points([f"{run['run']} {run['reason']}" for run in result["skipped"]])
    yield Text(f"lowlabel_jax {__version__}", "quiet")


def _first(result: Mapping[str, Any]) -> Iterator[Block]:
    """What is compared, and what the first differences allow to conclude."""
    methods, pairs = result["methods"], result["pairs"]
    yield Heading(" and ".join(methods) if len(methods) <= 2 else "Comparison of methods", 1)
    count = f"{result['data']['test_n']:,} test images"
    seeds = compare_plot.seeds(methods)
    yield Text(f"{result['metric']}, on {count}, {seeds}. One value is one seed.", "quiet")
    signs = (f"{pair['a']} – {pair['b']}: {pair['difference']:+.4f}" for pair in pairs)
    said = [f"{s}; {pair['verdict']}." for s, pair in zip(signs, pairs, strict=True)]
    yield Points(said[:FIRST])
    if len(said) > FIRST:
        yield Text(f"The other {len(said) - FIRST} differences are below.", "quiet")


def _table(cells: compare_pages.Cells) -> Table:
    """A table of numbers; the first column and verdicts are words, which may wrap."""
    head, rows = cells
    words = [i for i, name in enumerate(head) if name in ("a – b", "verdict")]
    numbers = [i for i in range(1, len(head)) if i not in words]
    return Table(head, [[str(cell) for cell in row] for row in rows], numbers, words)
