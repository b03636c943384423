"""Noisy student in rounds: each taught by the one before, resumed, counted; balanced guesses."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from lowlabel_jax import start
from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data import feed, splits
from lowlabel_jax.evaluation import guesses
from lowlabel_jax.runs import evaluate, plan, rounds, teacher, train
from lowlabel_jax.runs.compare import compare_read
from lowlabel_jax.runs.dry_run import dry_run
from tests.linear import M, call, given_views
from tests.test_interruption import Killed, assert_same_ending
from tests.test_own_images import run_cli
from tests.tiny import DIGITS, config, leaves

ROOT = Path(__file__).parent.parent
TINY = "tests/tiny_config.py"
QUICK = ("--config.length.steps=6", "--student.objective.threshold=0.22")


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    """Configs are named from the project's folder; JAX is ready already."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(start, "jax_ready", lambda: None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a teacher and two students."""
    folder = tmp_path_factory.mktemp("rounds") / "ns"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(start, "jax_ready", lambda: None)
        assert rounds.student(TINY, QUICK, folder, 2) == 0
    return folder


# --- the rounds -----------------------------------------------------------------------------------


def test_each_round_is_taught_by_the_one_before(finished):
    for number in (1, 2):
        run, before = finished / f"round{number}", finished / f"round{number - 1}"
        assert files.read_json(run / "config.json")["teacher"] == str(before)
        made = plan.prepare(config("supervised"), finished / "nowhere")
        its_config, state = evaluate.load(before)
        predict = train.results.predictor(its_config, state.apply_fn)
        images = DIGITS.read("train", made.split.unlabelled)
        kept = np.load(run / "teacher.npz")["teacher"]
        np.testing.assert_array_equal(kept, predict({"ema": state.ema}, images)["ema"])


def test_rounds_share_their_labels_and_begin_from_other_weights(finished):
    configs = [files.read_json(finished / f"round{i}" / "config.json") for i in range(3)]
    kept = [splits.read(evaluate.kept_split(finished / f"round{i}"), DIGITS) for i in range(3)]
    for split in kept[1:]:
        np.testing.assert_array_equal(split.labelled, kept[0].labelled)
    assert [c["seeds"]["init"] for c in configs] == [0, 1000, 2000]
    assert {c["seeds"]["split"] for c in configs} == {0}
    built = [train.build.new_state(c, train.build.phase(c, 0)) for c in configs]
    first = [leaves(state.params) for state in built]
    assert all(
        any(np.abs(x - y).max() > 0.1 for x, y in zip(a, b, strict=True))
        for a, b in [(first[0], first[1]), (first[1], first[2])]
    )
    assert [c["method"] for c in configs] == ["round 0", "round 1", "round 2"]
    assert [c["phases"][0]["objective"]["name"] for c in configs] == [
        *("supervised", "noisy_student", "noisy_student")
    ]


def test_the_table_counts_what_the_teachers_guesses_were_worth(finished):
    table = files.read_json(finished / "rounds.json")
    split = splits.read(evaluate.kept_split(finished / "round0"), DIGITS)
    truth = DIGITS.labels["train"][split.unlabelled]
    guessed = ~np.isin(split.unlabelled, split.labelled)
    assert [row["round"] for row in table] == ["round0", "round1", "round2"]
    for row in table:
        test = files.read_json(finished / row["round"] / "eval" / "test.json")
        assert row["accuracy"]["test"] == test["accuracy"]
    for row in table[1:]:
        p = np.load(finished / row["round"] / "teacher.npz")["teacher"]
        right, sure = p.argmax(1) == truth, p.max(1) >= 0.22
        assert 0 < sure.sum() < len(p)
        assert (row["guesses"], row["kept"]) == (len(p), sure.sum())
        assert (row["known"], row["right"]) == (guessed.sum(), (right & guessed).sum())
        assert row["kept_known"] == (sure & guessed).sum()
        assert row["kept_right"] == (sure & guessed & right).sum()
    lines = rounds.page(table).splitlines()
    assert len(lines) == 4 and lines[1].split()[2:] == ["-", "-", "-"]
    assert f"{table[2]['right'] / table[2]['known']:.4f}" in lines[3]


def test_where_nothing_is_known_nothing_is_claimed(finished):
    config = files.read_json(finished / "round1" / "config.json")
    unknown = np.full(len(np.load(finished / "round1" / "teacher.npz")["teacher"]), -1)
    row = rounds._taught(finished / "round1", config, unknown)
    assert row["known"] == row["right"] == row["kept_right"] == 0 < row["kept"]
    page = rounds.page([{"round": "round1", "accuracy": {"test": 0.5}, **row}])
    assert page.splitlines()[1].split()[2::2] == ["-", "-"]


