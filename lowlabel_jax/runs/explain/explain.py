"""`lowlabel explain`: where a run looks, what it finds alike, what it confuses; in pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lowlabel_jax.core import log
from lowlabel_jax.core.errors import UserError, nearest
from lowlabel_jax.evaluation import grad_cam, maps
from lowlabel_jax.evaluation.confusions import most_confused
from lowlabel_jax.runs.data_check import data_pictures
from lowlabel_jax.runs.explain import explain_pictures, explain_words, explained, inside
from lowlabel_jax.runs.explain import explain_read as reading
from lowlabel_jax.runs.explain.explain_pictures import Heat
from lowlabel_jax.runs.explain.explain_read import Own, Subjects
from lowlabel_jax.runs.predict import looked
from lowlabel_jax.runs.predict.predict import Run
from lowlabel_jax.training import build

CHOSEN = 12  # images explained of the run's own, where no number is asked for
MOST = 100  # files explained, likewise
TABLES = ("explained.csv", "neighbours.csv", "confused.csv")
MADE = ("explained.png", "explained-[0-9]*.png", "map.png", "confused.png", *TABLES)


class Asked(NamedTuple):
    """What the command was told."""

    layer: str = grad_cam.LAYER
    class_name: str = ""  # whose heat; "": the likeliest class's and the second's
    by: str = "tsne"
    map_of: str = "features"
    count: int = 0  # 0: CHOSEN, or up to MOST files


def explain(directory: Path, wanted: Sequence[str], out: Path | None, asked: Asked) -> int:
    """Explain what `wanted` names (see expand), or images of the run's own, in out (RUN/explain).

    Gives 2 where a file could not be read, else 0. Raises UserError before any work where there is
    no run or image, or an option makes no sense.
    """
    folder = out or directory / "explain"
    _check(asked, folder)
    paths = looked.files_of(wanted) if wanted else []
    _check_few(paths, asked.count)
    run = Run(directory)
    guesses = build.last_objective(run.config).task == "classification"
    _check_network(run, asked, guesses)
    own, missing = _own(run, guesses, bool(paths))
    if own and not paths:
        subjects = reading.own_subjects(run, own, asked.count or CHOSEN, guesses)
    else:
        subjects = reading.file_subjects(run, paths)
    for place in (place for name in MADE for place in folder.glob(name)):
        place.unlink()  # of an earlier command: what is left would not belong to this one
    lines = _explained(run, asked, folder, subjects, own, guesses)
    for line in [*lines, *missing]:
        log.say(line)
    for path, why in subjects.errors.items():
        log.say(f"{path} cannot be read: {why}")
    log.say(explain_words.where(folder))
    log.say(explain_words.advice(directory, guesses, own is not None))
    return 2 if subjects.errors else 0


def _explained(
    run: Run, asked: Asked, folder: Path, subjects: Subjects, own: Own | None, guesses: bool
) -> list[str]:
    """Write all that can be written; what is seen there, in words."""
    heats = _heats(run, asked, subjects) if guesses else []
    near = reading.near(run, own, subjects) if own else None
    title = f"{run.directory}: {subjects.said}"
    sheets = explain_pictures.sheets(title, run.class_names, subjects, heats, near)
    for number, sheet in enumerate(sheets, 1):
        name = f"explained-{number}.png" if len(sheets) > 1 else "explained.png"
        data_pictures.save(sheet, folder / name)
    table = explain_words.table(run.class_names, subjects, guesses)
    looked.write_table(folder / "explained.csv", table)
    lines = explain_words.subjects(run.class_names, title, subjects, heats, near, guesses)
    if near:
        rows = explain_words.neighbours(run.class_names, subjects, near)
        looked.write_table(folder / "neighbours.csv", rows)
    if own:
        _map(run, asked, folder, subjects, own, guesses)
    return lines + (_confused(run, folder, own) if own and guesses else [])


def _heats(run: Run, asked: Asked, subjects: Subjects) -> list[Heat]:
    """The heat of the class that was asked for, or of the likeliest and the second."""
    if asked.class_name:
        k = run.class_names.index(asked.class_name)
        wanted = [(f"heat of {asked.class_name}", np.full(len(subjects.names), k))]
    else:
        order = subjects.order.T[:2]
        wanted = list(zip(("heat of its guess", "heat of the second"), order, strict=False))
    found = []
    for title, classes in wanted:
        layer, heat = inside.heat_at(run, subjects.images, classes, asked.layer)
        found.append(Heat(title, classes, heat, layer))
    return found


def _map(run: Run, asked: Asked, folder: Path, subjects: Subjects, own: Own, guesses: bool) -> None:
    """map.png: the measured set and the subjects."""
    found = reading.spread(run, own, subjects, asked.by, asked.map_of)
    way = {"tsne": "t-SNE", "pca": "PCA"}[asked.by]
    title = f"{way} of {asked.map_of}: {own.name} images, and those explained by their numbers"
    given = found.points[len(found.points) - len(subjects.names) :]
    guess = found.guess if guesses else None
    place = folder / "map.png"
    explained.draw_map(place, found.points, found.label, guess, run.class_names, title, given)


def _confused(run: Run, folder: Path, own: Own) -> list[str]:
    """confused.csv and, where there are mistakes, confused.png; the first pairs in words."""
    k = len(run.class_names)
    pairs = most_confused(own.label, own.guess, run.class_names, k * k)
    looked.write_table(folder / "confused.csv", explain_words.pairs(own, pairs))
    if pairs:
        title = f"{run.directory}: the most confused pairs of {len(own.label)} {own.name} images"
        sheet = explain_pictures.confused(title, own, pairs)
        data_pictures.save(sheet, folder / "confused.png")
    return explain_words.confused(own, pairs)


def _own(run: Run, guesses: bool, spared: bool) -> tuple[Own | None, list[str]]:
    """(the run's own data, or None where it is not to be had and can be spared; why)."""
    try:
        return reading.own_of(run, guesses), []
    except UserError as error:
        if not spared:
            hint = f"put it back, or name files: lowlabel explain {run.directory} photos"
            raise UserError(error.message, hint) from None
        return None, [f"no neighbours, no map, no confusions: {error.message}"]


def _check(asked: Asked, folder: Path) -> None:
    if asked.by not in maps.WAYS:
        hint = f"--map {' or '.join(maps.WAYS)}"
        raise UserError(f"no map {asked.by!r}.{nearest(asked.by, maps.WAYS)}", hint)
    if asked.count < 0:
        raise UserError(f"--count {asked.count} explains no image.", "--count 12 explains twelve.")
    there = folder
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise UserError(f"--out {folder} is no folder.", "give a folder; it is made if need be.")


def _check_few(paths: Sequence[str], count: int) -> None:
    """Raise UserError for more files than were meant: each takes a row of pictures."""
    if len(paths) > (count or MOST):
        raise UserError(
            f"{len(paths)} files are named, and {count or MOST} are explained at most.",
            f"name fewer, or say --count {len(paths)}.",
        )


def _check_network(run: Run, asked: Asked, guesses: bool) -> None:
    """Raise UserError for a class, a layer or an endpoint that the run does not have."""
    inside.check_end(run, asked.map_of)
    names = run.class_names
    if asked.class_name and asked.class_name not in names:
        raise UserError(
            f"{run.directory} knows no class {asked.class_name!r}."
            f"{nearest(asked.class_name, names)}",
            f"its classes: {', '.join(names)}.",
        )
    if guesses and asked.layer != grad_cam.LAYER:
        inside.check_layer(run, asked.layer)
    elif not guesses and (asked.class_name or asked.layer != grad_cam.LAYER):
        raise UserError(
            f"{run.directory} restores images, and has no heat of a class.",
            "leave --class and --layer out: it has a map and neighbours.",
        )
