"""Killed anywhere, the same command ends in the same bytes: state, metrics.jsonl, predictions."""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lowlabel_jax.data import feed
from lowlabel_jax.runs import evaluate
from lowlabel_jax.runs.train import train
from lowlabel_jax.training import checkpoint, record
from tests.tiny import OBJECTIVES, assert_same, config, leaves

ROOT = Path(__file__).parent.parent
ENDING = ("metrics.jsonl", "eval/test.json", "predictions/test.npz")


def launch(workdir, objective, *options, kill=None):
    """launch.py in a process of its own: one device, two threads, warnings shown."""
    script = ["tests/kill_at.py", str(kill[0]), kill[1]] if kill else ["launch.py"]
    command = [
        sys.executable,
        *script,
        f"--config=tests/tiny_config.py:{objective}",
        f"--workdir={workdir}",
        *options,
    ]
    env = {**os.environ, "XLA_FLAGS": "", "NPROC": "2", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)


def ending(run):
    """What a run ends in, as bytes and arrays."""
    _, state = evaluate.load(run)
    return [(run / name).read_bytes() for name in ENDING], leaves(state)


def assert_same_ending(a, b):
    (bytes_a, leaves_a), (bytes_b, leaves_b) = ending(a), ending(b)
    assert bytes_a == bytes_b
    assert_same(leaves_a, leaves_b)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """objective -> the directory of a run that nobody interrupted."""
    made = {}

    def of(objective):
        if objective not in made:
            made[objective] = tmp_path_factory.mktemp("whole") / "run"
            done = launch(made[objective], objective, *taught(objective, of))
            assert done.returncode == 0, done.stderr
        return made[objective]

    return of


def taught(objective, whole):
    """The options with which an objective can run: a noisy student wants a finished run."""
    return [f"--config.teacher={whole('supervised')}"] if objective == "noisy_student" else []


def kill_chain(run, objective, whole, *steps):
    """Kill the run at each of the steps in turn, then let it finish."""
    options = taught(objective, whole)
    for step in steps:
        assert launch(run, objective, *options, kill=(step, "SIGKILL")).returncode == -9
    done = launch(run, objective, *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def kinds(*shown):
    """Every objective; those that differ in kind from all others by default."""
    rest = [pytest.param(o, marks=pytest.mark.slow) for o in OBJECTIVES if o not in shown]
    return pytest.mark.parametrize("objective", [*shown, *rest])


@kinds()
def test_killed_and_repeated_ends_in_the_same_bytes(objective, whole, tmp_path):
    """Before the first save, off every boundary, right after a save."""
    said = kill_chain(tmp_path / "run", objective, whole, 2, 6, 8)
    assert "resuming" in said
    assert_same_ending(tmp_path / "run", whole(objective))


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["supervised", "fixmatch", "flexmatch"])
@pytest.mark.parametrize("step", [0, 1, 3, 4, 5, 7, 9, 10, 11])
def test_killed_at_any_step(objective, step, whole, tmp_path):
    kill_chain(tmp_path / "run", objective, whole, step)
    assert_same_ending(tmp_path / "run", whole(objective))


def test_sigterm_saves_says_how_to_go_on_and_ends_143(whole, tmp_path):
    run = tmp_path / "run"
    done = launch(run, "fixmatch", kill=(6, "SIGTERM"))
    assert done.returncode == 143 and checkpoint.steps(run) == [4, 7]
    said = r"saved step 7 after SIGTERM. To go on: \S*python launch.py --config="
    assert re.search(said, done.stderr)
    assert json.loads((run / "status.json").read_text())["state"] == "interrupted"
    assert launch(run, "fixmatch", kill=(9, "SIGINT")).returncode == 130
    assert launch(run, "fixmatch").returncode == 0
    assert_same_ending(run, whole("fixmatch"))


