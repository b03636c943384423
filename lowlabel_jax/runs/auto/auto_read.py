"""What a self-tuned run has left on disk, for its report. A file that is not there is None."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError

AUTO, UNTUNED = "auto", "untuned"  # methods of the comparison: what has learnt, what has not
TUNING = ("data", "batch", "rate", "regularisation", "semi", "cost")  # tuning/NAME.json
DEFAULT = 0  # the number of the trial that tries the settings as they were before


class Found(NamedTuple):
    """Everything that a report is made of."""

    directory: Path
    config: dict[str, Any] | None
    status: dict[str, Any] | None
    test: dict[str, Any] | None
    environment: dict[str, Any] | None
    command: str  # the last line of command.sh, or ""
    rows: list[dict[str, Any]]  # of metrics.jsonl
    learnt: dict[str, dict[str, Any] | None]  # tuning/NAME.json
    comparison: dict[str, Any] | None  # auto last, the untuned baseline first

    @property
    def tuned(self) -> Mapping[str, Any]:
        """The policy and its values: config's `tuned`, or {}."""
        return (self.config or {}).get("tuned") or {}


def read(directory: Path) -> Found:
    """What there is. Raises UserError where there is no directory, or a file is no JSON."""
    if not directory.is_dir():
        raise UserError(f"there is no directory {directory}.", "give a run of `lowlabel auto`.")
    top = {name: _json(directory / f"{name}.json") for name in ("config", "status", "environment")}
    command = directory / "command.sh"
    lines = command.read_text(encoding="utf-8").splitlines() if command.is_file() else []
    learnt = {name: _json(directory / f"tuning/{name}.json") for name in TUNING}
    learnt["cost"] = learnt["cost"] or _cost(learnt)
    return Found(
        directory,
        **top,
        test=_json(directory / "eval/test.json"),
        command=lines[-1] if lines else "",
        rows=_rows(directory / "metrics.jsonl"),
        learnt=learnt,
        comparison=in_order(_json(directory / "comparison/compare.json")),
    )


def in_order(comparison: dict[str, Any] | None) -> dict[str, Any] | None:
    """A comparison whose methods begin with the untuned one and end with auto."""
    if not comparison:
        return comparison
    methods, auto = comparison["methods"], auto_of(comparison)
    names = sorted(methods, key=lambda name: (name == auto, name != UNTUNED))
    return {**comparison, "methods": {name: methods[name] for name in names}}


def auto_of(comparison: Mapping[str, Any]) -> str | None:
    """The name of the method that learnt its settings; compare may have added to it."""
    names = [name for name in comparison["methods"] if name.split(" ")[0] == AUTO]
    return names[0] if len(names) == 1 else None


def runs_of(found: Found, method: Mapping[str, Any]) -> list[dict[str, Any]]:
    """config.json of each run of a method of the comparison, with its last step as "step".

    The folder that compare.json names may have moved since: the runs are looked for by their names.
    """
    here, configs = found.directory.resolve().name, []
    for name in (Path(run).name for run in method["runs"]):
        place = found.directory if name == here else found.directory / "comparison" / name
        config, status = _json(place / "config.json"), _json(place / "status.json")
        configs += [{**config, "step": (status or {}).get("step")}] if config else []
    return configs


def _cost(learnt: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the parts say that they cost, where nothing says it of the whole."""
    costs = {part: found["cost"] for part, found in learnt.items() if found and "cost" in found}
    parts = [{"part": part, **cost} for part, cost in costs.items()]
    return {"parts": parts, "training": None} if parts else None


def _json(path: Path) -> Any:
    return files.read_json(path) if path.is_file() else None


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; a last line that was cut short is not a row."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
