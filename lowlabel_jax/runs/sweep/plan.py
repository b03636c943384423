"""Which runs a sweep has: each one's name and its overrides. Nothing is trained here. No JAX."""

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lowlabel_jax.configuration import check, keys, load, resolve
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.runs.sweep import grid as grids

LAUNCH = Path(__file__).parent.parent.parent.parent / "launch.py"
NOT_THE_METHOD = ("seed", "seeds", "split.fold", "split.normal_classes")  # what compare pairs by


class Run(NamedTuple):
    """One run of a sweep. digest: a fingerprint of all that it is to be."""

    overrides: list[str]
    digest: str


def plan(
    file: str, overrides: Sequence[str], grid: str = "", listed: bool = True
) -> dict[str, Run]:
    """{run's name: what it is to be}, each checked before the first one runs.

    listed: the runs of the config's sweep(), each with every choice of the grid, which comes last;
    without it, the choices of the grid alone. Raises UserError for what is wrong.
    """
    both = [combined(a, b) for a in _of_config(file, listed) for b in grids.choices(grid)]
    choices = [choice for i, choice in enumerate(both) if choice not in both[:i]]
    given = load.parse(overrides)
    if twice := sorted(grids.read(grid).keys() & given.keys()):
        raise UserError(
            f"--grid varies {twice[0]}, and --config.{twice[0]}={given[twice[0]]} sets it.",
            "leave one of the two out.",
        )
    jobs = {name_of(choice): [*as_arguments(choice), *overrides] for choice in choices}
    if len(jobs) != len(choices):
        raise UserError(f"two of the {len(choices)} runs of this sweep have the same name.")
    return {name: _checked(file, arguments) for name, arguments in jobs.items()}


def _checked(file: str, overrides: list[str]) -> Run:
    config = load.load(file, overrides)
    check.check(config)
    return Run(overrides, _digest(config))


def _of_config(file: str, listed: bool) -> list[Mapping[str, Any]]:
    """What the config's sweep() yields; one choice of nothing where it is not asked for."""
    if not listed:
        return [{}]
    path, _, argument = file.partition(":")
    module = None if path.endswith(".json") else load.read_module(path)
    if not module or not hasattr(module, "sweep"):
        raise UserError(
            f"{path} defines no sweep().",
            "leave --sweep out, vary settings with --grid='seed=0:3', or add: "
            "def sweep(): yield {...}",
        )
    return list(module.sweep(argument) if argument else module.sweep())


def combined(listed: Mapping[str, Any], grid: Mapping[str, Any]) -> dict[str, Any]:
    """One choice of two. What the grid varies but for seeds goes into `method`, which comparisons
    group by: {"method": "fixmatch"} and {"batch.mu": "3"} are the method "fixmatch mu=3"."""
    both = {**listed, **grid}
    words = [_word(path, value) for path, value in grid.items() if is_method(path)]
    if words:
        both["method"] = " ".join([*_label(listed), *words])
    return both


def _label(choice: Mapping[str, Any]) -> list[str]:
    """What a choice is called without a grid; nothing where it changes seeds alone."""
    if "method" in choice:
        return [str(choice["method"])]
    return [_word(path, value) for path, value in choice.items() if is_method(path)]


def is_method(path: str) -> bool:
    """Whether a setting makes another method, and not another draw of the same one."""
    return not any(path == name or path.startswith(f"{name}.") for name in NOT_THE_METHOD)


def name_of(choice: Mapping[str, Any]) -> str:
    """A run's directory: its method and seed, or else all that it chooses, the seed last."""
    if "method" in choice:
        choice = {path: choice[path] for path in choice if path == "method" or not is_method(path)}
    ordered = sorted(choice, key=lambda path: (path == "seed", not _names(path)))
    name = "-".join(_word(path, choice[path]) for path in ordered)
    return re.sub(r"[^\w.=+-]", "_", name) or "run"


def _names(path: str) -> bool:
    return path.endswith("name") or path == "method"


def _word(path: str, value: Any) -> str:
    if path.endswith(".name") or path == "method":
        return str(value)
    value = re.sub(r"[()\[\]' ]", "", str(value)).strip(",").replace(",", "+")  # (3, 4): 3+4
    short = path.rsplit(".", 1)[-1]
    return f"{short}{value}" if short == "seed" else f"{short}={value}"


def as_arguments(choice: Mapping[str, Any]) -> list[str]:
    """{"seed": 3} -> ["--config.seed=3"]."""
    return [f"{load.PREFIX}{path}={value}" for path, value in choice.items()]


def commands(file: str, runs: Mapping[str, Run], folder: Path) -> dict[str, list[str]]:
    """{run's name: the command of launch.py that trains it}; {sweep} in a value is the folder."""
    return {
        name: command(
            file, folder / name, [text.replace("{sweep}", str(folder)) for text in run.overrides]
        )
        for name, run in runs.items()
    }


def command(file: str, run: Path, overrides: Iterable[str]) -> list[str]:
    """The command that trains one run."""
    options = (f"--config={file}", f"--workdir={run}")
    return [sys.executable, str(LAUNCH), *options, *overrides]


def digest(file: str, arguments: Iterable[str]) -> str:
    """A fingerprint of all that a run is to be: one that finished with it is left alone."""
    return _digest(load.load(file, arguments))


def _digest(config: keys.Config) -> str:
    whole = json.dumps(resolve.as_dict(config), sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()


def show(runs: Mapping[str, Run]) -> Iterator[str]:
    """The lines of a dry run: every run with its overrides."""
    width = max(map(len, runs))
    for name, run in runs.items():
        yield f"{name:<{width}}  {shlex.join(run.overrides)}".rstrip()
    yield f"{len(runs)} runs; nothing was trained."