def test_a_finished_folder_is_looked_at_and_left(finished, capsys):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*.npz")}
    assert rounds.student(TINY, QUICK, finished, 2) == 0
    assert capsys.readouterr().out.count("is already complete") == 3
    assert before == {p: p.stat().st_mtime_ns for p in finished.rglob("*.npz")}


def test_rounds_compare_as_methods_over_seeds(finished):
    runs = [compare_read.read(path) for path in compare_read.find([finished])]
    assert list(compare_read.group_by_method(runs)) == ["round 0", "round 1", "round 2"]


def test_stopped_within_a_round_it_ends_the_same(finished, tmp_path, monkeypatch):
    indices, folder = feed.indices, tmp_path / "ns"

    def deadly(step, *rest):
        if step == 5 and (folder / "round1" / "config.json").exists():
            raise Killed
        return indices(step, *rest)

    monkeypatch.setattr(feed, "indices", deadly)
    with pytest.raises(Killed):
        rounds.student(TINY, QUICK, folder, 1)
    monkeypatch.setattr(feed, "indices", indices)
    assert not (folder / "rounds.json").exists()
    rounds.student(TINY, QUICK, folder, 1)
    for name in ("round0", "round1"):
        assert_same_ending(folder / name, finished / name)
    kept, whole = (place / "round1" / "teacher.npz" for place in (folder, finished))
    assert kept.read_bytes() == whole.read_bytes()
    table, longer = (files.read_json(place / "rounds.json") for place in (folder, finished))
    assert table == longer[:2]


KILLER = """
import os, signal, sys
from pathlib import Path
from lowlabel_jax import cli
from lowlabel_jax.data import feed
indices, begun = feed.indices, Path(sys.argv.pop(1))
def deadly(step, *rest):
    if step == 6 and begun.exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return indices(step, *rest)
feed.indices = deadly
sys.exit(cli.main())
"""


@pytest.mark.slow
def test_killed_and_repeated_ends_in_the_same_bytes(tmp_path):
    """SIGKILL in the teacher, then in the first student, in processes of their own."""
    env = {**os.environ, "XLA_FLAGS": "", "NPROC": "2", "PYTHONPATH": str(ROOT)}

    def student(folder, *before):
        words = ["student", TINY, f"--workdir={folder}", "--rounds=2"]
        program = [sys.executable, *(before or ("-m", "lowlabel_jax"))]
        return subprocess.run(
            [*program, *words], cwd=ROOT, env=env, capture_output=True, timeout=500
        )

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert student(whole).returncode == 0
    for name in ("round0", "round1"):
        done = student(cut, "-c", KILLER, str(cut / name / "config.json"))
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (cut / "round2").exists()
    assert student(cut).returncode == 0
    for name in ("round0", "round1", "round2"):
        assert_same_ending(cut / name, whole / name)
    assert (cut / "rounds.json").read_bytes() == (whole / "rounds.json").read_bytes()


# --- what a round is ------------------------------------------------------------------------------


def test_settings_for_the_teacher_the_students_or_all(tmp_path):
    said = (
        "--config.batch.mu=2",
        "--teacher.objective.strong=True",
        "--student.objective.weight=0.5",
        "--student.model.dropout=0.1",
    )
    made = rounds.plan("digits_noisy_student", said, tmp_path, 2)
    one, two, three = made.values()
    assert list(made) == ["round0", "round1", "round2"]
    assert one.objective.strong and one.model.dropout == 0 and one.teacher == ""
    assert two.objective.weight == 0.5 and two.model.dropout == 0.1  # above the file's STUDENT
    assert {c.batch.mu for c in made.values()} == {2}
    assert three.teacher == str(tmp_path / "round1")


def test_a_config_of_another_method_is_its_teacher(tmp_path):
    made = rounds.plan("digits_fixmatch", ["--config.method=mine"], tmp_path, 1)
    assert [c.objective.name for c in made.values()] == ["fixmatch", "noisy_student"]
    assert [c.method for c in made.values()] == ["mine round 0", "mine round 1"]
    assert made["round1"].objective.threshold == 0.9  # its own default, not FixMatch's 0.8


