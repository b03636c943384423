"""A comparison as pages for people: Markdown, CSV and the terminal's table."""

import csv
import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lowlabel_jax.core import log

if TYPE_CHECKING:
    from rich.table import Table

CSV_HEAD = ("method", "seed", "{}", "{}_raw", "mean", "sd", "ci95_low", "ci95_high", "run")
Cells = tuple[Sequence[str], Sequence[Sequence[Any]]]  # the head and the rows of a table


def markdown(result: Mapping[str, Any]) -> str:
    """The whole comparison as Markdown: methods, differences, single seeds, what was left out."""
    data = result["data"]
    parts = [
        "# Comparison",
        f"{result['metric']}, on {data['test_n']} test images. One value is one seed.",
        "![Mean of each method, single seeds as dots](compare.png)",
        "## Methods",
        grid(*of_methods(result["methods"])),
        "`±` is the standard deviation over seeds, the interval is Student's t for the mean. `raw` "
        "is the same with the weights of the last step instead of their moving average (EMA).",
    ]
    if result["pairs"]:
        parts += ["## Differences", grid(*of_pairs(result["pairs"])), reading(result["pairs"])]
    parts += ["## Single seeds", grid(*of_seeds(result["methods"]))]
    if result["skipped"]:
        left_out = [f"- `{run['run']}` {run['reason']}" for run in result["skipped"]]
        parts += ["## Left out", "\n".join(left_out)]
    return "\n\n".join(parts) + "\n"


def csv_text(result: Mapping[str, Any]) -> str:
    """One row a run, everything that the picture shows: the text alternative to compare.png."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(column.format(number_of(result)) for column in CSV_HEAD)
    for name, m in result["methods"].items():
        low, high = m["ci95"] or (None, None)
        of_method = (m["mean"], m["sd"], low, high)
        for row in zip(m["seeds"], m["values"], m["raw"]["values"], m["runs"], strict=True):
            writer.writerow((name, *row[:3], *of_method, row[3]))
    return text.getvalue()


def number_of(result: Mapping[str, Any]) -> str:
    """What is compared: "accuracy", "psnr", "auroc"."""
    return result["metric"].removeprefix("test/").partition(" ")[0]


def table(result: Mapping[str, Any]) -> "Table":
    """Methods and their accuracies for the terminal. No frame: piped, it is plain columns."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("method", overflow="fold")
    name = number_of(result)
    for column in (f"{name} (EMA)", "95 % CI", f"{name} (raw)", "n"):
        shown.add_column(column, justify="right", no_wrap=True)
    for name, m in result["methods"].items():
        shown_interval = interval(
            m["ci95"] if m["n"] > 2 else None
        )  # of two values: all or nothing
        row = (name, spread(m), shown_interval, spread(m["raw"]), str(m["n"]))
        shown.add_row(*(Text(cell) for cell in row))  # Text: "[1, 2]" in a name is no markup
    return shown


def show(result: Mapping[str, Any]) -> None:
    """Print the table, what each two methods allow to conclude, and what was left out."""
    from rich.console import Console

    wide = None if sys.stdout.isatty() else 120  # a pipe has no width; rich would fold at 80
    Console(width=wide).print(table(result))
    for pair in result["pairs"]:
        reach = f" {interval(pair['ci95'], '+')}" if pair["n"] > 2 else ""
        found = f"{pair['difference']:+.4f}{reach}, p = {_p(pair['p'])}"
        log.say(f"{pair['a']} – {pair['b']}: {found}; {pair['verdict']}")
    for run in result["skipped"]:
        log.warn(f"left out: {run['run']} {run['reason']}")


def spread(m: Mapping[str, Any]) -> str:
    """`0.8741 ± 0.0123`, or the mean alone where one value has no spread."""
    return f"{m['mean']:.4f}" + (f" ± {m['sd']:.4f}" if m["sd"] is not None else "")


def interval(ci95: Sequence[float] | None, sign: str = "") -> str:
    """`[0.8512, 0.8970]`, or a dash where there is none."""
    return f"[{ci95[0]:{sign}.4f}, {ci95[1]:{sign}.4f}]" if ci95 else "–"


def grid(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; bars in cells are escaped."""
    lines = [[str(cell).replace("|", "\\|") for cell in row] for row in (head, *rows)]
    lines.insert(1, ["---"] * len(head))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def of_methods(methods: Mapping[str, Any]) -> Cells:
    """A row a method."""
    rows = []
    for name, m in methods.items():
        count = m["sizes"].get("labelled", "–")
        rows.append((name, m["n"], spread(m), interval(m["ci95"]), spread(m["raw"]), count))
    return ("method", "n", "mean ± sd", "95 % CI", "raw", "labels"), rows


def of_pairs(pairs: Sequence[Mapping[str, Any]]) -> Cells:
    """A row for each two methods that are compared."""
    head = ("a – b", "n", "difference", "95 % CI", "raw difference", "p", "Holm p", "verdict")
    rows = [
        (
            f"{pair['a']} – {pair['b']}",
            pair["n"],
            f"{pair['difference']:+.4f}",
            interval(pair["ci95"], "+"),
            f"{pair['raw']['difference']:+.4f}",
            _p(pair["p"]),
            _p(pair["holm_p"]),
            pair["verdict"],
        )
        for pair in pairs
    ]
    return head, rows


def reading(pairs: Sequence[Mapping[str, Any]]) -> str:
    """How to read the table of differences."""
    tests = " / ".join(dict.fromkeys(pair["test"] for pair in pairs))
    return (
        f"Positive: `a` is better. Test: {tests}, two-sided; Holm p holds for all {len(pairs)} "
        "comparisons together. Runs pair by the seed of their split. Intervals and p-values are "
        "about other seeds on these same test images."
    )


def of_seeds(methods: Mapping[str, Any]) -> Cells:
    """A row a method, a column a seed."""
    seeds = sorted({seed for m in methods.values() for seed in m["seeds"]})
    rows = []
    for name, m in methods.items():
        value = dict(zip(m["seeds"], m["values"], strict=True))
        rows.append((name, *(f"{value[s]:.4f}" if s in value else "–" for s in seeds)))
    return ("method", *(f"seed {seed}" for seed in seeds)), rows


def _p(p: float | None) -> str:
    return "–" if p is None else f"{p:.3g}"
