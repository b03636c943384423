"""`lowlabel autolabel`: a finished run's surest guesses as a CSV, for the next training."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lowlabel_jax.core import files, log
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.evaluation import guesses
from lowlabel_jax.evaluation.calibration import scaled
from lowlabel_jax.runs import places
from lowlabel_jax.runs.predict import looked
from lowlabel_jax.runs.predict.looked import Looked
from lowlabel_jax.runs.predict.predict import Run

COLUMNS = ("path", "label", "confidence", "weight")


def autolabel(
    directory: Path,
    wanted: Sequence[str],
    out: Path,
    least: float = 0.9,
    per_class: int = 0,
    probabilities: bool = False,
    calibrated: bool = False,
) -> int:
    """Label what `wanted` names (see expand), write the sure rows, say how far to trust them.

    least: the confidence from which a guess is kept. per_class: of each class only so many, the
    surest. calibrated: by the temperature of the run's validation set.
    Gives 2 where a file could not be read, else 0. Raises UserError before any work where there is
    no run or image, where `out` cannot be written, or a number makes no sense.
    """
    _check(out, least, per_class)
    run, paths = Run(directory), looked.files_of(wanted)
    run.must_label()
    temperature = looked.temperature_of(run) if calibrated else 1.0
    found = looked.at_files(run, paths)
    found = found._replace(probs=_at(temperature, found.probs))
    kept = guesses.surest(found.probs, least, per_class)
    root, names = looked.beside(out, found.paths)
    given = (run.class_names, [names[i] for i in kept], found.probs[kept], probabilities)
    looked.write_table(out, rows(*given))
    lines = [
        _counts(found, kept, least, len(paths), out),
        _by_class(run.class_names, found.probs[kept]),
        *([f"confidence at temperature {temperature:.3f}"] if calibrated else []),
        _worth(run, least, temperature),
        *(f"{path} cannot be read: {why}" for path, why in found.errors.items()),
        _next(out, root) if len(kept) else "next: lower --min_confidence, or label more by hand.",
    ]
    log.say("\n".join(lines))
    return 2 if found.errors else 0


def _check(out: Path, least: float, per_class: int) -> None:
    if not 0 <= least <= 1:
        raise UserError(f"--min_confidence {least} is no probability.", "--min_confidence 0.9")
    if per_class < 0:
        raise UserError(f"--per_class {per_class} keeps no image.", "--per_class 50 keeps fifty.")
    places.check("--out", out)


def _at(temperature: float, p: np.ndarray) -> np.ndarray:
    return p if temperature == 1 else scaled(p, temperature)


def rows(
    classes: Sequence[str], names: Sequence[str], p: np.ndarray, all_of_them: bool
) -> Iterator[list[Any]]:
    """The CSV, header first: path, label, confidence and, as its weight, the confidence; with
    `all_of_them` also each class's probability, p [n, k].
    """
    yield [*COLUMNS, *(f"probability_{c}" for c in classes if all_of_them)]
    for name, probs in zip(names, p, strict=True):
        sure, more = f"{probs.max():.6f}", [f"{x:.6f}" for x in probs if all_of_them]
        yield [files.without_formula(name), classes[probs.argmax()], sure, sure, *more]


def _counts(found: Looked, kept: np.ndarray, least: float, n: int, out: Path) -> str:
    sure = int((found.probs.max(1) >= least).sum())
    left = [
        (len(found.paths) - sure, f"below {least:g}"),
        (sure - len(kept), "beyond --per_class"),
        (len(found.errors), "unreadable"),
    ]
    said = "; ".join(f"{count:,} {why}" for count, why in left if count)
    return f"{out}: {len(kept):,} of {n:,} images labelled{f' ({said})' if said else ''}"


def _by_class(classes: Sequence[str], p: np.ndarray) -> str:
    counts = np.bincount(p.argmax(1), minlength=len(classes))
    return "  " + ", ".join(f"{name} {n:,}" for name, n in zip(classes, counts, strict=True))


def _worth(run: Run, least: float, temperature: float) -> str:
    """What share of guesses as sure as that was right where the run was measured."""
    for name in ("validation", "test"):
        if found := looked.measured(run, name):
            p, label = found
            break
    else:
        return "how often such guesses are right is not known: the run has no validation or test."
    one = guesses.precision_at(least, _at(temperature, p), label)
    where = f"of the run's {one['of']:,} {name} images {one['n']:,} have {least:g} or more"
    if not one["n"]:
        return f"{where}: how often such guesses are right is not known."
    share = "{:.3f} ({:.3f} to {:.3f})".format(one["precision"], *one["ci95"])
    return f"{where}, {one['right']:,} of these right: {share}"


def _next(out: Path, root: Path) -> str:
    """The command that trains on the table, and what not to do with it."""
    words = [
        "python launch.py --config=configs/own_images.py --workdir=runs/next",
        f"--config.source.name=table --config.source.path={out} --config.source.id=path",
    ]
    if root != Path(os.path.abspath(out.parent)):
        words.append(f"--config.source.images={root}")
    return (
        f"next: {log.typed(' '.join(words))}\n"
        "      (measure on images that people have labelled: these labels are guesses)"
    )
