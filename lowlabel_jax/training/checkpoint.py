"""Checkpoints that can be trusted: orbax writes them, a SHA-256 manifest says they are whole.

orbax does not notice a flipped bit (80 of 80 restored in silence), casts other dtypes in silence,
and its manager takes an empty directory for the newest step and answers a refused save with a mere
False. Hence its plain Checkpointer, which replaces a directory whole or not at all; a manifest
written when it is done; and steps that fail their manifest are set aside, never used, never lost.
"""

import errno
import shutil
import time
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from lowlabel_jax.core import files, log, processes
from lowlabel_jax.core.errors import SaveFailed, UserError
from lowlabel_jax.training import leaves
from lowlabel_jax.training.phases import Progress

FORMAT = 1


def save(directory: Path, state: Any, progress: Progress, keep: int) -> None:
    """Write state and progress as one step, hash its files, let go of old steps.

    Of several processes the first one does it: all have the same state.
    Raises SaveFailed where the disk is full; older checkpoints then stay as they are.
    """
    place = _step(directory, progress.step)
    if not processes.first():
        return
    if place.exists():  # the same step again: a signal came right after a save
        return
    place.parent.mkdir(exist_ok=True)
    arrays = leaves.arrays(state)
    needed = 2 * sum(x.nbytes for x in arrays.values())
    if shutil.disk_usage(directory).free < needed:
        raise _disk_full(directory, needed)
    items = ocp.args.Composite(
        state=ocp.args.StandardSave(arrays),
        progress=ocp.args.JsonSave({"format": FORMAT, **progress.to_json()}),
    )
    try:
        _checkpointer().save(place.resolve(), args=items)
        files.write_json(_manifest(directory, progress.step), _hashes(place))
    except (OSError, ValueError) as error:
        if getattr(error, "errno", 0) == errno.ENOSPC or "RESOURCE_EXHAUSTED" in str(error):
            raise _disk_full(directory, needed) from error
        raise
    for step in set(steps(directory)[:-keep]) - {progress.best_step}:
        _manifest(directory, step).unlink(missing_ok=True)
        shutil.rmtree(_step(directory, step))


def newest(directory: Path) -> Progress | None:
    """Where the newest whole checkpoint stands; None where there is none at all.

    Broken ones are moved to corrupt/ and named. Raises UserError where all are broken: training
    never starts again from nothing unasked.
    """
    reasons = []
    for step in reversed(steps(directory)):
        reason = broken(directory, step)
        if not reason:
            return progress(directory, step)
        reasons.append(f"step {step}: {reason}")
        _set_aside(directory, step, reason)
    if reasons:
        raise UserError(
            f"no checkpoint in {directory} is whole: {'; '.join(reasons)}.",
            "--resume=never --overwrite starts again from step 0.",
        )
    return None


def read(directory: Path, step: int, like: Any) -> Any:
    """The state of one step, in `like`'s form. Raises UserError where it has another form."""
    place = _step(directory, step).resolve()
    wanted = leaves.arrays(like)
    stored: Any = _checkpointer().metadata(place).item_metadata
    if wrong := list(leaves.differences(dict(stored["state"]), wanted)):
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise UserError(
            f"{place} belongs to another model or class count: {'; '.join(wrong[:5])}{more}.",
            "resume with the config it was made with, or give another --workdir.",
        )
    items = ocp.args.Composite(state=ocp.args.StandardRestore(wanted))
    return leaves.state(_checkpointer().restore(place, args=items)["state"], like)


def progress(directory: Path, step: int) -> Progress:
    """Where a run stood at one step. Raises UserError where another version wrote it."""
    items = ocp.args.Composite(progress=ocp.args.JsonRestore())
    found = _checkpointer().restore(_step(directory, step).resolve(), args=items)["progress"]
    if found["format"] != FORMAT:
        raise UserError(
            f"checkpoint {step} in {directory} has format {found['format']}, not {FORMAT}.",
            "use the version of lowlabel_jax that wrote it (environment.json names it).",
        )
    return Progress(**{key: value for key, value in found.items() if key != "format"})


def steps(directory: Path) -> list[int]:
    """The steps that have a directory, oldest first. Temporaries and others' files are none."""
    folder = directory / "checkpoints"
    found = folder.iterdir() if folder.exists() else ()
    return sorted(
        int(p.name) for p in found if p.name.isdigit() and p.is_dir() and any(p.iterdir())
    )


def broken(directory: Path, step: int) -> str:
    """Why a step cannot be trusted, or ""."""
    manifest = _manifest(directory, step)
    if not manifest.exists():
        return "it was never finished (no manifest)"
    try:
        expected = files.read_json(manifest)
    except UserError as error:
        return error.message
    found = _hashes(_step(directory, step))
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if expected.get(name) != found[name]:
            return f"sha256 mismatch in {name}"
    return ""


def clean(directory: Path) -> None:
    """Remove what a killed save left: orbax's temporaries and empty steps. Others' files stay."""
    folder = directory / "checkpoints"
    for place in folder.iterdir() if folder.exists() else ():
        empty_step = place.name.isdigit() and place.is_dir() and not any(place.iterdir())
        if ".orbax-checkpoint-tmp" in place.name or empty_step:
            shutil.rmtree(place)


def give_up(directory: Path, step: int, reason: str) -> None:
    """Set a step aside that is needed and broken, with all that came after it and counts on it."""
    if not processes.first():
        return
    for later in [found for found in steps(directory) if found >= step]:
        _set_aside(directory, later, reason if later == step else f"it counts on step {step}")


def _set_aside(directory: Path, step: int, reason: str) -> None:
    place = directory / "corrupt" / f"{step}-{time.time_ns()}"
    place.parent.mkdir(exist_ok=True)
    _step(directory, step).rename(place)
    _manifest(directory, step).unlink(missing_ok=True)
    log.warn(f"checkpoint {step} failed verification ({reason}); moved to {place}.")


def _checkpointer() -> ocp.Checkpointer:
    number = processes.part()[0]
    alone = ocp.options.MultiprocessingOptions(  # orbax waits for all processes; one alone saves
        primary_host=number, active_processes={number}, barrier_sync_key_prefix=str(number)
    )
    how: dict[str, Any] = {"multiprocessing_options": alone} if processes.count() > 1 else {}
    parts = {
        "state": ocp.StandardCheckpointHandler(**how),
        "progress": ocp.JsonCheckpointHandler(**how),
    }
    options = ocp.CompositeOptions(**how)
    return ocp.Checkpointer(
        ocp.CompositeCheckpointHandler(composite_options=options, **parts), **how
    )


def _step(directory: Path, step: int) -> Path:
    return directory / "checkpoints" / str(step)


def _manifest(directory: Path, step: int) -> Path:
    return directory / "manifests" / f"{step}.json"


def _hashes(place: Path) -> dict[str, str]:
    """{"state/manifest.ocdbt": sha256, …} of every file below a step's directory."""
    found = (p for p in sorted(place.rglob("*")) if p.is_file())
    return {str(p.relative_to(place)): files.sha256(p) for p in found}


def _disk_full(directory: Path, needed: int) -> SaveFailed:
    free = shutil.disk_usage(directory).free
    return SaveFailed(
        f"disk full at {directory}: {needed / 1e6:.1f} MB needed, {free / 1e6:.1f} MB free.",
        "free some space and give the same command again: it goes on from the last checkpoint.",
    )
