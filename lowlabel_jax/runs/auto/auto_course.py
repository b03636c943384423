"""The end of a self-tuned run's report: its curves, what it cost, and how to repeat it."""

from collections.abc import Iterator, Mapping
from typing import Any

from lowlabel_jax.runs.auto import auto_curves
from lowlabel_jax.runs.auto import auto_words as said
from lowlabel_jax.runs.auto.auto_learnt import Pictures, absent
from lowlabel_jax.runs.auto.auto_read import Found
from lowlabel_jax.runs.pages.blocks import Block, Code, Heading, Table, Text


def training(found: Found, shown: Pictures) -> Iterator[Block]:
    """The curves over all phases, and the phases as numbers."""
    yield Heading("Training")
    status = found.status or {"state": "without a status.json", "step": None}
    if status["state"] != "finished":
        yield Text(f"The run is {status['state']}, at step {said.number(status['step'])}.")
    if not found.rows:
        yield Text("There is no metrics.jsonl with rows, so the curves are left out.", "quiet")
        return
    if "training" in shown:
        yield shown["training"]
    else:
        yield Text("No loss is written in metrics.jsonl, so there is no curve.", "quiet")
    head = ("phase", "from step", "to step", "lowest validation loss", "last mask rate")
    rows = []
    for name, start, end in auto_curves.phases(found.rows):
        those = [row for row in found.rows if start < row["step"] <= end]
        loss = [row["validation/loss"] for row in those if row.get("validation/loss") is not None]
        mask = [row["mask_rate"] for row in those if row.get("mask_rate") is not None]
        ends = (min(loss, default=None), mask[-1] if mask else None)
        rows.append((name, said.number(start), said.number(end), *map(said.number, ends)))
    yield Table(head, rows, numbers=range(1, len(head)))


def cost(found: Found) -> Iterator[Block]:
    """Steps, images and seconds of each part, also as a multiple of the training run."""
    yield Heading("What it cost")
    of = found.learnt["cost"]
    if not of:
        yield absent("cost")
        return
    parts, whole = of["parts"], of.get("training") or {}
    keys = ("steps", "images", "seconds")
    total = {key: sum(part[key] or 0 for part in parts) for key in keys}
    head = ("part", "steps", "images seen", "seconds", "images / training", "seconds / training")
    rows = [_row(str(part["part"]), part, whole) for part in parts]
    rows += [_row("all of the learning", total, whole)]
    rows += [_row("training", whole, whole)] if whole else []
    yield Table(head, rows, numbers=range(1, len(head)))
    if whole:
        images, seconds = (_ratio(total, whole, key) for key in ("images", "seconds"))
        yield Text(
            f"Learning the settings took {images} the images and {seconds} the seconds of the "
            "training run itself."
        )
    yield Text(
        "Images seen are forward passes of training, over all views; seconds hold compiling as "
        "well, and are of this machine."
    )


def _row(name: str, part: Mapping[str, Any], whole: Mapping[str, Any]) -> tuple[str, ...]:
    seconds = "–" if part["seconds"] is None else f"{part['seconds']:,.1f}"
    ratios = (_ratio(part, whole, key) for key in ("images", "seconds"))
    return (name, said.number(part["steps"]), said.number(part["images"]), seconds, *ratios)


def _ratio(part: Mapping[str, Any], whole: Mapping[str, Any], key: str) -> str:
    known = whole.get(key) and part[key] is not None
    return f"{part[key] / whole[key]:.2f} times" if known else "–"


def repeat(found: Found) -> Iterator[Block]:
    """The command and the versions that these numbers are of."""
    yield Heading("How to repeat it")
    if found.command:
        yield Text(
            "In the project's folder. The batch size is learnt from measured speed, so another "
            "machine may choose another one."
        )
        yield Code(found.command)
    else:
        yield Text("There is no command.sh, so the command is not known.", "quiet")
    if not found.environment:
        yield Text("There is no environment.json, so the versions are not known.", "quiet")
        return
    rows = [(name, said.number(value)) for name, value in found.environment.items()]
    yield Table(("with", "version or value"), rows, long=(1,))
