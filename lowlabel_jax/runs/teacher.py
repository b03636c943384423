"""What a finished run guesses of another run's unlabelled images: the noisy student's teacher."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lowlabel_jax.core import files, log
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data import splits
from lowlabel_jax.data.source import Images, Source
from lowlabel_jax.evaluation import guesses
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs import evaluate, results
from lowlabel_jax.training import build

KEPT = "teacher.npz"
BEFORE = "phase"  # what config.teacher says where the teacher is the phase before the student's
Columns = dict[str, dict[str, np.ndarray]]


def check(config: Mapping[str, Any], directory: Path, source: Source, split: splits.Split) -> None:
    """Raise UserError where the teacher that a config names cannot teach this run.

    Warns where it was trained with labels that this run does not have. A run that has begun keeps
    its teacher's guesses and no longer needs the teacher.
    """
    if config["teacher"] in ("", BEFORE) or (directory / KEPT).exists():
        return
    if len(_balanced(config)) > 1:
        raise UserError(
            "balanced guesses have one threshold for all phases.", "give them the same."
        )
    teacher = Path(config["teacher"])
    if rundir.status(teacher).get("state") != "finished":
        raise UserError(
            f"the teacher {teacher} is not a finished run.",
            "train it to its end first, or give another --config.teacher.",
        )
    its_config = files.read_json(teacher / "config.json")
    if build.last_objective(its_config).task == "restoration":
        raise UserError(
            f"the teacher {teacher} restores images and has learnt no classes.",
            "give a run that labels images.",
        )
    if its_config["data_fingerprint"] != source.fingerprint:
        raise UserError(
            f"the teacher {teacher} was trained on other data.",
            "give one that was trained on the data of this run.",
        )
    known = splits.read(evaluate.kept_split(teacher), source)
    trained = np.union1d(known.labelled, known.unlabelled)
    if len(found := np.intersect1d(trained, np.union1d(split.validation, split.test))):
        raise UserError(
            f"the teacher {teacher} was trained on {len(found)} images that this run measures on.",
            "share its split: --config.split.file=TEACHER/splits/split.json",
        )
    if len(more := np.setdiff1d(known.labelled, split.labelled)):
        log.warn(
            f"the teacher {teacher} knew {len(more)} labels that this run does not have: this run "
            "counts as one with all of them. Same --config.seeds.split (or split.file) for both?"
        )


def columns(
    config: Mapping[str, Any], directory: Path, source: Source, split: splits.Split
) -> Columns:
    """What `beside` makes of a teacher's guesses, or {} where there is no teacher.

    The averaged weights' guesses, made once and kept in the run as teacher.npz: a resumed run
    learns from the same numbers, whatever has become of the teacher.
    """
    if config["teacher"] in ("", BEFORE):
        return {}
    kept = directory / KEPT
    if not kept.exists():
        its_config, state = evaluate.load(Path(config["teacher"]))
        predict = results.predictor(its_config, state.apply_fn)
        images = Images(source, "train", split.unlabelled)
        files.write_npz(kept, teacher=predict({"ema": state.ema}, images)["ema"])
    with np.load(kept, allow_pickle=False) as found:
        return beside(config, found["teacher"])


def of_phase(
    config: Mapping[str, Any],
    directory: Path,
    number: int,
    state: Any,
    images: Images,
) -> Columns:
    """What `beside` makes of the averaged weights' guesses at the start of a phase.

    Kept as teacher-N.npz, N phases with moving weights before it: a phase that is resumed, or that
    follows a warm-up of statistics, learns from the guesses that were made then.
    """
    before = [spec for spec in config["phases"][:number] if spec["moves"] == "weights"]
    kept = directory / f"teacher-{len(before)}.npz"
    if not kept.exists():
        predict = results.predictor(config, state.apply_fn)
        files.write_npz(kept, teacher=predict({"ema": state.ema}, images)["ema"])
    with np.load(kept, allow_pickle=False) as found:
        return beside(config, found["teacher"])


def beside(config: Mapping[str, Any], probs: np.ndarray) -> Columns:
    """{"unlabelled": {"teacher": probs [n, k]}} and, where the objective balances them, how much
    each counts: "teacher_weight" float32 [n].
    """
    found = {"teacher": probs}
    for least in _balanced(config):
        found["teacher_weight"] = guesses.balance(probs, least)
    return {"unlabelled": found}


def _balanced(config: Mapping[str, Any]) -> set[float]:
    """The thresholds of the phases whose guesses are balanced: none or one."""
    specs = [spec["objective"] for spec in config["phases"]]
    return {s["threshold"] for s in specs if s["name"] == "noisy_student" and s["balanced"]}
