"""What a run has left on disk, for its report, read without JAX. What is missing is empty."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.evaluation.scores import reliability
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs.auto import auto_words
from lowlabel_jax.runs.data_check.data_page import shortened

LETTERS = 26  # of a class's name in a figure
said = auto_words.number  # a value of a setting or a measurement, short
MEASURED = ("test", "validation", "labelled")  # the first that a run was scored on is shown


class Guesses(NamedTuple):
    """What the averaged weights say of the images of one set."""

    label: np.ndarray  # int [n]
    p: np.ndarray  # float [n, k]

    @property
    def guess(self) -> np.ndarray:
        """int [n]: the likeliest classes."""
        return self.p.argmax(1)


class Found(NamedTuple):
    """Everything that a report is made of, but for images and weights."""

    directory: Path
    config: dict[str, Any]
    status: dict[str, Any]
    environment: dict[str, Any]
    command: str  # the last line of command.sh, or ""
    rows: list[dict[str, Any]]  # of metrics.jsonl
    measured: str  # the set whose numbers are shown, or ""
    numbers: dict[str, Any]  # eval/SET.json
    guesses: Guesses | None  # predictions/SET.npz

    @property
    def names(self) -> list[str]:
        """The classes."""
        return [str(name) for name in self.config.get("info", {}).get("class_names", ())]

    @property
    def is_tuned(self) -> bool:
        """Whether the run has learnt its settings, and a report about that of its own."""
        return bool(self.config.get("tuned"))

    @property
    def restores(self) -> bool:
        """Whether it was scored by how it restores images, not by classes."""
        return "headline" in self.numbers and "accuracy" not in self.numbers


def read(directory: Path) -> Found:
    """What there is. Raises UserError where there is no run, or a file is no JSON."""
    if not rundir.holds_run(directory):
        raise UserError(f"{directory} holds no run.", "lowlabel runs DIR lists the runs there are.")
    command = directory / "command.sh"
    lines = command.read_text(encoding="utf-8").splitlines() if command.is_file() else []
    there = (name for name in MEASURED if (directory / f"eval/{name}.json").is_file())
    measured = next(there, "")
    numbers = _json(directory / f"eval/{measured}.json") if measured else {}
    config = files.read_json(directory / "config.json")
    return Found(
        directory,
        config,
        rundir.status(directory),
        _json(directory / "environment.json"),
        lines[-1] if lines else "",
        _rows(directory / "metrics.jsonl"),
        measured,
        numbers,
        _guesses(directory / f"predictions/{measured}.npz", numbers),
    )


def check_place(out: Path | None) -> None:
    """Raise UserError where a report cannot go there."""
    if out and out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is no folder.", "give a folder; it is made where it is not.")


def classified(found: Found) -> dict[str, Any]:
    """The numbers of a classification. Raises UserError, with the reason, where there are none."""
    if found.restores:
        raise UserError("the run restores images and names no class")
    if "accuracy" not in found.numbers:
        raise UserError("the run has no scores yet (eval/test.json)")
    return found.numbers


def guessed(found: Found) -> Guesses:
    """The single guesses. Raises UserError, with the reason, where they were not kept."""
    classified(found)
    if found.guesses is None:
        raise UserError(f"predictions/{found.measured}.npz is not there, or of another step")
    return found.guesses


def bins_of(found: Found) -> list[dict[str, Any]]:
    """The reliability diagram of the guesses, as kept or from the guesses themselves."""
    kept = classified(found).get("reliability")
    if kept:
        return kept
    guesses = guessed(found)
    return reliability(guesses.p.max(1), guesses.guess == guesses.label)


def percent(share: float | None, digits: int = 1) -> str:
    """0.704 -> "70.4 %"; a dash for None."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def called(name: str) -> str:
    """A class's name as a figure has it: of few letters, with nothing that matplotlib reads."""
    return shortened(str(name), LETTERS).replace("$", r"\$")


def write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    """Write the numbers behind a figure. Text that a spreadsheet would run gets "./" before it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in (head, *rows):
        writer.writerow([files.without_formula(c) if isinstance(c, str) else c for c in row])
    files.write_bytes(path, text.getvalue().encode("utf-8", "surrogateescape"))
    return path


def flat(config: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    """(path, value) of each setting: {"a": {"b": 1}} -> [("a.b", 1)]; a list of dicts by place."""
    found = []
    for key, value in config.items():
        path = f"{above}{key}"
        if isinstance(value, dict) and value:
            found += flat(value, f"{path}.")
        elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            for i, one in enumerate(value):
                found += flat(one, f"{path}.{one.get('name', i)}.")
        else:
            found.append((path, value))
    return found


def _json(path: Path) -> dict[str, Any]:
    return files.read_json(path) if path.is_file() else {}


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; a last line that was cut short is not a row."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def _guesses(path: Path, numbers: Mapping[str, Any]) -> Guesses | None:
    """The guesses that the numbers are of, or None."""
    if "accuracy" not in numbers or not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as kept:
        if not {"ema", "label"} <= set(kept) or len(kept["label"]) != numbers["n"]:
            return None
        if "step" in kept and int(kept["step"]) != numbers.get("step", int(kept["step"])):
            return None
        return Guesses(kept["label"].astype(int), kept["ema"].astype(np.float64))