def test_a_flipped_bit_in_the_newest_checkpoint_costs_steps_not_truth(whole, tmp_path):
    run = tmp_path / "run"
    launch(run, "fixmatch", kill=(10, "SIGKILL"))
    found = [p for p in (run / "checkpoints" / "8").rglob("*") if p.is_file()]
    largest = max(found, key=lambda p: p.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[random.Random(1).randrange(len(data))] ^= 4
    largest.write_bytes(data)
    done = launch(run, "fixmatch")
    assert done.returncode == 0 and "checkpoint 8 failed verification (sha256" in done.stderr
    assert "resuming" in done.stdout and "at step 4" in done.stdout
    assert_same_ending(run, whole("fixmatch"))


def test_a_finished_run_is_left_alone(whole):
    run = whole("supervised")
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*")}
    done = launch(run, "supervised")
    assert done.returncode == 0 and "is already complete (step 12, test accuracy" in done.stdout
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*")} == before


def test_more_steps_go_on_from_where_it_ended(tmp_path):
    train(config("supervised", "--config.length.steps=6"), tmp_path)
    train(config("supervised"), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [5, 6, 10, 12]


def test_rows_after_the_checkpoint_and_a_torn_line_are_dropped(tmp_path):
    train(config("supervised", "--config.length.steps=8"), tmp_path)
    rows = (tmp_path / "metrics.jsonl").read_bytes()
    (tmp_path / "metrics.jsonl").write_bytes(rows + b'{"step": 9, "loss": 1.0}\n{"step": 10, "lo')
    train(config("supervised"), tmp_path)
    after = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in after] == [5, 8, 10, 12]


# --- in one process; every objective from disk: tests/test_contract.py ---------------------------


class Killed(BaseException):
    """What a SIGKILL looks like from inside one process."""


def _killed_at(at, indices=feed.indices):
    def deadly(step, *rest):
        if step == at:
            raise Killed
        return indices(step, *rest)

    return deadly


def phased(*overrides):
    """Supervised for 5 steps, then FixMatch with a memory for 5."""
    made = config("fixmatch", "--config.split.validation.per_class=3", *overrides, align=True)
    with made.unlocked():
        made.phases = {
            "one": {"objective": {"name": "supervised", "strong": True}},
            "two": {"optimizer": {"name": "adam"}},
        }
        made.order, made.length, made.evaluate_every = ("one", "two"), {"steps": 5}, 2
    return made


@pytest.mark.parametrize(
    "stop_at", [5, *(pytest.param(at, marks=pytest.mark.slow) for at in (3, 8))]
)
def test_two_phases_killed_in_either_or_between(stop_at, tmp_path, monkeypatch):
    train(phased(), tmp_path / "whole")
    monkeypatch.setattr(feed, "indices", _killed_at(stop_at))
    with pytest.raises(Killed):
        train(phased(), tmp_path / "cut")
    monkeypatch.undo()
    train(phased(), tmp_path / "cut")
    assert_same_ending(tmp_path / "cut", tmp_path / "whole")
    rows = [json.loads(r) for r in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert [r["phase"] for r in rows if "loss" in r] == ["one"] + ["two"]
    assert [r["step"] for r in rows if "validation/loss" in r] == [2, 4, 6, 8, 10]


def test_patience_survives_a_restart(tmp_path, monkeypatch, capsys):
    """Weights that cannot move never improve: the third of three looks in vain ends the run."""
    options = (
        "--config.split.validation.per_class=3",
        "--config.evaluate_every=2",
        "--config.patience=3",
        "--config.optimizer.rate.peak=1e-30",
        "--config.optimizer.weight_decay=0",
        "--config.model.batch_norm=False",
    )
    monkeypatch.setattr(feed, "indices", _killed_at(7))
    with pytest.raises(Killed):
        train(config("supervised", *options), tmp_path)
    monkeypatch.undo()
    assert checkpoint.newest(tmp_path).stale == 1  # looked at 2 (the best so far) and 4
    train(config("supervised", *options), tmp_path)
    progress = checkpoint.newest(tmp_path)
    assert (progress.step, progress.best_step, progress.stale) == (8, 2, 3)
    said = train(config("supervised", *options), tmp_path)
    assert said["test"]["step"] == 8 and "already complete" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_devices(tmp_path, capsys):
    for name, devices in (("one", (1, 1, 1)), ("other", (1, 4, 1))):
        for steps, n in zip((4, 8, 12), devices, strict=True):
            options = (f"--config.length.steps={steps}", f"--config.devices={n}")
            rate = "--config.optimizer.rate.name=constant"  # the first half must be the same
            train(config("supervised", *options, rate), tmp_path / name)
    said = capsys.readouterr()
    assert "device_count 1 -> 4" in said.err and "device_count 4 -> 1" in said.err
    assert "devices: 1 -> 4" in said.out
    rows = [record.kept_rows(tmp_path / name / "metrics.jsonl") for name in ("one", "other")]
    assert [r["loss"] for r in rows[1]] == pytest.approx([r["loss"] for r in rows[0]], abs=1e-4)
    ends = [evaluate.load(tmp_path / name)[1].params for name in ("one", "other")]
    assert_same(*ends, atol=1e-5)
