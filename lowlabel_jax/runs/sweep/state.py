"""What a sweep remembers in sweep.json, and how each of its runs stands. No JAX."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lowlabel_jax.core import files
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs.sweep.plan import Run


def begin(folder: Path, runs: Mapping[str, Run]) -> dict[str, Run]:
    """Write sweep.json; those of the runs that are not finished, as the sweep remembers.

    A finished run whose config has changed since is among them: its directory says what differs.
    """
    path = folder / "sweep.json"
    before = files.read_json(path).get("finished", {}) if path.exists() else {}
    kept = {name: digest for name, digest in before.items() if is_finished(folder / name)}
    asked = {name: run.overrides for name, run in runs.items()}
    files.write_json(path, {"runs": asked, "finished": kept})
    return {name: run for name, run in runs.items() if kept.get(name) != run.digest}


def end(folder: Path, runs: Mapping[str, Run], codes: Mapping[str, int]) -> None:
    """Remember which runs need not be looked at again."""
    kept = files.read_json(folder / "sweep.json")
    for name in (name for name, code in codes.items() if not code):
        kept["finished"][name] = runs[name].digest
    files.write_json(folder / "sweep.json", kept)


def is_finished(run: Path) -> bool:
    """Whether a run has all its numbers."""
    return rundir.status(run).get("state") == "finished"


def ending(run: Path, code: int) -> str:
    """How a run ended, in words."""
    status: Mapping[str, Any] = rundir.status(run)
    if code or status.get("state") != "finished":
        state = status.get("state", "failed")
        return f"{'killed' if state == 'running' else state} (exit code {code})"
    return f"finished, {rundir.headline(status)}"


def why(run: Path, code: int) -> str:
    """Why a run did not finish, from the end of its log, and where that log is."""
    log = run / "train.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return f"exit code {code}{_reason(lines, code)} (see {log})"


def _reason(lines: Iterable[str], code: int) -> str:
    """The last error that a log names; of a bug, its traceback's last line."""
    if code > 128:
        return ", its process was killed each time: perhaps the memory was too small"
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    last = [line for line in lines if line.strip()][-1:]
    return "".join(f", {line}" for line in (said[-1:] if code != 1 and said else last))
