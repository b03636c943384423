"""The noisy student's teacher: a finished run, its guesses kept in the run that learns from it."""

import json
import shutil

import numpy as np
import pytest

from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data import splits
from lowlabel_jax.evaluation import evaluate as evaluation
from lowlabel_jax.runs import evaluate, results, teacher
from lowlabel_jax.runs.plan import prepare
from lowlabel_jax.runs.train import train
from tests.tiny import DIGITS, config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of a supervised run at its end."""
    directory = tmp_path_factory.mktemp("teacher") / "run"
    train(config("supervised", "--config.length.steps=4"), directory)
    return directory


def student(run, *overrides):
    """A config of a noisy student of a run."""
    return config("noisy_student", "--config.length.steps=4", f"--config.teacher={run}", *overrides)


@pytest.fixture(scope="module")
def taught(finished, tmp_path_factory):
    """The directory of its student at its end."""
    directory = tmp_path_factory.mktemp("student") / "run"
    train(student(finished, "--config.objective.threshold=0.0"), directory)
    return directory


def test_a_student_learns_from_what_the_average_of_its_teacher_guesses(finished, taught):
    kept = np.load(taught / "teacher.npz")["teacher"]
    split = splits.read(evaluate.kept_split(taught), DIGITS)
    its_config, state = evaluate.load(finished)
    images = DIGITS.read("train", split.unlabelled)
    predict = results.predictor(its_config, state.apply_fn)
    probs = evaluation.both(predict, state, images)
    np.testing.assert_array_equal(kept, probs["ema"])
    assert np.abs(kept - probs["raw"]).max() > 1e-3  # so that the test can tell
    np.testing.assert_allclose(kept.sum(1), 1, rtol=1e-5)
    rows = [json.loads(line) for line in (taught / "metrics.jsonl").read_text().splitlines()]
    truth = DIGITS.labels["train"][split.unlabelled]
    assert rows[-1]["mask_rate"] == 1.0  # of a threshold of 0
    assert 0 < (kept.argmax(1) == truth).mean() < 1


def test_the_guesses_are_made_once(finished, taught, tmp_path):
    """A run that goes on reads its own copy."""
    run = tmp_path / "run"
    shutil.copytree(taught, run)
    marked = np.full_like(np.load(run / "teacher.npz")["teacher"], 0.1)
    files.write_npz(run / "teacher.npz", teacher=marked)
    made = prepare(student(finished), tmp_path / "other")
    found = teacher.columns(made.config, run, made.source, made.split)
    np.testing.assert_array_equal(found["unlabelled"]["teacher"], marked)


def test_a_run_that_has_begun_no_longer_needs_its_teacher(finished, taught, tmp_path):
    """The same command again, after the teacher was deleted: complete, or longer."""
    run, gone = tmp_path / "run", tmp_path / "gone"
    shutil.copytree(taught, run)
    made = student(gone)
    prepare(made, run)
    with pytest.raises(UserError, match="is not a finished run"):
        prepare(made, tmp_path / "another")


def test_without_a_teacher_there_are_no_columns(tmp_path):
    made = prepare(config("supervised"), tmp_path)
    assert teacher.columns(made.config, tmp_path, made.source, made.split) == {}
    assert not (tmp_path / "teacher.npz").exists()


def test_an_unfinished_teacher_is_refused(finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    status = files.read_json(copy / "status.json")
    files.write_json(copy / "status.json", {**status, "state": "interrupted"})
    for run in (copy, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="is not a finished run"):
            prepare(student(run), tmp_path / "run")


def test_a_noisy_student_without_a_teacher_is_refused(tmp_path):
    with pytest.raises(UserError, match="learns from a finished run"):
        train(config("noisy_student"), tmp_path / "run")


def test_a_teacher_of_other_data_is_refused(finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    kept = files.read_json(copy / "config.json")
    files.write_json(copy / "config.json", {**kept, "data_fingerprint": "of other data"})
    with pytest.raises(UserError, match="was trained on other data"):
        prepare(student(copy), tmp_path / "run")


def test_a_teacher_that_has_seen_validation_images_is_refused(finished, tmp_path):
    made = student(finished, "--config.split.validation.per_class=2")
    with pytest.raises(UserError, match="trained on 20 images that this run measures on") as said:
        prepare(made, tmp_path / "run")
    assert "split.file=TEACHER/splits/split.json" in said.value.hint


def test_a_teacher_with_more_labels_is_said(finished, tmp_path, capsys):
    prepare(student(finished), tmp_path / "same")
    assert capsys.readouterr().err == ""
    prepare(student(finished, "--config.seeds.split=1"), tmp_path / "run")
    assert "labels that this run does not have" in capsys.readouterr().err
