"""`lowlabel predict` as a command: rows written as they come, embeddings, a bar, a last line."""

import io
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lowlabel_jax.core import files, log, units
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.runs import places
from lowlabel_jax.runs.export.exported import Exported
from lowlabel_jax.runs.lines import as_bytes, csv_line, one_line
from lowlabel_jax.runs.predict import predict_restored
from lowlabel_jax.runs.predict.labelling import Part, Row, check_topk
from lowlabel_jax.runs.predict.predict import Run
from lowlabel_jax.runs.predict.predict_images import expand

FORMATS = ("table", "csv", "json", "jsonl")


def label(
    directory: Path,
    wanted: Sequence[str],
    topk: int = 3,
    form: str = "table",
    out: Path | None = None,
    embeddings: Path | None = None,
    exported: bool = False,
    restored: Path | None = None,
) -> int:
    """Label what `wanted` names (see expand) and say how it went; 2 where a file is bad, else 0.

    Rows go to stdout as they are found, or whole to `out`. exported: the directory is not a run's
    but one that `lowlabel export` wrote. restored: a folder for the images that an autoencoder
    restores; such a run labels nothing, but may know anomalies. Raises UserError before any work
    where there is no run or image, or where a file cannot be written.
    """
    check_topk(topk)
    take_any_bytes()
    places.check("--out", out)
    places.check("--embeddings", embeddings, ".npz")
    run = (Exported if exported else Run)(directory)
    paths, began = expand(wanted), time.monotonic()
    if isinstance(run, Run) and run.task == "restoration":
        if embeddings:
            files.write_npz(embeddings, **_embedded(list(run.parts(paths, features=True))))
        parts = _watched(run.restored_parts(paths), paths, _shows(out, form))
        return predict_restored.label(run, parts, paths, form, out, restored, embeddings)
    if restored:
        raise UserError(f"{directory} restores no images.", "leave --restored out.")
    found: list[Part] = []
    parts = _watched(run.parts(paths, features=embeddings is not None), paths, _shows(out, form))
    rows = (row for part in _kept(parts, found) for row in run.rows(part, topk))
    lines = written(rows, form, min(topk, len(run.class_names)))
    if out:
        files.write_bytes(out, as_bytes("".join(f"{line}\n" for line in lines)))
    else:
        for line in lines:
            log.say(line)
    if embeddings:
        files.write_npz(embeddings, **_embedded(found))
    bad = sum(error is not None for part in found for error in part.errors)
    said = [str(place) for place in (out, embeddings) if place]
    print(_summary(len(paths), bad, time.monotonic() - began, said), file=sys.stderr)
    return 2 if bad else 0


def looked_at(run: Run, paths: Sequence[str], features: bool = False) -> Iterator[Part]:
    """What a run finds of files, some at a time, with a bar where stderr is a terminal."""
    return _watched(run.parts(paths, features), paths, rows_run_by=False)


def take_any_bytes() -> None:
    """Let paths that are no UTF-8 through stdin and stdout, as Python names their bytes."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() == "utf-8":
            stream.reconfigure(errors="surrogateescape")


def written(rows: Iterable[Row], form: str, topk: int) -> Iterator[str]:
    """The rows as lines of text, as they come: for people, or as csv or jsonl; as json at the end.

    topk: how many classes a row has at most, the columns of csv.
    """
    if form == "json":
        yield json.dumps(list(rows), indent=2)
    elif form == "jsonl":
        yield from map(json.dumps, rows)
    elif form == "csv":
        more = [f"{name}_{i}" for i in range(2, topk + 1) for name in ("label", "probability")]
        yield csv_line(("path", "label", "probability", *more, "error"))
        for row in rows:
            yield csv_line(
                (files.without_formula(row["path"]), *_cells(row, topk), row["error"] or "")
            )
    else:
        for row in rows:
            said = "  ".join(f"{one['label']} {one['probability']:.3f}" for one in row["topk"])
            yield f"{one_line(row['path'])}  {said or 'error: ' + str(row['error'])}"


def _cells(row: Row, topk: int) -> list[Any]:
    """[2 topk] labels and probabilities in turn, empty where there is no class."""
    found = [cell for one in row["topk"] for cell in (one["label"], one["probability"])]
    return found + [""] * (2 * topk - len(found))


def _kept(parts: Iterable[Part], found: list[Part]) -> Iterator[Part]:
    """The parts, put into `found` on the way."""
    for part in parts:
        found.append(part)
        yield part


def _embedded(found: Sequence[Part]) -> Mapping[str, np.ndarray]:
    """paths [n], features float32 [n, f] (NaN of a bad file), errors [n] ("" of a sound one)."""
    return {
        "paths": np.array([path for part in found for path in part.items]),
        "features": np.concatenate([part.features for part in found if part.features is not None]),
        "errors": np.array([error or "" for part in found for error in part.errors]),
    }


def _shows(out: Path | None, form: str) -> bool:
    """Whether rows run by on a terminal, which a bar would tear apart and need not be."""
    return not out and form != "json" and sys.stdout.isatty()


def _watched(parts: Iterable[Part], paths: Sequence[str], rows_run_by: bool) -> Iterator[Part]:
    """The parts, with a bar on stderr where that is a terminal."""
    console = Console(stderr=True)
    if rows_run_by or not console.is_terminal or console.is_dumb_terminal:
        yield from parts
        return
    columns = (
        TextColumn("labelling"),
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    how = {"console": console, "transient": True, "redirect_stdout": False}
    began, done = time.monotonic(), 0
    with Progress(*columns, **how) as bar:
        task = bar.add_task("", total=len(paths), rate="")
        for part in parts:
            done += len(part.items)
            rate = f"{done / (time.monotonic() - began):.3g} images/s"
            bar.update(task, completed=done, rate=rate)
            yield part


def _summary(n: int, bad: int, seconds: float, places: Sequence[str]) -> str:
    failed = f", {bad} of them could not be read" if bad else ""
    where = f"; written: {', '.join(places)}" if places else ""
    rate = f"{n / seconds:.3g} images/s"
    return f"{n} images{failed}, in {units.duration(seconds)} ({rate}){where}"
