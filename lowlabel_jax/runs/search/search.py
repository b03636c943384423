"""A search, from its command to the best setting: plan, workers side by side, what came out.

DIR/asked.json   what the search was asked to be       DIR/trial-000/  each trial, a run
DIR/study/       Optuna's journal, and who has what    DIR/search.json, best.json, *.png: the result
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lowlabel_jax.configuration import check
from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.configuration.resolve import as_dict, difference
from lowlabel_jax.core import files, log
from lowlabel_jax.core.errors import Interrupted, UserError, problems
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs.search import crew, outcome, study
from lowlabel_jax.runs.search import space as spaces


def search(
    asked: Mapping[str, Any],
    folder: Path,
    trials: int,
    *,
    workers: int = 1,
    resume: str = "auto",
    overwrite: bool = False,
    max_seconds: float = 0,
) -> int:
    """Make so many trials in a folder, or go on with them; say which setting is best. 0.

    asked: what `plan` gives. max_seconds: after which all is saved and left; 0: no limit. Raises
    UserError before anything runs for what the user can mend, and at the end where trials have
    failed; Interrupted where a signal or the time has stopped it.
    """
    rundir.usable(folder)
    check_folder(folder, resume, overwrite)
    with files.locked(folder):
        if overwrite and (folder / "asked.json").exists():
            rundir.overwrite(folder)
        begin(folder, asked, trials, max_seconds)
        done = len(study.ended(study.open_study(folder, asked)))
        log.say(f"{trials} trials in {folder}, {done} of them done before, {workers} at a time")
        if not asked["own"]:
            log.say("the config's own setting lies outside of the space: it is none of the trials")
        if done < trials:
            crew.train_all(folder, min(workers, trials - done))
        return finish(folder, asked, trials)


def plan(
    file: str,
    overrides: Sequence[str],
    config: Config,
    trials: int,
    *,
    space: str = "",
    score: str = "accuracy",
    prune: str = "median",
) -> dict[str, Any]:
    """What a search is asked to be, as asked.json keeps it. Raises UserError with all faults.

    config: of file and overrides. space: `--space`, or "" for the config file's own. score: what it
    goes by, accuracy or loss; prune: "median" ends trials early that are below it, "off" none.
    """
    problems(_misfits(config, trials), "see docs/search.md.")
    names = spaces.try_out(spaces.space_of(file, space, config), file, overrides)
    return {
        "config": file,
        "overrides": list(overrides),
        "space": space,
        "score": score,
        "prune": prune,
        "seed": config.seed,
        "names": names,
        "own": spaces.own_values(names, config),
        "settings": as_dict(config),
    }


def _misfits(config: Config, trials: int) -> Iterator[str]:
    if trials < 1:
        yield f"--search={trials} must be 1 or more trials."
    if not check.validates(config):
        yield (
            "a search scores by validation images, never by test ones, and the config has none: "
            "add --config.split.validation.total=N."
        )
    steps = dict(config.length).get("steps")
    if not config.evaluate_every:
        yield "a search goes by evaluations: add --config.evaluate_every=STEPS."
    elif steps and not config.order and config.evaluate_every > steps:
        yield f"evaluate_every = {config.evaluate_every} is over length.steps = {steps}: no look."
    if config.tune.budget != "off":
        yield "a search and tuning learn the same settings: add --config.tune.budget=off."


def dry_run(asked: Mapping[str, Any]) -> int:
    """Say what a search would choose from; 0."""
    for name, distribution in asked["names"].items():
        shown = ", ".join(f"{key} {value}" for key, value in distribution["attributes"].items())
        log.say(f"{name}: {shown}")
    log.say(f"by validation {asked['score']}; nothing was trained.")
    return 0


def check_folder(folder: Path, mode: str, overwrite: bool) -> None:
    """Raise UserError where `--resume` and what the folder holds do not go together."""
    begun = (folder / "asked.json").exists()
    if rundir.holds_run(folder):
        raise UserError(f"{folder} holds a run, no search.", "give another --workdir.")
    foreign = sorted(p.name for p in folder.iterdir() if p.name[0] != "." and p.name != "trash")
    if foreign and not begun:
        raise UserError(
            f"{folder} is not empty and holds no search (first: {foreign[0]}).",
            "give a --workdir of its own to each search.",
        )
    if mode == "must" and not begun:
        raise UserError(f"{folder} holds no search to resume.", "leave --resume=must out.")
    if mode == "never" and begun and not overwrite:
        raise UserError(
            f"{folder} holds a search and --resume=never was given.",
            "give another --workdir, or add --overwrite to move it to its trash/.",
        )


def begin(folder: Path, asked: Mapping[str, Any], trials: int, max_seconds: float) -> None:
    """Write asked.json, or hold what is asked against it; and what this go of the search may do.

    Raises UserError naming what has changed since the search began.
    """
    path = folder / "asked.json"
    if path.exists():
        rundir.refuse(folder, difference(files.read_json(path), asked))
    else:
        files.write_json(path, asked)
    session = folder / "session.json"
    number = files.read_json(session)["number"] + 1 if session.exists() else 0
    ends = time.time() + max_seconds if max_seconds else 0
    files.write_json(session, {"number": number, "trials": trials, "ends": ends})
    study.mend(folder)


def finish(folder: Path, asked: Mapping[str, Any], trials: int) -> int:
    """Write and say what came out; 0.

    Raises UserError naming trials that failed, Interrupted where the time was over before the end.
    """
    shared = study.open_study(folder, asked)
    found = outcome.read(shared)
    for trial in found:
        if trial.state == "pruned":  # its worker may have been killed before it did
            study.forget(folder / trial.name)
    if any(trial.state == "complete" for trial in found):
        outcome.write(folder, asked, shared, found)
    failed = [trial for trial in found if trial.state == "failed"]
    problems(
        [f"{t.name} failed: {t.reason} (see {folder / t.name / 'train.log'})" for t in failed],
        "the same command again tries them anew, and goes on with the others.",
    )
    left = trials - len(study.ended(shared))
    if left > 0 and 0 < files.read_json(folder / "session.json")["ends"] <= time.time():
        raise Interrupted(f"the time is over, {left} trials are left: the same command goes on.", 0)
    problems(
        [f"the workers died, {left} trials are left."] * (left > 0), "the same command goes on."
    )
    return 0
