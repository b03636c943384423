"""A self-tuning run, whole and killed: learnt, trained in phases, compared, reported."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lowlabel_jax.configuration import keys, load, resolve
from lowlabel_jax.configuration.check import check
from lowlabel_jax.core import files
from lowlabel_jax.core.errors import Interrupted, UserError
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs.auto import auto, auto_data, baselines
from lowlabel_jax.tuning import budgets, search
from tests import images, tiny_config
from tests.test_interruption import assert_same_ending

ROOT = Path(__file__).parent.parent
BUDGET = budgets.Budget(4, 2, 2, 2, 2, 4, 6, 0)


def config(**changes):
    made = tiny_config.get_config("fixmatch")
    made.tune.budget = "smoke"
    made.tune.learn = ("rate",)
    for path, value in changes.items():
        keys.assign(made, path, value)
    return made


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(budgets.BUDGETS, "smoke", BUDGET)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    place = tmp_path_factory.mktemp("auto") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(budgets.BUDGETS, "smoke", BUDGET)
        auto.auto(config(), place, command=["python", "launch.py"])
    return place


def test_a_run_learns_trains_in_phases_and_reports(whole, capsys):
    learnt = files.read_json(whole / "config.json")
    assert learnt["method"] == "auto" and learnt["tune"]["budget"] == "off"
    names = [spec["name"] for spec in learnt["phases"]]
    assert names == [
        "warm_1",
        "supervised",
        "warm_2",
        "semi_supervised",
    ]
    assert [spec["steps"] for spec in learnt["phases"]] == [2, 4, 2, 6]
    paths = [value["path"] for value in learnt["tuned"]["values"]]
    assert paths == ["optimizer.rate.peak"]
    assert all(value["why"] for value in learnt["tuned"]["values"])
    assert rundir.status(whole)["state"] == "finished"
    cost = files.read_json(whole / "tuning" / "cost.json")
    by_hand = 2 * 8 + 4 * 8 + (2 + 6) * (8 + 2 * 24)  # labelled 8, mu 3, weak and strong views
    assert cost["training"]["images"] == by_hand and cost["training"]["steps"] == 14
    assert {part["part"] for part in cost["parts"]} == {"rate"}
    assert (whole / "report" / "report.html").stat().st_size > 10_000
    assert not (whole / "comparison").exists()


def test_the_same_command_again_learns_nothing_anew(whole, monkeypatch, capsys):
    monkeypatch.setattr(search, "_one", lambda *given: pytest.fail("a trial was made"))
    before = (whole / "tuning" / "learnt.json").read_bytes()
    auto.auto(config(), whole)
    assert "already complete" in capsys.readouterr().out
    assert (whole / "tuning" / "learnt.json").read_bytes() == before


def test_killed_while_learning_it_comes_to_the_same_run(whole, tmp_path, monkeypatch):
    real, made = search._one, []

    def deadly(*given):
        made.append(given)
        if len(made) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(search, "_one", deadly)
    with pytest.raises(KeyboardInterrupt):
        auto.auto(config(), tmp_path / "run")
    auto.auto(config(), tmp_path / "run")
    learnt = [
        (place / "tuning" / "learnt.json").read_bytes() for place in (whole, tmp_path / "run")
    ]
    assert learnt[0] == learnt[1]
    assert_same_ending(whole, tmp_path / "run")
    trials = files.read_json(whole / "tuning" / "rate.json")["trials"]
    assert len(made) == len(trials) + 1  # one of them was begun twice


def test_another_config_is_refused_where_something_was_learnt(whole):
    with pytest.raises(UserError, match="batch.mu"):
        auto.auto(config(**{"batch.mu": 2}), whole)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"tune.learn": ("rat",)}, "'rate'"), ({"tune.preset": "CIFAR10_SMAL"}, "CIFAR10_SMALL")],
)
def test_a_mistyped_part_or_preset_begins_nothing(tmp_path, changes, said):
    with pytest.raises(UserError, match=said):
        auto.auto(config(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_data_that_are_not_there_hold_nobody_to_the_config(tmp_path):
    mistyped = config(**{"source": {"name": "arrays", "path": "nowhere.npz"}})
    with pytest.raises(UserError, match="nowhere.npz"):
        auto.learnt_config(mistyped, tmp_path)
    assert not (tmp_path / "tuning").exists()


def test_resume_is_obeyed(whole, tmp_path):
    with pytest.raises(UserError, match="resume=never"):
        auto.auto(config(), whole, resume="never")
    with pytest.raises(UserError, match="no run to resume"):
        auto.auto(config(), tmp_path / "run", resume="must")


def test_time_that_is_over_leaves_the_rest_for_the_same_command(tmp_path, monkeypatch, whole):
    clock = [0.0]
    real = search._one

    def slow(*given):
        clock[0] += 10.0
        return real(*given)

    monkeypatch.setattr(search, "_one", slow)
    monkeypatch.setattr("lowlabel_jax.tuning.ground.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(auto.time, "monotonic", lambda: clock[0])
    with pytest.raises(Interrupted) as stopped:
        auto.auto(config(), tmp_path / "run", max_seconds=5)  # over after the first trial
    assert stopped.value.code == 0
    monkeypatch.undo()
    monkeypatch.setitem(budgets.BUDGETS, "smoke", BUDGET)
    auto.learnt_config(config(), tmp_path / "run")
    places = [place / "tuning" / "learnt.json" for place in (whole, tmp_path / "run")]
    assert places[0].read_bytes() == places[1].read_bytes()


def test_the_comparison_trains_long_runs_first_and_baselines_in_turn(tmp_path):
    jobs = list(baselines.jobs_of(tmp_path, ["untuned", "supervised-strong", "auto"], 3, 2))
    assert [run.name for run, _, _ in jobs] == [
        "auto-seed4",
        "untuned-seed3",
        "supervised-strong-seed3",
        "untuned-seed4",
        "supervised-strong-seed4",
    ]
    assert jobs[0][2] == ["--config.seed=4"] and jobs[0][1] == tmp_path / "auto.json"
    assert jobs[1][2] == ["--config.seed=3", "--config.method=untuned"]


def test_baselines_have_the_network_the_labels_and_the_steps_of_the_run(whole):
    asked, learnt = load.override(config(), {}), auto.learnt_config(config(), whole)
    found = baselines.methods(asked, learnt, steps=14)
    assert list(found) == ["untuned", "supervised-weak", "supervised-strong", "auto"]
    for name, made in found.items():
        check(made)
        for section in ("model", "split", "source"):  # completed or not, what both have is the same
            mine, its = (resolve.as_dict(one[section]) for one in (made, learnt))
            assert {key: mine[key] for key in its} == its
        if name != "auto":
            assert made.length.to_dict() == {"steps": 14} and not made.order
            assert made.objective.name == "supervised"
            assert made.objective.strong == (name == "supervised-strong")
    assert found["untuned"].optimizer.rate.peak == asked.optimizer.rate.peak
    weak = resolve.as_dict(found["supervised-weak"].optimizer)
    assert weak == resolve.as_dict(learnt.optimizer)


def test_baselines_that_would_be_the_same_are_made_once(whole, capsys):
    learnt = auto.learnt_config(config(), whole)
    same = baselines.methods(learnt, learnt, 14)
    assert list(baselines.distinct(same)) == ["untuned", "supervised-strong", "auto"]
    assert "supervised-weak would be untuned again" in capsys.readouterr().out


def test_data_that_nobody_wrote_a_config_for_gets_one(tmp_path):
    name, made = auto_data.config_for("digits", (), 2, "smoke", seeds=0)
    check(made)
    assert made.split.labelled.per_class == 2 and made.tune.seeds == 0
    assert "model" in made.tune.learn and not made.augment.weak.flip
    with pytest.raises(UserError, match="labels-per-class"):
        auto_data.config_for("digits", (), -1, "smoke")


# --- as a user meets it ---


def launched(workdir, *options):
    command = [
        sys.executable,
        "launch.py",
        "--config=configs/digits_auto.py",
        f"--workdir={workdir}",
        "--config.tune.budget=smoke",
        "--config.tune.seeds=0",
        "--config.model.channels=(4,8)",
        '--config.tune.learn=("rate","semi")',
        "--config.checkpoint.every=10",
        "--config.log_every=5",
        *options,
    ]
    env = {**os.environ, "XLA_FLAGS": "", "NPROC": "2", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def killed_when(process, seen):
    """Kill a process as soon as seen() is true."""
    until = time.monotonic() + 200
    while not seen():
        assert process.poll() is None and time.monotonic() < until, process.communicate()[0]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_killed_in_tuning_and_in_phase_two_the_command_ends_the_same(tmp_path):
    whole = launched(tmp_path / "whole")
    assert whole.wait() == 0, whole.communicate()[0]
    whole.communicate()
    run = tmp_path / "run"
    killed_when(launched(run), lambda: (run / "tuning" / "rate.json").exists())

    def in_phase_two():
        rows = run / "metrics.jsonl"
        text = rows.read_text(encoding="utf-8") if rows.exists() else ""
        lines = [json.loads(line) for line in text.split("\n")[:-1]]
        return any(line["phase"] == "semi_supervised" for line in lines)

    killed_when(launched(run), in_phase_two)
    again = launched(run)
    assert again.wait() == 0, again.communicate()[0]
    again.communicate()
    learnt = [
        (place / "tuning" / "learnt.json").read_bytes() for place in (tmp_path / "whole", run)
    ]
    assert learnt[0] == learnt[1]
    assert_same_ending(tmp_path / "whole", run)


@pytest.mark.slow
def test_the_command_line_learns_from_a_folder_of_images(tmp_path):
    for number in range(24):
        place = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        images.saved(place, images.photo(seed=number))
    command = [sys.executable, "-m", "lowlabel_jax", "auto", str(tmp_path / "photos")]
    command += ["--labels-per-class", "4", "--budget=smoke", "--seeds=0"]
    command += [f"--workdir={tmp_path / 'run'}", "--config.image.size=16"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "report.html" in done.stdout
    assert (tmp_path / "run" / "command.sh").read_text().strip().endswith("--config.image.size=16")
