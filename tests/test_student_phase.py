"""A noisy student as a phase: taught by the phase before it, from first weights of its own."""

import numpy as np
import pytest

from lowlabel_jax.configuration import load
from lowlabel_jax.data import feed, splits
from lowlabel_jax.data.opened import open_data
from lowlabel_jax.data.source import Images
from lowlabel_jax.runs import evaluate, results
from lowlabel_jax.runs.train import train
from lowlabel_jax.training import build, checkpoint, networks
from tests.test_interruption import Killed, _killed_at, assert_same_ending
from tests.tiny import assert_same, config

STUDENT = {"name": "noisy_student", "threshold": 0.0}


def made(steps=4):
    """Labels alone; the student's statistics from new weights; the student."""
    changed = config("supervised")
    with changed.unlocked():
        changed.teacher, changed.length = "phase", {"steps": 4}
        changed.phases = {
            "labels": {},
            "warm": {
                "objective": STUDENT,
                "moves": "statistics",
                "fresh": True,
                "length": {"steps": 2},
            },
            "student": {"objective": STUDENT, "length": {"steps": steps}},
        }
        changed.order = ("labels", "warm", "student")
        changed.checkpoint.every, changed.checkpoint.keep = 1, 20
    return load.override(changed, {})  # every option written out


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    place = tmp_path_factory.mktemp("student") / "run"
    train(made(), place)
    return place


def state_at(run, step, number):
    kept, _ = evaluate.load(run)
    phase = build.phase(kept, number)
    like = build.like_phase(build.new_state(kept, build.phase(kept, 0)), phase)
    return kept, phase, checkpoint.read(run, step, like)


def test_the_teacher_is_what_the_phase_before_ended_in(whole):
    kept, phase, state = state_at(whole, 4, 0)
    source = open_data(kept)
    split = splits.read(evaluate.kept_split(whole), source)
    predict = results.predictor(kept, phase.apply_fn)
    expected = predict({"ema": state.ema}, Images(source, "train", split.unlabelled))["ema"]
    assert [path.name for path in whole.glob("teacher*")] == ["teacher-1.npz"]
    with np.load(whole / "teacher-1.npz") as found:
        np.testing.assert_allclose(found["teacher"], expected, atol=1e-6)


def test_the_student_begins_with_new_weights_and_its_statistics_alone(whole):
    kept, _, warmed = state_at(whole, 6, 1)
    first = build.weights(kept, networks.network(kept), build.FRESH)
    assert_same(warmed.params, first["params"])
    assert_same(warmed.ema["params"], first["params"])
    _, _, taught = state_at(whole, 4, 0)
    assert not np.allclose(warmed.params["conv_0"]["kernel"], taught.params["conv_0"]["kernel"])


def test_killed_anywhere_it_ends_the_same(whole, tmp_path, monkeypatch):
    run = tmp_path / "run"
    for step in (3, 4, 5, 8):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(feed, "indices", _killed_at(step))
            train(made(), run)
    train(made(), run)
    assert_same_ending(whole, run)
    assert (run / "teacher-1.npz").read_bytes() == (whole / "teacher-1.npz").read_bytes()
