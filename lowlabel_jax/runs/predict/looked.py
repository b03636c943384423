"""What a finished run says of many images: of files, or of those that its own data holds."""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data import splits
from lowlabel_jax.data.opened import open_data
from lowlabel_jax.data.source import Images, Source
from lowlabel_jax.evaluation.calibration import temperature_scaling
from lowlabel_jax.runs import evaluate
from lowlabel_jax.runs.predict.labelling import AT_ONCE
from lowlabel_jax.runs.predict.predict import Run
from lowlabel_jax.runs.predict.predict_images import expand
from lowlabel_jax.runs.predict.predict_rows import looked_at, take_any_bytes


class Looked(NamedTuple):
    """The images that could be read, in order, and why the others could not."""

    paths: list[str]
    probs: np.ndarray  # float32 [n, k]
    features: np.ndarray | None  # float32 [n, f], where they were asked for
    errors: dict[str, str]  # path -> reason


def files_of(wanted: Sequence[str]) -> list[str]:
    """The files that `wanted` names (see expand), each once however often it is named."""
    take_any_bytes()
    found: dict[str, str] = {}
    for path in expand(wanted):
        found.setdefault(os.path.abspath(path), path)
    return list(found.values())


def at_files(run: Run, paths: Sequence[str], features: bool = False) -> Looked:
    """What a run says of files. Raises UserError where none of them can be read."""
    parts = list(looked_at(run, paths, features))
    why = [error for part in parts for error in part.errors]
    good = [i for i, error in enumerate(why) if error is None]
    if not good:
        raise UserError(
            f"none of {len(paths)} files can be read as an image (first: {paths[0]}: {why[0]}).",
            "give images: .jpg, .png and the like.",
        )
    probs = np.concatenate([part.probs for part in parts])[good]
    found = [part.features for part in parts if part.features is not None]
    return Looked(
        [paths[i] for i in good],
        probs,
        np.concatenate(found)[good] if found else None,
        {path: error for path, error in zip(paths, why, strict=True) if error is not None},
    )


def data_of(run: Run) -> tuple[Source, splits.Split]:
    """The data that a run was trained on, and its split. Raises UserError where it has changed."""
    source = open_data(run.config)
    if source.fingerprint != run.config["data_fingerprint"]:
        raise UserError(
            f"the data has changed since {run.directory} was trained.",
            "put it back as it was, or name files and choose --by entropy or margin.",
        )
    return source, splits.read(evaluate.kept_split(run.directory), source)


def at_images(run: Run, images: Images | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(probabilities [n, k], features [n, f]) of images of the run's own data, n > 0."""
    size = min(AT_ONCE, run.config["batch"]["evaluation"])
    guess = run.guesser(size, True)
    found = [guess(images[start : start + size]) for start in range(0, len(images), size)]
    probs, features = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return probs, features


def measured(run: Run, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """(probabilities [n, k], labels [n]) that a run's newest checkpoint gave on one of its sets."""
    place = run.directory / "predictions" / f"{name}.npz"
    if not place.exists():
        return None
    with np.load(place, allow_pickle=False) as kept:
        is_newest = "step" in kept and int(kept["step"]) == run.step
        return (kept["ema"], kept["label"]) if is_newest and len(kept["label"]) else None


def temperature_of(run: Run) -> float:
    """The temperature that fits a run's validation set. Raises UserError where it has too few."""
    found = measured(run, "validation")
    scaling = temperature_scaling(found, *found) if found else None
    if not scaling:
        raise UserError(
            f"--calibrated: {run.directory} has no validation set of 20 images and two classes.",
            "leave --calibrated out, or train with --config.split.validation.total=100.",
        )
    return scaling["temperature"]


def beside(table: Path, paths: Sequence[str]) -> tuple[Path, list[str]]:
    """(the folder below which a table's files lie, each file's path from there, with "/").

    It is the table's own folder where all files lie below it, else the deepest that has them all.
    """
    whole, home = [os.path.abspath(path) for path in paths], os.path.abspath(table.parent)
    if not all(Path(path).is_relative_to(home) for path in whole):
        home = os.path.commonpath([os.path.dirname(path) for path in whole])
    return Path(home), [os.path.relpath(path, home) for path in whole]


def write_table(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows, header first, as a whole CSV; bytes of names that are no UTF-8 stay."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    files.write_bytes(path, text.getvalue().encode("utf-8", "surrogateescape"))
