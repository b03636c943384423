"""A run's directory: may it be used, does it hold this run already, what has changed since."""

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from lowlabel_jax.configuration.resolve import RESUMABLE, difference
from lowlabel_jax.core import files, log
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data.source import Source

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "ml-collections")
HEADLINES = {"accuracy": 4, "psnr": 2, "auroc": 4}  # name -> digits
DATA = ("source", "image")  # the settings that decide which images and labels there are
BESIDE = (".lock", "trash", "train.log", "jobs")  # what lies in a run's directory, and is not it
DECIDES_BITS = (
    "jaxlib",
    "device_kind",
    "device_count",
    "processes",
    "cpu_threads",
    "deterministic",
)


def usable(directory: Path) -> None:
    """Make the directory. Raises UserError where it cannot be written: before anything is slow."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except (FileExistsError, NotADirectoryError):
        raise UserError(
            f"the workdir {directory} is a file, or lies below one.", "give another --workdir."
        ) from None
    except OSError as error:
        raise UserError(
            f"the workdir {directory} cannot be written ({error.strerror}).",
            "give a --workdir that you may write to.",
        ) from None


def holds_run(directory: Path) -> bool:
    """Whether a run has been started here."""
    return (directory / "config.json").exists()


def status(directory: Path) -> dict[str, Any]:
    """status.json, or {} where there is none."""
    path = directory / "status.json"
    return files.read_json(path) if path.exists() else {}


def headline(status: Mapping[str, Any]) -> str:
    """The main numbers that a finished run has in status.json, in words: "test accuracy 0.9731"."""
    found = [(name, status[name]) for name in HEADLINES if name in status]
    return ", ".join(
        f"{of} {name} {value:.{HEADLINES[name]}f}"
        for name, sets in found
        for of, value in sets.items()
    )


def check_resume(directory: Path, mode: str) -> None:
    """Raise UserError where `--resume` and the directory do not go together."""
    if mode == "must" and not holds_run(directory):
        raise UserError(f"{directory} holds no run to resume.", "leave --resume=must out.")
    if mode == "never" and holds_run(directory):
        raise UserError(
            f"{directory} holds a run and --resume=never was given.",
            "give another --workdir, or add --overwrite to move the old run to its trash/.",
        )
    mine = {*BESIDE, "tuning"}
    if not holds_run(directory) and directory.exists():
        foreign = sorted(p.name for p in directory.iterdir() if p.name not in mine)
        unfinished = {"splits", "command.sh", "environment.json"}  # killed before config.json
        if foreign and not set(foreign) <= unfinished:
            raise UserError(
                f"{directory} is not empty and holds no run (first: {foreign[0]}).",
                "give a --workdir of its own to each run.",
            )


def check_data(directory: Path, config: Mapping[str, Any], source: Source) -> None:
    """Raise UserError where a run was begun with other images or labels than there are now."""
    kept = files.read_json(directory / "config.json")
    if kept["data_fingerprint"] != source.fingerprint:
        before, wanted = ({k: c.get(k) for k in DATA} for c in (kept, config))
        refuse(directory, difference(before, wanted))
        then = ", ".join(f"{n} {name}" for name, n in kept["info"]["sizes"].items())
        now = ", ".join(f"{len(label)} in {name!r}" for name, label in source.labels.items())
        raise UserError(
            f"the data has changed since {directory} was started (then {then}; now {now}).",
            "put the data back as it was, or start in a new --workdir.",
        )


def check_same(directory: Path, config: Mapping[str, Any], force: bool) -> None:
    """Raise UserError, with every changed key, where the directory was started with another config.

    Keys that change no number of the steps already done (more steps, logging) are only noted.
    """
    changed = difference(files.read_json(directory / "config.json"), config)
    allowed = {path for path in changed if any(fnmatch(path, rule) for rule in RESUMABLE)}
    if set(changed) - allowed and not force:
        refuse(directory, changed)
    for line in _shown(changed):
        log.say(f"changed since the run began: {line}")


def refuse(directory: Path, changed: Mapping[str, tuple[Any, Any]]) -> None:
    """Raise UserError with every setting that has changed, if any has."""
    if changed:
        raise UserError(
            f"{directory} holds a run with another config:\n  " + "\n  ".join(_shown(changed)),
            "resume it with its own config, give another --workdir, or --overwrite to move it to "
            "its trash/. (--force_resume goes on with the new config all the same.)",
        )


def _shown(changed: Mapping[str, tuple[Any, Any]]) -> list[str]:
    return [f"{path}: {old!r} -> {new!r}" for path, (old, new) in changed.items()]


def overwrite(directory: Path) -> None:
    """Move all that lies in the directory into its trash/: nothing is ever deleted."""
    trash = directory / "trash" / time.strftime("%Y%m%d-%H%M%S")
    while trash.exists():  # moved twice within a second
        trash = trash.with_name(f"{trash.name}-again")
    trash.mkdir(parents=True)
    for place in directory.iterdir():
        if place.name not in BESIDE:
            place.rename(trash / place.name)
    log.say(f"moved the old run to {trash}")


def begin(directory: Path, config: Mapping[str, Any], command: Sequence[str]) -> None:
    """Write what a run is, before it does anything: config.json is the last, and marks it begun."""
    said = "#!/bin/sh\n# The command that made this run, to be given in the project's folder.\n"
    files.write_text(directory / "command.sh", f"{said}{shlex.join(command)}\n")
    files.write_json(directory / "environment.json", environment(config))
    files.write_json(directory / "config.json", config)


def warn_of_other_bits(directory: Path, config: Mapping[str, Any]) -> None:
    """Say so where a resumed run will not end in the bits that it would have had."""
    path = directory / "environment.json"
    before, now = files.read_json(path) if path.exists() else {}, environment(config)
    changed = [k for k in DECIDES_BITS if k in before and before[k] != now[k]]
    if changed:
        list_of = ", ".join(f"{k} {before[k]} -> {now[k]}" for k in changed)
        log.warn(f"the result will not be bit-identical to an uninterrupted run: {list_of}.")


def environment(config: Mapping[str, Any]) -> dict[str, Any]:
    """Versions, devices and the code's commit: what a reader needs to judge a number."""
    import jax

    from lowlabel_jax import __version__, start
    from lowlabel_jax.core import parallel, processes

    return {
        "lowlabel_jax": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "device_kind": jax.devices()[0].device_kind,
        "device_count": parallel.device_total(config["devices"]),
        "processes": processes.count(),
        "cpu_threads": int(os.environ.get("NPROC", len(os.sched_getaffinity(0)))),
        "platform": platform.platform(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "deterministic": start.DETERMINISTIC in os.environ.get("XLA_FLAGS", ""),
        **_commit(),
    }


def command_line() -> list[str]:
    """The command as it was typed."""
    return ["python", *sys.argv]


def _commit() -> dict[str, Any]:
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True
        )
        return done.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except OSError:  # no git on this machine
        return {"commit": "", "dirty": None}
