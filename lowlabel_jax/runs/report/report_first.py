"""A report's first screen: what was trained on what, how good it is, what to beware of."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lowlabel_jax.configuration.resolve import label
from lowlabel_jax.runs.pages.blocks import Block, Contents, Heading, Numbers, Points, Text
from lowlabel_jax.runs.report import report_restored
from lowlabel_jax.runs.report.report_read import Found, bins_of, percent, said

FEW, WIDE = 100, 0.10  # test images, width of an interval: below and above, a number says little
SWALLOWED = 0.5  # of a class's images that go to one other class
UNSURE = 0.10  # an expected calibration error


def first(found: Found) -> Iterator[Block]:
    """The title, the numbers that matter, a sentence in plain words, and the main caution."""
    yield Heading(title(found), 1)
    yield Text(_what(found), "quiet")
    warnings = list(cautions(found))
    if found.restores:
        yield Numbers(report_restored.headlines(found.numbers, found.measured))
    elif "accuracy" in found.numbers:
        yield Numbers(_numbers(found.numbers, found.measured))
    said_so = _meaning(found)
    wrong = " wrong" if warnings else ""
    yield Text(" ".join([said_so, *warnings[:1]]), f"verdict{wrong}")
    if warnings[1:]:
        yield Points(warnings[1:])
    if "accuracy" in found.numbers:
        yield Text(
            "The interval is about other images like these. It knows nothing of another seed or "
            "another draw of labels: lowlabel compare is for that.",
            "quiet",
        )
    yield Contents()


def title(found: Found) -> str:
    """`fixmatch on digits`."""
    source = found.config.get("source", {})
    given = source.get("dataset") or Path(str(source.get("path") or "")).stem
    name = given or source.get("name", "unknown data")
    return f"{label({'method': '', 'phases': [], **found.config})} on {name}"


def _what(found: Found) -> str:
    """The model, the images and the state of the run in a line."""
    sizes = found.config.get("info", {}).get("sizes", {})
    parts = [str(found.config.get("model", {}).get("name", ""))]
    parts += [f"{n:,} {name}" for name, n in sizes.items() if n]
    parts += [f"{len(found.names):,} classes", f"seed {found.config.get('seed', '–')}"]
    state = found.status.get("state", "state unknown")
    when = str(found.status.get("time", ""))[:10]
    ended = f"{state} at step {said(found.status.get('step'))}"
    return " · ".join(part for part in [*parts, ended, when] if part)


def _numbers(numbers: Mapping[str, Any], name: str) -> list[tuple[str, str, str]]:
    low, high = numbers["ci95"]
    sure = f"95 % interval {percent(low)} to {percent(high)}, n = {numbers['n']:,}"
    items = [(f"{name} accuracy", percent(numbers["accuracy"]), sure)]
    shown = {
        "balanced_accuracy": ("balanced over classes", percent),
        "auroc": ("AUROC", said),
        "ece": ("calibration error", percent),
    }
    items += [
        (name, shape(numbers[key]), "")
        for key, (name, shape) in shown.items()
        if numbers.get(key) is not None
    ]
    if median := numbers.get("median"):
        items.append(
            (f"median of {len(median['steps'])} checkpoints", percent(median["accuracy"]), "")
        )
    return items


def _meaning(found: Found) -> str:
    """What the headline means, in plain words."""
    numbers = found.numbers
    if found.restores:
        return report_restored.meaning(numbers)
    if "accuracy" not in numbers:
        return "There is no score yet."
    low, high = (round(100 * end) for end in numbers["ci95"])
    most = max((one["n"] for one in numbers.get("per_class", ())), default=0) / numbers["n"]
    text = (
        f"Of 100 images like these it names about {round(100 * numbers['accuracy'])} correctly "
        f"({low} to {high})"
    )
    return (
        f"{text}; always naming the largest class would get {round(100 * most)}."
        if most
        else f"{text}."
    )


def cautions(found: Found) -> Iterator[str]:
    """What a reader has to know before believing the number, the most important first."""
    state = found.status.get("state")
    if state != "finished":
        yield (
            f"The run is {state or 'without a status'}, at step {said(found.status.get('step'))}: "
            "what is below is what there is so far."
        )
    if found.measured and found.measured != "test":
        yield (
            f"These are {found.measured} images, on which choices were made: expect less of new "
            "ones."
        )
    n = found.numbers.get("n", FEW)
    low, high = found.numbers.get("ci95", (0, 0))
    if high - low > WIDE:
        wide = f"{100 * (high - low):.0f} points wide"
        yield f"With {n:,} images the number is rough: its interval is {wide}."
    elif n < FEW:
        yield f"{n:,} images are few: the number is rough."
    if "accuracy" not in found.numbers:
        return
    yield from _swallowed(found.numbers, found.names)
    if found.numbers.get("ece", 0) > UNSURE:
        yield _unsure(found)


def _swallowed(numbers: Mapping[str, Any], names: list[str]) -> Iterator[str]:
    """The class of which most images go to one other class, if there is any."""
    taken = [
        (count / one["n"], count, one, names[k])
        for one, row in zip(
            numbers.get("per_class", ()), numbers.get("confusion", ()), strict=False
        )
        for k, count in enumerate(row)
        if one["n"] and names[k] != one["name"]
    ]
    worst = sorted((t for t in taken if t[0] >= SWALLOWED), key=lambda t: -t[0])
    for _, count, one, other in worst[:1]:
        more = f", and {len(worst) - 1} more classes fare like it" if len(worst) > 1 else ""
        yield f"Class {one['name']} is mostly called {other} ({count} of {one['n']} images){more}."


def _unsure(found: Found) -> str:
    used = [b for b in bins_of(found) if b["n"]]
    sure = sum(b["n"] * b["confidence"] for b in used) / sum(b["n"] for b in used)
    return (
        f"Its confidence is not to be trusted: {percent(sure, 0)} on average, and "
        f"{percent(found.numbers['accuracy'], 0)} right."
    )
