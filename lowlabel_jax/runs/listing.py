"""Lists for people: the runs below a directory, the configs, the settings of one config."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from lowlabel_jax.configuration import keys, load
from lowlabel_jax.configuration.resolve import label
from lowlabel_jax.core import files, named, ranges, units
from lowlabel_jax.core.errors import UserError, nearest
from lowlabel_jax.runs import directory as rundir

LATE = 10  # log lines that a run may leave out before it is taken for one that hangs
SOON, UNKNOWN = 6.0, 60.0  # seconds between two: at least, for a look takes long; and not known yet


def listing(directory: Path) -> list[dict[str, Any]]:
    """Every run at or below a directory: where, what, how it stands."""
    if not directory.is_dir():
        raise UserError(f"there is no directory {directory}.", "lowlabel runs DIR")
    found = sorted(p.parent for p in directory.rglob("config.json") if "trash" not in p.parts)
    return [_one(path) for path in found if rundir.status(path)]


def _one(path: Path) -> dict[str, Any]:
    config, status = files.read_json(path / "config.json"), rundir.status(path)
    age = time.time() - datetime.fromisoformat(status["time"]).timestamp()
    numbers = {name: status[name] for name in rundir.HEADLINES if name in status}
    numbers = {"accuracy": {}, **numbers, "age_seconds": round(age)}
    return {
        "run": str(path),
        "method": label(config),
        "seed": config["seed"],
        "state": "stalled?" if _stalled(config, status, age) else status["state"],
        "step": status["step"],
        **numbers,
    }


def _stalled(config: Mapping[str, Any], status: Mapping[str, Any], age: float) -> bool:
    """Whether a run that says it runs has not said so for ten log lines; age in seconds."""
    rate = status.get("rate", 0)
    usual = config["log_every"] / rate if rate else UNKNOWN
    return status["state"] == "running" and age > LATE * max(usual, SOON)


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    """The list as a table."""
    if not rows:
        return "no runs here"
    width = max(len(row["run"]) for row in rows)
    lines = [f"{'run':<{width}}  {'method':<18} {'state':<12} {'step':>8}  {'result':<36} age"]
    for row in rows:
        shown = rundir.headline(row) or "-"
        age = units.duration(row["age_seconds"])
        lines.append(
            f"{row['run']:<{width}}  {row['method']:<18} {row['state']:<12} "
            f"{row['step']:>8}  {shown:<36} {age}"
        )
    return "\n".join(lines)


def all_configs() -> str:
    """The configs of configs/, each with the first line that it says of itself."""
    found = {path: _about(path) for path in config_files()}
    width = max(len(path.stem) for path in found)
    return "\n".join(f"{path.stem:<{width}}  {about}" for path, about in found.items())


def config_files() -> list[Path]:
    """The config files of the project's configs/, or of the folder one stands in."""
    beside = Path(__file__).parent.parent.parent / "configs"
    return sorted((beside if beside.is_dir() else Path("configs")).glob("*.py"))


def config_path(name: str) -> str:
    """The file of a config given by its name or by its path."""
    if name.endswith(".py") or ".py:" in name:
        return name
    known = {path.stem: path for path in config_files()}
    if name not in known:
        raise UserError(
            f"no config called {name!r}.{nearest(name, known)} There are: {', '.join(known)}."
        )
    return str(known[name])


def one_config(name: str) -> str:
    """A config's settings, one a line, each with its value and its reason or its range."""
    path = config_path(name)
    config = load.load(path)
    why = {key.path: key.why for key in keys.KEYS} | reasons_of_parts(config)
    lines = [(load.read_module(path.partition(":")[0]).__doc__ or "").strip(), ""]
    for place, value in load.flat(config).items():
        reason = why.get(place) or why.get(place.rpartition(".")[0], "")
        lines.append(f"--config.{place + '=' + repr(value):<58} {reason}".rstrip())
    return "\n".join(lines)


def reasons_of_parts(config: keys.Config) -> dict[str, str]:
    """{"objective.name": what the part says of itself, "objective.threshold": its range, …}."""
    found = {}
    paths = [path for path, _ in load.parts(config)] + ["optimizer.rate"]
    for path in paths:
        kind, name = keys.kind_of(path), load.find(config, f"{path}.name")
        found[f"{path}.name"] = named.about(kind, name)
        for option, made in named.options(kind, name).items():
            found[f"{path}.{option}"] = ranges.allowed(made.annotation)
    return found


def _about(path: Path) -> str:
    return (load.read_module(str(path)).__doc__ or "").strip().splitlines()[0]
