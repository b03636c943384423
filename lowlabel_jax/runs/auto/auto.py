"""The self-tuning run: look at the data, learn the settings, train, compare, report.

DIR/tuning/       evidence of each thing learnt, and asked.json: what the run was asked to be
DIR               the run itself, with the learnt config: config.json, checkpoints/, eval/, …
DIR/comparison/   the same on other draws of the labels, and the baselines on all of them
DIR/report/       what came out, for people
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lowlabel_jax.configuration import load
from lowlabel_jax.configuration.check import check
from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.configuration.resolve import as_dict, difference, seeds
from lowlabel_jax.core import files, log
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data import splits
from lowlabel_jax.data.opened import open_data
from lowlabel_jax.pretrained import bring
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs import plan as plans
from lowlabel_jax.runs import train as run_train
from lowlabel_jax.runs.auto import auto_report, auto_words, baselines
from lowlabel_jax.training import build
from lowlabel_jax.tuning import budgets, studies, trial, tune
from lowlabel_jax.tuning import ground as grounds


def auto(
    config: Config,
    directory: Path,
    *,
    command: Sequence[str] = (),
    resume: str = "auto",
    overwrite: bool = False,
    max_seconds: float = 0,
) -> dict[str, Any]:
    """Learn, train, compare and report in a directory, or go on where that was left; test numbers.

    max_seconds: after so many the work is saved and left, to be gone on with; 0: as long as it
    takes. Raises what training raises, and UserError where the directory was begun otherwise.
    """
    began = time.monotonic()
    check(config)
    tune.check(config)
    rundir.usable(directory)
    if overwrite and (directory / "tuning").exists():
        with files.locked(directory):
            rundir.overwrite(directory)
    check_resume(directory, resume)
    learnt = learnt_config(config, directory, max_seconds)
    numbers = trained(learnt, directory, command, left(max_seconds, began))
    baselines.compare(config, learnt, directory, left(max_seconds, began))
    auto_report.report(directory)
    log.say(auto_words.words(directory))
    return numbers


def check_resume(directory: Path, mode: str) -> None:
    """Raise UserError where `--resume` and what the directory holds do not go together."""
    begun = (directory / "tuning").exists()
    if mode == "never" and begun:
        raise UserError(
            f"{directory} holds a self-tuned run and --resume=never was given.",
            "give another --workdir, or add --overwrite to move it to its trash/.",
        )
    if mode == "must" and not begun:
        raise UserError(f"{directory} holds no run to resume.", "leave --resume=must out.")


def left(max_seconds: float, began: float) -> float:
    """What is left of the seconds, at least one of them; 0: no limit."""
    return max_seconds and max(max_seconds - (time.monotonic() - began), 1.0)


def trained(
    learnt: Config, directory: Path, command: Sequence[str], max_seconds: float
) -> dict[str, Any]:
    """Train the learnt config, and write what that and learning it have cost: tuning/cost.json."""
    began, before = time.monotonic(), rundir.status(directory)
    numbers = run_train.train(learnt, directory, command=command, max_seconds=max_seconds)
    path = directory / "tuning" / "cost.json"
    if not path.exists():
        seconds = None if before else round(time.monotonic() - began, 1)  # of one go alone
        files.write_json(path, cost(directory, seconds))
    return numbers


def cost(directory: Path, seconds: float | None) -> dict[str, Any]:
    """Steps, images and seconds of each part of tuning and of the training after it."""
    parts = []
    for part in tune.PARTS:
        path = directory / "tuning" / f"{part}.json"
        if path.exists():
            parts.append({"part": part, **files.read_json(path)["cost"]})
    config = files.read_json(directory / "config.json")
    rows = (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ended = {row["phase"]: row["step"] for row in map(json.loads, rows)}
    steps = images = 0
    for number, spec in enumerate(config["phases"]):
        if spec["name"] in ended:
            done = ended[spec["name"]] - steps
            images += done * trial.images_a_step(build.phase(config, number))
            steps += done
    return {"parts": parts, "training": {"steps": steps, "images": images, "seconds": seconds}}


def learnt_config(config: Config, directory: Path, max_seconds: float = 0) -> Config:
    """The learnt config: read where it is there, else learnt and kept as tuning/learnt.json."""
    place = directory / "tuning"
    if not place.exists():
        rundir.check_resume(directory, "auto")
    asked, path = as_dict(config), place / "asked.json"
    if path.exists() and (changed := difference(files.read_json(path), asked)):
        changed = {p: pair for p, pair in changed.items() if p not in ("tune.seeds",)}
        rundir.refuse(directory, changed)
    if (place / "learnt.json").exists():
        return load.from_json(files.read_json(place / "learnt.json"))
    with files.locked(directory):
        learnt = learn(config, place, max_seconds)
        files.write_json(place / "learnt.json", as_dict(learnt))
    return learnt


def learn(config: Config, place: Path, max_seconds: float = 0) -> Config:
    """The config with what tuning has found; `place` gets the evidence.

    What was asked for is written once the data are there: a mistyped path holds nobody to it.
    """
    asked = as_dict(config)
    config, _ = bring.travelled(config)
    data = open_data(config.to_dict())
    split = splits.split_of(data, config.split.to_dict(), seeds(config)["split"])
    if not len(split.labelled):
        raise UserError("no image is labelled: there is nothing to learn from.", "label some.")
    held_out = bool(len(split.validation))
    parts, validation = grounds.validation_of(split, len(data.class_names), held_out)
    files.write_json(place / "asked.json", asked)
    now, never = time.monotonic(), float("inf")
    ground = grounds.Ground(
        source=data,
        split=split,
        folds=grounds.folds_of(data, split, parts),
        start=plans.starting,
        directory=place,
        budget=budgets.of(config.tune),
        seed=config.seed,
        deadline=now + ((config.tune.seconds or never) - studies.seconds(place / "optuna.log")),
        stop=now + (max_seconds or never),
        programs={},
        teachers={},
        spent=grounds.Counter(),
    )
    learnt = tune.tune(ground, config, validation)
    if parts == grounds.TENTH:
        with learnt.unlocked():
            learnt.split.folds = parts
    return learnt
