"""`import lowlabel_jax as ll`: configs, training, loading, as docs/api.md shows them."""

import os
import subprocess
import sys

import numpy as np
import pytest

import lowlabel_jax as ll
from lowlabel_jax.configuration.resolve import as_dict
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.runs import api
from tests import tiny

CONFIG = {
    "source": {"name": "digits"},
    "split": {"labelled": {"per_class": 2}},
    "batch": {"labelled": 8},
    "model": {"name": "small_cnn", "channels": [4, 8], "pool": [True, True]},
    "length": {"steps": 2},
}


def test_the_package_is_free_of_jax_until_a_function_needs_it():
    code = """
import sys
import lowlabel_jax as ll
heavy = {"jax", "flax", "numpy", "ml_collections"} & set(sys.modules)
assert not heavy, heavy
ll.config("digits_fixmatch")
assert not {"jax", "flax"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_config_is_a_name_a_file_sections_or_one_that_there_is():
    named = ll.config("digits_fixmatch", {"objective.threshold": 0.7, "seed": 3})
    assert (named.objective.threshold, named.seed) == (0.7, 3)
    of_file = ll.config("configs/digits_fixmatch.py", {"objective.threshold": 0.7, "seed": 3})
    assert as_dict(of_file) == as_dict(named)
    made = ll.config(CONFIG)
    assert (made.model.channels, made.length.steps, made.batch.mu) == ((4, 8), 2, 7)
    again = ll.config(made, {"length.steps": 5, "model.pool": (True, False)})
    assert (again.length.steps, again.model.pool, made.length.steps) == (5, (True, False), 2)


def test_sections_that_are_given_in_part_keep_the_rest_of_their_defaults():
    assert ll.config({"batch": {"labelled": 8}}).batch.mu == 7


@pytest.mark.parametrize(
    "what, overrides, message",
    [
        ("digits_fixmach", {}, "Did you mean 'digits_fixmatch'"),
        ("digits_fixmatch", {"objective.treshold": 1}, "Did you mean 'objective.threshold'"),
        ({"sead": 1}, {}, "sead"),
        ({"objective": {"name": "fixmatsch"}}, {}, "Did you mean 'fixmatch'"),
    ],
)
def test_mistakes_in_a_config_are_named(what, overrides, message):
    with pytest.raises(UserError, match=message):
        ll.config(what, overrides)


def test_what_is_trained_is_loaded_and_predicts(tmp_path):
    run = ll.train(CONFIG, tmp_path / "run", command=["python", "mine.py"])
    assert (tmp_path / "run" / "command.sh").read_text().endswith("\npython mine.py\n")
    assert os.fspath(run) == str(tmp_path / "run") and run.directory == tmp_path / "run"
    assert 0 <= run.numbers["test"]["accuracy"] <= 1
    loaded = ll.load(run)
    digits = tiny.DIGITS.read("train", np.arange(3))
    rows = loaded.predict(digits, topk=2)
    assert [len(row["topk"]) for row in rows] == [2, 2, 2]
    assert ll.train(CONFIG, tmp_path / "run").numbers["test"] == run.numbers["test"]
    with pytest.raises(UserError, match="--resume=never was given"):
        ll.train(CONFIG, tmp_path / "run", resume="never")


def test_the_command_that_is_kept_trains_the_same(tmp_path, monkeypatch):
    made = ll.config(CONFIG, {"seed": 4, "split.labelled.per_class": 3})
    python, option, code = api.command(made, tmp_path / "a run")
    assert (python, option) == ("python", "-c")
    seen = {}
    monkeypatch.setattr(ll, "train", lambda what, where: seen.update(what=what, where=where))
    exec(code, {})
    assert seen["where"] == str(tmp_path / "a run")
    assert as_dict(ll.config(seen["what"])) == as_dict(made)
    assert len(code) < len(str(as_dict(made))) / 2  # what differs alone


def test_a_self_tuned_run_takes_no_force_resume(tmp_path):
    made = ll.config("digits_auto")
    assert made.tune.budget != "off"
    with pytest.raises(UserError, match="takes no force_resume"):
        ll.train(made, tmp_path / "run", force_resume=True)
