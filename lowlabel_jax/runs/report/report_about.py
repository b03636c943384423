"""What a run was, for its report: the network, the data, the settings, how to repeat it."""

import os
from pathlib import Path

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.runs.pages.blocks import Block, Code, Link, Table, Text
from lowlabel_jax.runs.report.report_read import Found, flat, said
from lowlabel_jax.runs.report.report_sight import Sight

TUNING = "report/report.html"  # of a self-tuned run, written by its training
CLASSES = 30  # of which the labelled images are counted one by one


def learnt(found: Found, folder: Path) -> list[Block]:
    """What a self-tuned run has learnt, and where its evidence lies."""
    if not found.is_tuned:
        raise UserError("the settings were given, not learnt")
    tuned = found.config["tuned"]
    rows = [
        (value["path"], said(value["from"]), said(value["to"]), str(value.get("why", "")))
        for value in tuned.get("values") or []
    ]
    text = Text(f"The policy {tuned.get('policy', '(without a name)')}: settings learnt by trials.")
    table = Table(("setting", "before", "after", "why"), rows, numbers=(1, 2), long=(3,))
    place = found.directory / TUNING
    if not place.is_file():
        return [text, table, Text(f"The report on the trials, {TUNING}, is not there.", "quiet")]
    path = os.path.relpath(place, folder)
    return [text, table, Link("The evidence, trial by trial: the report on tuning", path)]


def network(found: Found, sight: Sight) -> list[Block]:
    """The model, stage by stage, as `lowlabel summary` shows it."""
    if not {"model", "info"} <= set(found.config):
        raise UserError("config.json names no model")
    from lowlabel_jax.runs.summary import summary
    from lowlabel_jax.runs.summary.summary_stages import look, shape_text, short, totals
    from lowlabel_jax.training import networks

    spec = found.config["model"]
    phases = [{"features": "off", "train_from": "", **p} for p in found.config["phases"]]
    shape = found.config["info"]["image_shape"]
    seen = look(networks.network(found.config), shape, summary.called(spec), phases)
    rows = [
        (s.name, shape_text(s.shape), f"{s.parameters:,}", short(s.flops), s.trained)
        for s in seen.stages
    ]
    head = ("stage", "hands on", "parameters", "FLOPs an image", "trained")
    more = "; ".join(" ".join(line.split()) for line in totals(seen))
    return [
        Text(f"{seen.title}, images {shape_text(seen.image_shape)}."),
        Table(head, rows, numbers=(2, 3)),
        Text(f"{more}.", "quiet"),
    ]


def data(found: Found) -> list[Block]:
    """Where the images came from, how many there are for what, and their fingerprint."""
    info, source = found.config.get("info") or {}, found.config.get("source") or {}
    options = ", ".join(f"{k} = {said(v)}" for k, v in source.items() if k != "name")
    rows = [("source", f"{source.get('name', '–')}{f' ({options})' if options else ''}")]
    rows += [(f"{name} images", f"{n:,}") for name, n in info.get("sizes", {}).items()]
    counts = info.get("label_counts") or []
    if counts and len(counts) <= CLASSES:
        each = ", ".join(f"{name} {n}" for name, n in zip(found.names, counts, strict=False))
        rows.append(("labelled images of each class", each))
    elif counts:
        rows.append(("labelled images of a class", f"{min(counts):,} to {max(counts):,}"))
    height, width, channels = (*info.get("image_shape", ()), 0, 0, 0)[:3]
    rows.append(("training sees", f"{width} x {height}, {'colour' if channels == 3 else 'grey'}"))
    rows.append(("fingerprint (SHA-256)", str(found.config.get("data_fingerprint", "–"))))
    return [
        Table(("data", ""), rows, long=(1,)),
        Text("The fingerprint changes with any image or label; splits/split.json says which image "
             "was used for what.", "quiet"),
    ]  # fmt: skip


def repeat(found: Found) -> list[Block]:
    """The command, every setting, and the versions that these numbers are of."""
    shown: list[Block] = []
    if found.command:
        shown += [Text("In the project's folder:"), Code(found.command)]
    else:
        shown.append(Text("There is no command.sh, so the command is not known.", "quiet"))
    settings = [(path, said(value)) for path, value in flat(found.config) if path != "info"]
    kept = [row for row in settings if not row[0].startswith(("info.", "tuned."))]
    shown.append(Table(("setting", "value"), kept, long=(1,), folded=f"All {len(kept)} settings"))
    if found.environment:
        rows = [(name, said(value)) for name, value in found.environment.items()]
        shown.append(Table(("with", "version or value"), rows, long=(1,), folded="Environment"))
    else:
        shown.append(Text("There is no environment.json: the versions are not known.", "quiet"))
    return shown