@pytest.mark.parametrize(
    "words, message",
    [
        (["digits_fixmatch", "--rounds=0"], "--rounds 0 has no student"),
        (["digits_fixmach"], "Did you mean 'digits_fixmatch'?"),
        (["digits_fixmatch", "--config.objective.name=uda"], "no phase of the students"),
        (["digits_fixmatch", "--student.objective.threshold=2"], "threshold = 2.0"),
        (["digits_fixmatch", "--students.seed=2"], "is not an option"),
    ],
)
def test_a_mistake_is_said_before_any_work(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(start, "jax_ready", None)  # not reached
    assert run_cli(monkeypatch, "student", *words, f"--workdir={tmp_path / 'ns'}") == 2
    assert message in capsys.readouterr().err and not (tmp_path / "ns").exists()


def test_a_folder_with_a_run_of_its_own_is_refused(finished):
    with pytest.raises(UserError, match="holds a single run"):
        rounds.student(TINY, QUICK, finished / "round0", 1)


def test_a_teacher_that_has_taught_is_not_trained_on(finished):
    """Its student learnt what it guessed at its old end; more students are no harm."""
    before = (finished / "round0" / "metrics.jsonl").read_bytes()
    longer = (*QUICK[1:], "--config.length.steps=8")
    with pytest.raises(UserError, match="has taught round1 already, and is now to have 8 steps"):
        rounds.student(TINY, longer, finished, 2)
    assert (finished / "round0" / "metrics.jsonl").read_bytes() == before
    rounds.check_lengths(rounds.plan(TINY, QUICK, finished, 4), finished)


# --- balanced guesses -----------------------------------------------------------------------------


def test_every_guessed_class_weighs_as_much():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([2.0, 0.8, 0.3, 0.02], 400)
    weight = guesses.balance(p, 0.6)
    guess, sure = p.argmax(1), p.max(1)
    kept = sure >= 0.6
    counts = np.bincount(guess[kept], minlength=4)
    each = int(np.ceil(counts[counts > 0].mean()))
    assert counts.max() > each > counts[counts > 0].min()  # so that the test can tell
    totals = np.bincount(guess, weight, 4)
    np.testing.assert_allclose(totals[counts > 0], each, rtol=1e-5)
    assert not weight[~kept].any()
    for c in np.flatnonzero(counts):
        mine = np.flatnonzero(kept & (guess == c))
        used = mine[weight[mine] > 0]
        assert len(used) == min(len(mine), each)
        left = np.setdiff1d(mine, used)
        assert not len(left) or sure[left].max() <= sure[used].min()
    assert not guesses.balance(p, 1.1).any()


def test_balanced_guesses_are_weighed_in_the_loss():
    """On the linear network: the difference to weight 0 is the weighted mean, to the digit."""
    views, weight = given_views(), np.linspace(0, 2, M, dtype=np.float32)

    def loss(weights, **more):
        shown = {**views, "teacher_weight": jnp.asarray(weights, jnp.float32)}
        return call("noisy_student", shown, scale=1.2, balanced=True, **more).loss

    plain = call("noisy_student", views, threshold=0.0, scale=1.2).loss
    np.testing.assert_allclose(loss(np.ones(M)), plain, rtol=1e-6)
    none = loss(np.zeros(M))
    wanted = sum(w * (loss(one) - none) for w, one in zip(weight, np.eye(M), strict=True))
    np.testing.assert_allclose(loss(weight) - none, wanted, rtol=1e-4)


def test_a_run_with_balanced_guesses(finished, tmp_path, capsys):
    """The weights lie beside the images; a dry run knows of them."""
    taught = ("--config.length.steps=2", f"--config.teacher={finished / 'round0'}")
    made = config("noisy_student", *taught, threshold=0.22, balanced=True)
    there = plan.prepare(made, tmp_path / "run")
    found = teacher.columns(there.config, tmp_path, there.source, there.split)["unlabelled"]
    np.testing.assert_array_equal(found["teacher_weight"], guesses.balance(found["teacher"], 0.22))
    assert set(np.load(tmp_path / "teacher.npz")) == {"teacher"}
    dry_run(made)  # the whole step is compiled
    assert "working memory" in capsys.readouterr().out


def test_balanced_phases_share_their_threshold(finished, tmp_path):
    made = config("noisy_student", f"--config.teacher={finished / 'round0'}", balanced=True)
    with made.unlocked():
        other = {**made.objective.to_dict(), "threshold": 0.5}
        made.phases = {"a": {}, "b": {"objective": other}}
        made.order = ("a", "b")
    with pytest.raises(UserError, match="one threshold for all phases"):
        plan.prepare(made, tmp_path / "run")
