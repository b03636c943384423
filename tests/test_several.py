"""Runs that share a process: each once, a busy one left to its owner, a broken one no end."""

import pytest

from lowlabel_jax import start
from lowlabel_jax.configuration import load, resolve
from lowlabel_jax.core import files
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs import several
from tests import tiny_config


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """(the jobs' file, a directory for each job): two good ones and one with too many labels."""
    monkeypatch.setattr(start, "jax_ready", lambda: None)
    config = tmp_path / "config.json"
    files.write_json(config, resolve.as_dict(load.override(tiny_config.get_config(), {})))
    places = {name: tmp_path / name for name in ("one", "broken", "two")}
    wanted = {"one": ["--config.seed=1"], "broken": ["--config.split.labelled.per_class=9999"]}
    listed = [(str(p), str(config), wanted.get(name, [])) for name, p in places.items()]
    several.write(tmp_path / "jobs.json", listed, 0)
    return tmp_path / "jobs.json", places


def state(place):
    return rundir.status(place).get("state")


def test_each_is_trained_once_and_a_broken_one_stops_no_other(jobs, capsys):
    path, places = jobs
    assert several.main(path) == 2
    assert [state(place) for place in places.values()] == ["finished", None, "finished"]
    assert files.read_json(places["one"] / "config.json")["seed"] == 1
    assert "9999" in (places["broken"] / "train.log").read_text()
    said = capsys.readouterr().out
    assert "one: finished, test accuracy" in said and "broken: failed (exit code 2)" in said
    assert "step" not in said  # what a run says is in its log
    before = (places["one"] / "status.json").read_bytes()
    several.main(path)
    assert (places["one"] / "status.json").read_bytes() == before


def test_a_run_that_another_process_trains_is_left_to_it(jobs):
    path, places = jobs
    places["one"].mkdir()
    with files.locked(places["one"]):
        several.main(path)
    assert state(places["one"]) is None and state(places["two"]) == "finished"


def test_when_the_time_is_over_nothing_begins(jobs, monkeypatch):
    path, places = jobs
    given = files.read_json(path)
    files.write_json(path, {**given, "max_seconds": 5})
    clock = iter([0.0, 6.0])
    monkeypatch.setattr(several.time, "monotonic", lambda: next(clock))
    assert several.main(path) == 0
    assert not any(place.exists() for place in places.values())
