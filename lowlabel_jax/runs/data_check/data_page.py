"""The report of `lowlabel data-check` for people who read a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lowlabel_jax.data.source import SHOWN, Problem, listed
from lowlabel_jax.runs.data_check.data_check import Found
from lowlabel_jax.runs.data_check.data_given import Data

WIDEST = 40  # letters of a class name before it is cut in its middle
CLASSES = 30  # that are shown


def page(data: Data, found: Found) -> str:
    """Everything in one screen or two; of each kind of problem the first ten."""
    report = found.report
    lines = [verdict(data, report)]
    if report["classes"]:
        lines += [
            "",
            *_images(report["images"]),
            "",
            *_sets(report["splits"]),
            "",
            *_classes(report["classes"]),
            "",
            f"{'duplicates':<16} {_groups(report['duplicates'], 'within a set')}",
            f"{'leakage':<16} {_groups(report['leakage'], 'between sets')}",
            f"{'near duplicates':<16} {near(report)}",
        ]
    lines += [*_problems(report["problems"], True), *_problems(report["problems"], False)]
    return "\n".join([*lines, *(f"\nhint: {printable(hint)}" for hint in found.hints)])


def verdict(data: Data, report: Mapping[str, Any]) -> str:
    """What it comes to, in one line."""
    wrong = sum(problem["wrong"] for problem in report["problems"])
    odd = len(report["problems"]) - wrong
    said = f"{wrong} thing{'s' * (wrong != 1)} wrong" if wrong else "nothing wrong"
    looks = f", {odd} worth a look" if odd else ""
    count = sum(of["n"] for name, of in report["splits"].items() if name in _own_sets(data))
    held = f" ({count:,} images, {len(report['classes'])} classes)" if report["classes"] else ""
    return f"{printable(data.name)}{held}: {said}{looks}"


def where(data: Data, written: Sequence[Path]) -> str:
    """Which files were written, or how to have them."""
    if written:
        return f"written: {'  '.join(printable(str(path)) for path in written)}"
    return f"--html writes this with pictures to {printable(str(data.out / 'report.html'))}"


def _own_sets(data: Data) -> list[str]:
    """The sets of the source itself, which have no image in common."""
    return list(data.source.labels) if data.source else []


def printable(text: str) -> str:
    """Text from a disk without what would move a terminal's cursor or cannot be encoded."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, most: int = WIDEST) -> str:
    """Printable text of at most so many letters, cut in its middle."""
    text = printable(text)
    return text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - most // 2 + 1 :]}"


def _images(images: Mapping[str, Any]) -> Iterator[str]:
    height, width, channels = images["shape"]
    yield f"{'training sees':<16} {width} x {height}, {'colour' if channels == 3 else 'grey'}"
    if "smallest" in images:
        small, middle, large = (
            " x ".join(map(str, images[key])) for key in ("smallest", "median", "largest")
        )
        yield (
            f"{'files':<16} {small} to {large}, median {middle}, {images['distinct']:,} "
            f"size{'s' * (images['distinct'] != 1)}"
        )
        for key in ("formats", "modes"):
            yield f"{key:<16} {', '.join(f'{name} {n:,}' for name, n in images[key].items())}"


def _sets(sizes: Mapping[str, Any]) -> Iterator[str]:
    yield f"{'set':<12} {'images':>8}  {'values':<10} {'mean':<20} sd"
    for name, of in sizes.items():
        row = f"{name:<12} {of['n']:>8,}"
        if of.get("range"):
            mean, spread = (" ".join(f"{v:.1f}" for v in of[key]) for key in ("mean", "std"))
            low, high = of["range"]
            row += f"  {f'{low} to {high}':<10} {mean:<20} {spread}"
            row += f"  of {of['measured']:,} images" if of["measured"] < of["n"] else ""
        yield row + (f"  {of['no_label']:,} without a label" if of["no_label"] else "")


def _classes(classes: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    names = {label: shortened(label) for label in [*classes][:CLASSES]}
    width = max(5, *(len(name) for name in names.values()))
    sets = next(iter(classes.values()))
    yield f"{'class':<{width}}" + "".join(f"{name:>12}" for name in sets)
    for label, name in names.items():
        yield f"{name:<{width}}" + "".join(f"{n:>12,}" for n in classes[label].values())
    if len(classes) > CLASSES:
        yield f"and {len(classes) - CLASSES:,} more classes"


def _groups(groups: Sequence[Mapping[str, Any]], where: str) -> str:
    count = sum(len(group["images"]) for group in groups)
    return f"{count} images in {len(groups)} groups, {where}" if groups else f"none {where}"


def near(report: Mapping[str, Any]) -> str:
    """How many pairs are nearly equal, or why none was looked for."""
    height, width, _ = report["images"]["shape"]
    if not report["images"]["compared"]:
        return f"not looked for: images of {width} x {height} are too small to be told apart"
    pairs = len(report["near_duplicates"])
    return (
        f"{pairs} pair{'s' * (pairs != 1)} (re-encoded, resized or mirrored)" if pairs else "none"
    )


def _problems(problems: Sequence[Mapping[str, Any]], wrong: bool) -> Iterator[str]:
    those = [Problem(**printed(p)) for p in problems if p["wrong"] == wrong]
    if those:
        yield ""
        yield f"wrong: {len(those)}" if wrong else f"worth a look: {len(those)}"
        yield from (f"  {line}" for line in listed(those).splitlines())
        if any(line.startswith("  and ") for line in listed(those).splitlines()):
            yield f"  (--json has them all; here the first {SHOWN} of a kind)"


def printed(problem: Mapping[str, Any]) -> dict[str, Any]:
    """A problem with its texts printable, and no path that its text names anyway."""
    shown = {key: printable(v) if isinstance(v, str) else v for key, v in problem.items()}
    return shown | ({"path": None} if (shown["path"] or "") in shown["detail"] else {})
