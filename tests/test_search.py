"""A search: its space is tried out first, trials resume where they died, no test set is read."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import optuna
import pytest

import launch as launch_py
from lowlabel_jax import start
from lowlabel_jax.configuration import load
from lowlabel_jax.core import files
from lowlabel_jax.core.errors import Interrupted, UserError
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs.search import outcome, score, search, space, study, worker
from lowlabel_jax.runs.sweep.plan import as_arguments

ROOT = Path(__file__).parent.parent
CONFIG = '''
"""The tests' config with a space."""
from tests import tiny_config

def get_config(which=""):
    config = tiny_config.get_config()
    config.split.validation = {"per_class": 2}
    config.evaluate_every, config.checkpoint.every = 2, 3
    return config

def space(trial, which=""):
    if which == "none":
        return {}
    if which:
        return {which: trial.suggest_float("x", 0.1, 0.9)}
    return {
        "optimizer.rate.peak": trial.suggest_float("optimizer.rate.peak", 1e-3, 0.5, log=True),
        "ema.decay": trial.suggest_float("ema.decay", 0.5, 0.9999),
    }
'''


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The config file of a search."""
    path = tmp_path_factory.mktemp("config") / "tiny_search.py"
    path.write_text(CONFIG)
    return str(path)


@functools.cache
def plan(file, *overrides, trials=3, **how):
    return search.plan(file, overrides, load.load(file, overrides), trials, **how)


# --- the space ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, axes",
    [
        ("optimizer.rate.peak=0.003..0.3:log", [("optimizer.rate.peak", 0.003, 0.3, True, ())]),
        ("batch.mu=1..7", [("batch.mu", 1, 7, False, ())]),
        ("ema.decay=0..0.9", [("ema.decay", 0.0, 0.9, False, ())]),
        (
            "ema.decay=0.7, 0.8 ; ema.warmup=true,False;",
            [
                ("ema.decay", None, None, False, (0.7, 0.8)),
                ("ema.warmup", None, None, False, (True, False)),
            ],
        ),
        (
            "model.pool=(True,False),(False,True)",
            [("model.pool", None, None, False, ("(True,False)", "(False,True)"))],
        ),
    ],
)
def test_a_text_is_a_space(file, text, axes):
    found = space.axes_of(text, load.load(file))
    assert [tuple(axis) for axis in found] == axes
    assert [type(axis.low) for axis in found] == [type(low) for _, low, *_ in axes]


@pytest.mark.parametrize(
    "text, said",
    [
        ("batch.muu=1..7", "unknown setting 'batch.muu'. Did you mean 'batch.mu'"),
        ("ema.decay=0.9..0.1", "a range goes up"),
        ("ema.decay=0..0.1:log", "from above 0"),
        ("ema.decay=0..0.1:lin", "LOW..HIGH:log"),
        ("batch.mu=1..2.5", "invalid literal"),
        ("model.pool=1..3", "of numbers"),
        ("ema.warmup=yes", "must be True or False"),
        ("ema.decay=", "it has no values"),
        ("ema.decay=0..1;ema.decay=0..1", "names ema.decay twice"),
        (" ; ", "--space is empty"),
    ],
)
def test_a_text_that_is_no_space_is_said(file, text, said):
    with pytest.raises(UserError) as caught:
        space.axes_of(text, load.load(file))
    assert said in caught.value.message and "--space 'optimizer" in caught.value.hint


def test_all_faults_of_a_text_are_said_together(file):
    with pytest.raises(UserError, match="2 problems"):
        space.axes_of("batch.muu=1..7;ema.decay=x", load.load(file))


@pytest.mark.parametrize(
    "which, overrides, said",
    [
        ("none", (), "returns {}"),
        ("optimizer.rate.paek", (), "Did you mean 'optimizer.rate.peak'"),
        ("batch.labelled", (), "does not fit a value of type int"),
        ("split.validation.total", (), "no setting to search"),
        ("seed", (), "no setting to search"),
        ("ema.decay", ("--config.ema.decay=0.9",), "in the space and overridden too"),
    ],
)
def test_a_space_is_tried_out_before_anything_runs(file, which, overrides, said):
    with pytest.raises(UserError, match=said):
        plan(f"{file}:{which}", *overrides)


def test_a_space_that_leaves_a_settings_range_is_found(file):
    with pytest.raises(UserError, match="would not run .* ema.decay = .* must be 0 or more and"):
        plan(file, space="ema.decay=0.1..3")


def test_a_space_holds_the_configs_own_setting_or_not(file):
    assert plan(file)["own"] == {"optimizer.rate.peak": 0.03, "ema.decay": 0.999}
    assert plan(file, space="ema.decay=0.1..0.5")["own"] == {}
    assert plan(file, space="ema.warmup=True,False;batch.mu=3..5")["own"] == {
        "ema.warmup": True,
        "batch.mu": 3,
    }


def test_a_text_suggests_what_it_says(file):
    text = "optimizer.rate.peak=0.003..0.3:log;batch.mu=1..7;ema.warmup=True,False"
    names = plan(file, space=text)["names"]
    assert {name: found["name"] for name, found in names.items()} == {
        "optimizer.rate.peak": "FloatDistribution",
        "batch.mu": "IntDistribution",
        "ema.warmup": "CategoricalDistribution",
    }
    ends = {"low": 0.003, "high": 0.3, "log": True}
    assert names["optimizer.rate.peak"]["attributes"].items() >= ends.items()
    assert names["batch.mu"]["attributes"].items() >= {"low": 1, "high": 7, "log": False}.items()


@pytest.mark.parametrize(
    "overrides, trials, said",
    [
        (("--config.split.validation.total=0",), 3, "never by test ones"),
        (("--config.evaluate_every=0",), 3, "goes by evaluations"),
        (("--config.evaluate_every=13",), 3, "is over length.steps = 12"),
        (("--config.tune.budget=smoke",), 3, "tune.budget=off"),
        ((), 0, "--search=0 must be 1 or more"),
    ],
)
def test_what_cannot_be_searched_is_refused(file, overrides, trials, said):
    with pytest.raises(UserError, match=said):
        plan(file, *overrides, trials=trials)


def test_a_config_without_a_space_is_told_how_to_get_one():
    with pytest.raises(UserError, match=r"defines no space\(trial\)") as caught:
        space.space_of("tests/tiny_config.py", "", None)
    assert "--space" in caught.value.hint and "def space(trial)" in caught.value.hint


# --- the score ------------------------------------------------------------------------------------


def fabricated(run, looks, phases=("train",)):
    """A run's config and metrics with [(phase, accuracy, loss)] for looks."""
    run.mkdir(parents=True)
    files.write_json(run / "config.json", {"phases": [{"name": p, "steps": 12} for p in phases]})
    rows = [{"step": 1, "phase": phases[-1], "loss": 9.0}]
    for phase, accuracy, loss in looks:
        rows.append({"step": 1, "phase": phase, "validation/accuracy": accuracy})
        rows[-1]["validation/loss"] = loss
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def test_a_score_is_the_median_of_the_last_three_looks_of_the_last_phase(tmp_path):
    looks = [("a", 1.0, 0.0), ("b", 0.9, 0.1), ("b", 0.2, 0.8), ("b", 0.4, 0.5), ("b", 0.3, 0.9)]
    found = score.medians(fabricated(tmp_path / "run", looks, ("a", "b")))
    assert found == {"accuracy": 0.3, "loss": 0.8}
    assert score.medians(fabricated(tmp_path / "2", looks[-2:], ("b",))) == {
        "accuracy": pytest.approx(0.35),
        "loss": pytest.approx(0.7),
    }


def test_a_run_without_a_look_has_no_score(tmp_path):
    with pytest.raises(UserError, match="without a look"):
        score.medians(fabricated(tmp_path / "run", [("a", 1.0, 0.0)], ("a", "b")))
    with pytest.raises(UserError, match="no validation accuracy") as caught:
        score.of({"loss": 1.0}, "accuracy")
    assert "--score=loss" in caught.value.hint


# --- the study ------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def locks():
    """What tests hold of trials, and let go of at their end."""
    yield
    while Study.held:
        Study.held.pop().close()


class Study:
    """A search's folder without training: trials are taken and told by hand."""

    held: ClassVar = []  # the locks of trials that were taken

    def __init__(self, folder, asked, trials=20):
        self.folder, self.asked, self.session = folder, asked, {"number": 0, "trials": trials}
        folder.mkdir(exist_ok=True)
        self.space = space.space_of(asked["config"], asked["space"], None)

    def take(self, shared=None):
        shared = shared or study.open_study(self.folder, self.asked)
        taken = study.take(self.folder, shared, self.asked, self.session, self.space)
        self.held.extend([taken.lock] if taken else [])
        return taken

    def end(self, taken, value, state="complete"):
        shared = study.open_study(self.folder, self.asked)
        study.tell(shared, taken, state, {"accuracy": value, "loss": -value}, value)
        taken.lock.close()

    def read(self):
        return outcome.read(study.open_study(self.folder, self.asked))


def quality(values):
    """A score that the rate decides."""
    return -abs(values["optimizer.rate.peak"] - 0.1)


def test_the_first_trial_is_the_config_and_suggestions_go_by_number(file, tmp_path):
    """Whatever was killed: a trial is what it would have been."""
    asked = plan(file)
    one, other = Study(tmp_path / "one", asked), Study(tmp_path / "other", asked)
    for number in range(9):
        taken = one.take()
        one.end(taken, quality(taken.values))
        if number % 2:  # killed: the values are kept
            lost = other.take()
            lost.lock.close()
        if number == 5:  # killed while it was asked for: optuna has a trial without values
            study.open_study(other.folder, asked).ask()
        again = other.take()
        assert again.values == taken.values and again.number == number
        other.end(again, quality(again.values))
    first, *_, last = one.read()
    assert first.values == {"optimizer.rate.peak": 0.03, "ema.decay": 0.999}
    assert [t._replace(reason="") for t in one.read()] == other.read()
    assert len({t.values["ema.decay"] for t in one.read()}) == 9
    elsewhere = Study(tmp_path / "seed", {**asked, "seed": 1})
    for _ in range(2):
        taken = elsewhere.take()
        elsewhere.end(taken, 0.0)
    assert taken.values != one.read()[1].values


def test_a_trial_that_somebody_has_is_left_to_them(file, tmp_path):
    made = Study(tmp_path / "s", plan(file), trials=3)
    first, second = made.take(), made.take()
    assert (first.number, second.number) == (0, 1)
    first.lock.close()  # its process died
    again = made.take()
    assert again.number == 0 and again.values == first.values
    assert made.take().number == 2 and made.take() is None


def test_a_trial_that_kills_its_process_twice_waits_for_the_next_go(file, tmp_path):
    made = Study(tmp_path / "s", plan(file), trials=2)
    for number in (0, 0, 1):
        taken = made.take()
        assert taken.number == number
        taken.lock.close()
    made.session["number"] += 1
    assert made.take().number == 0


def test_a_trial_that_failed_is_tried_again_in_the_next_go(file, tmp_path):
    made = Study(tmp_path / "s", plan(file), trials=1)
    taken = made.take()
    study.set_aside(taken, "disk full")
    taken.lock.close()
    (found,) = made.read()
    assert found.state == "failed" and found.reason == "disk full" and made.take() is None
    made.session["number"] += 1
    again = made.take()
    assert again.values == taken.values and made.read()[0].state == "running"


def reported(made, value, upto=12):
    """Take a trial and report the same number at each look; the step at which it was pruned."""
    taken = made.take()
    for step in range(2, upto + 1, 2):
        if study.should_prune(taken, step, 12, value):
            return taken, step
    return taken, 0


def test_a_trial_below_the_median_is_pruned_after_its_warm_up(file, tmp_path):
    made = Study(tmp_path / "s", plan(file))
    for _ in range(4):
        taken, at = reported(made, 0.8)
        assert not at
        made.end(taken, 0.8)
    bad, at = reported(made, 0.1)
    assert at == 4  # a third of 12 steps
    bad.lock.close()  # killed before it was told: the last look is asked about again
    again = made.take()
    assert again.looks == {2, 4}
    assert not study.should_prune(again, 2, 12, 0.1) and study.should_prune(again, 4, 12, 0.1)
    made.end(again, 0.1, "pruned")
    good, at = reported(made, 0.9)
    made.end(good, 0.9)
    assert not at
    assert [t.state for t in made.read()] == ["complete"] * 4 + ["pruned", "complete"]
    assert made.read()[4].score is None and made.read()[4].looks == {2: 0.1, 4: 0.1}
    off = Study(tmp_path / "off", plan(file, prune="off"))
    for value in (0.8, 0.8, 0.8, 0.8, 0.1):
        taken, at = reported(off, value)
        off.end(taken, value)
        assert not at


def test_looks_before_the_one_at_which_a_trial_was_killed_prune_nothing(file, tmp_path):
    """It went on after them, whatever others have found meanwhile."""
    made = Study(tmp_path / "s", plan(file))
    for _ in range(4):
        made.end(reported(made, 0.8)[0], 0.8)
    fair, at = reported(made, 0.85, upto=6)
    others = [reported(made, 0.95)[0] for _ in range(5)]
    for other in others:
        made.end(other, 0.95)
    fair.lock.close()
    again = made.take()
    assert not at and again.number == fair.number
    assert not study.should_prune(again, 4, 12, 0.85)
    assert study.should_prune(again, 6, 12, 0.85)


def test_where_the_loss_counts_the_higher_one_is_pruned(file, tmp_path):
    made = Study(tmp_path / "s", plan(file, score="loss"))
    for value, wanted in [(0.8, 0)] * 4 + [(0.1, 0), (2.0, 4)]:
        taken, at = reported(made, value)
        made.end(taken, value, "pruned" if at else "complete")
        assert at == wanted


def test_a_journal_that_was_cut_off_is_mended(file, tmp_path):
    made = Study(tmp_path / "s", plan(file))
    made.end(made.take(), 0.5)
    path = made.folder / "study" / "journal.log"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "work')
    study.mend(made.folder)
    assert path.read_bytes() == whole and made.take().number == 1


# --- what came out --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def searched(file, tmp_path_factory):
    """A study of fourteen trials, two of which did not come to their end."""
    made = Study(tmp_path_factory.mktemp("searched") / "s", plan(file))
    for number in range(14):
        taken = made.take()
        taken.trial.report(0.1, 2)
        made.end(taken, quality(taken.values), {5: "pruned", 6: "diverged"}.get(number, "complete"))
    return made


def test_the_best_are_told_with_their_command(searched, capsys):
    shared = study.open_study(searched.folder, searched.asked)
    outcome.write(searched.folder, searched.asked, shared, searched.read())
    said = capsys.readouterr().out
    kept = files.read_json(searched.folder / "search.json")
    best = files.read_json(searched.folder / "best.json")
    ends = [t for t in searched.read() if t.state == "complete"]
    top = max(ends, key=lambda t: t.score)
    assert best["trial"] == top.name and best["overrides"] == top.values and best["of"] == 14
    assert (
        "the best of 14 trials (12 complete, 1 pruned, 1 diverged) by validation accuracy" in said
    )
    assert said.index(top.name) < said.index("was chosen by validation: the best of 14 scores is")
    assert f"--config.ema.decay={top.values['ema.decay']}" in best["command"]
    assert "--grid=seed=1:7" in best["command"] and "/best" in best["command"]
    assert (
        kept["importance"]["optimizer.rate.peak"] > 0.8 and "rate.peak" not in said.split("\n")[2]
    )
    assert [t["state"] for t in kept["trials"]].count("complete") == 12
    for name in ("history.png", "settings.png"):
        assert (searched.folder / name).read_bytes()[:4] == b"\x89PNG"
    before = {p: (searched.folder / p).read_bytes() for p in ("search.json", "settings.png")}
    outcome.write(searched.folder, searched.asked, shared, searched.read())
    assert before == {p: (searched.folder / p).read_bytes() for p in before}


def test_the_best_settings_command_would_be_accepted(searched):
    best = outcome.ranked(searched.read(), "accuracy")[0]
    asked = {**searched.asked, "overrides": ["--config.seed=3", "--config.batch.mu=2"], "seed": 3}
    command = outcome.training(asked, best, Path("runs/s"))
    overrides = [word for word in command if word.startswith("--config.")]
    config = load.load(asked["config"], overrides)
    assert config.ema.decay == best.values["ema.decay"] and config.batch.mu == 2
    assert "--grid=seed=4:10" in command and "--config.seed=3" not in command


def trial(number, value, loss=1.0, **params):
    given = {"state": "complete", "looks": {}, "reason": "", "values": params, "params": params}
    name = study.name_of(number)
    return outcome.Trial(number=number, name=name, score=value, medians={"loss": loss}, **given)


def test_ties_go_to_the_lower_loss_then_to_the_earlier():
    found = [trial(0, 0.5), trial(1, 0.7, 2.0), trial(2, 0.7, 1.0), trial(3, 0.7, 1.0)]
    assert [t.number for t in outcome.ranked(found, "accuracy")] == [2, 3, 1, 0]
    assert [t.number for t in outcome.ranked(found, "loss")] == [0, 2, 3, 1]


def test_importance_wants_ten_trials_and_different_scores():
    assert outcome.importance(None, [trial(n, n / 9, x=n) for n in range(9)]) is None
    assert outcome.importance(None, [trial(n, 0.5, x=n) for n in range(12)]) is None
    said = outcome._of_importance(None, 9)
    assert "takes 10 finished trials (9 finished)" in said


def test_settings_are_named_by_the_ends_that_tell_them_apart():
    paths = ["augment.weak.shift", "augment.strong.shift", "batch.mu"]
    assert outcome.short(paths) == ["weak.shift", "strong.shift", "mu"]


# --- trials that are runs -------------------------------------------------------------------------


def begun(folder, asked, trials, seconds=0):
    """A search's folder, ready for a worker."""
    folder.mkdir(exist_ok=True)
    search.begin(folder, asked, trials, seconds)
    return folder


@pytest.fixture
def in_process(monkeypatch):
    """A worker in this process, which nobody holds."""
    monkeypatch.setattr(worker, "_listen", lambda over: None)
    monkeypatch.setattr(start, "jax_ready", lambda: None)
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


def scripted(monkeypatch, prune=(), die=()):
    """Trials are pruned, and their process dies, at the (number, step) that are listed."""
    left, real = list(die), study.should_prune

    def should_prune(taken, step, total, value):
        real(taken, step, total, value)
        if (taken.number, step) in left:
            left.remove((taken.number, step))
            raise KeyboardInterrupt
        return (taken.number, step) in prune

    monkeypatch.setattr(worker.study, "should_prune", should_prune)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """{name: the folder of a search}, shared by tests."""
    return {"root": tmp_path_factory.mktemp("searches")}


@pytest.fixture
def whole(kept, file, in_process, monkeypatch):
    """A search of two trials that nobody interrupted; the second was pruned at step 6."""
    if "whole" not in kept:
        scripted(monkeypatch, prune=[(1, 6)])
        kept["whole"] = begun(kept["root"] / "whole", plan(file), 2)
        assert worker.main(kept["whole"]) == 0
    return kept["whole"]


def test_a_trial_is_a_run_scored_by_validation_and_no_test_set_is_read(whole):
    asked = files.read_json(whole / "asked.json")
    found = outcome.read(study.open_study(whole, asked))
    assert [t.state for t in found] == ["complete", "pruned"]
    for one in found:
        run = whole / one.name
        assert not (run / "eval" / "test.json").exists()
        assert not (run / "predictions" / "test.npz").exists()
        config = files.read_json(run / "config.json")
        assert config["ema"]["decay"] == one.values["ema.decay"]
        assert "train.log" in [p.name for p in run.iterdir()]
    complete, pruned = found
    assert rundir.status(whole / complete.name)["state"] == "finished"
    assert "test" not in rundir.status(whole / complete.name)["accuracy"]
    assert complete.score == score.medians(whole / complete.name)["accuracy"]
    assert list(complete.looks) == [2, 4, 6, 8, 10, 12]
    assert list(pruned.looks) == [2, 4, 6] and pruned.score is None


def test_a_pruned_trial_keeps_its_metrics_and_no_checkpoint(whole):
    run = whole / "trial-001"
    assert rundir.status(run)["state"] == "pruned"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 6 and "validation/accuracy" in rows[-1]
    assert not (run / "checkpoints").exists() and (whole / "trial-000" / "checkpoints").exists()
    assert "pruned: validation accuracy" in (run / "train.log").read_text()


@pytest.mark.slow
def test_a_worker_that_dies_is_followed_by_one_that_ends_in_the_same(
    whole, file, tmp_path, in_process, monkeypatch
):
    scripted(monkeypatch, prune=[(1, 6)], die=[(0, 8), (1, 4)])
    folder = begun(tmp_path / "s", plan(file), 2)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            worker.main(folder)
    assert worker.main(folder) == 0
    asked = files.read_json(folder / "asked.json")
    ends = [outcome.read(study.open_study(place, asked)) for place in (folder, whole)]
    assert ends[0] == ends[1]
    for name in ("trial-000", "trial-001"):
        metrics = [(place / name / "metrics.jsonl").read_bytes() for place in (folder, whole)]
        assert metrics[0] == metrics[1]


def test_a_first_trial_that_fails_stops_its_worker_and_a_later_one_does_not(
    file, tmp_path, in_process, monkeypatch
):
    said, broken = [], [0, 1, 3]

    def trained(run, values, asked, left, look):
        said.append(run.name)
        if int(run.name[-3:]) in broken:
            raise UserError("there is no such file.")
        return worker.Ended("complete", "", {"accuracy": 0.5, "loss": 1.0})

    monkeypatch.setattr(worker, "_train", trained)
    asked = plan(file)
    folder = begun(tmp_path / "s", asked, 5)
    assert worker.main(folder) == 2 and said == ["trial-000"]
    with pytest.raises(UserError, match="trial-000 failed: there is no such file"):
        search.finish(folder, asked, 5)
    broken.remove(0)
    begun(folder, asked, 5)
    assert worker.main(folder) == 0
    assert said[1:] == [study.name_of(n) for n in range(5)]  # the failed one first
    with pytest.raises(UserError, match="2 problems"):
        search.finish(folder, asked, 5)
    broken.clear()
    begun(folder, asked, 5)
    assert worker.main(folder) == 0 and said[6:] == ["trial-001", "trial-003"]
    assert search.finish(folder, asked, 5) == 0


def test_what_diverges_is_kept_as_such_and_teaches_the_sampler(
    file, tmp_path, in_process, monkeypatch
):
    def trained(run, values, asked, left, look):
        raise worker.Diverged("loss is not finite at step 3.")

    monkeypatch.setattr(worker, "_train", trained)
    asked = plan(file)
    folder = begun(tmp_path / "s", asked, 2)
    assert worker.main(folder) == 0
    shared = study.open_study(folder, asked)
    assert [t.state for t in outcome.read(shared)] == ["diverged", "diverged"]
    assert {t.state for t in shared.trials} == {optuna.trial.TrialState.PRUNED}
    assert search.finish(folder, asked, 2) == 0 and not (folder / "best.json").exists()


def test_past_its_time_a_search_says_what_is_left(file, tmp_path, in_process):
    asked = plan(file)
    folder = begun(tmp_path / "s", asked, 2, seconds=1e-6)
    assert worker.main(folder) == 0
    with pytest.raises(Interrupted, match="2 trials are left") as stopped:
        search.finish(folder, asked, 2)
    assert stopped.value.code == 0


def test_a_search_goes_on_only_as_it_was_begun(file, tmp_path):
    folder = begun(tmp_path / "s", plan(file), 2)
    begun(folder, plan(file, trials=9), 9)  # more trials are no change
    with pytest.raises(UserError, match="score: 'accuracy' -> 'loss'"):
        begun(folder, plan(file, score="loss"), 2)
    with pytest.raises(UserError, match="batch.mu"):
        begun(folder, plan(file, "--config.batch.mu=2"), 2)
    with pytest.raises(UserError, match="--resume=never"):
        search.check_folder(folder, "never", False)
    (tmp_path / "new").mkdir()
    with pytest.raises(UserError, match="no search to resume"):
        search.check_folder(tmp_path / "new", "must", False)


@pytest.mark.parametrize("name, said", [("config.json", "holds a run"), ("x.txt", "not empty")])
def test_a_folder_of_something_else_is_left_alone(tmp_path, name, said):
    (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=said):
        search.check_folder(tmp_path, "auto", False)


# --- processes ------------------------------------------------------------------------------------


def launch(file, folder, *options):
    command = [sys.executable, "launch.py", f"--config={file}", f"--workdir={folder}", *options]
    env = {**os.environ, "XLA_FLAGS": "", "NPROC": "2", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process):
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def children(pid):
    """The processes that a process has started."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(word) for word in found]


def wait_for(condition, seconds=300):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.1)


def trials_of(folder):
    return [
        {name: t[name] for name in ("values", "state", "score", "looks")}
        for t in files.read_json(folder / "search.json")["trials"]
    ]


LONG = ("--config.length.steps=100", "--config.evaluate_every=10", "--search=4")


@pytest.mark.slow
def test_with_one_worker_a_search_that_was_killed_ends_in_the_same_trials(file, tmp_path):
    """The worker is killed, then the search itself, then it is terminated; then it goes on."""
    code, out, err = ended(launch(file, tmp_path / "whole", *LONG))
    assert code == 0 and err == "" and "next: " in out
    folder = tmp_path / "killed"

    def under_way(name):
        path = folder / name / "metrics.jsonl"
        return lambda: path.exists() and len(path.read_text().splitlines()) > 5

    going = launch(file, folder, *LONG)
    wait_for(under_way("trial-000"))
    (child,) = children(going.pid)
    os.kill(child, signal.SIGKILL)
    wait_for(under_way("trial-001"))
    (child,) = children(going.pid)
    going.kill()
    _, _, err = ended(going)
    assert "was killed (signal 9): a new one" in err
    wait_for(lambda: not Path(f"/proc/{child}").exists())  # it has saved and gone by itself
    going = launch(file, folder, *LONG)
    wait_for(under_way("trial-002"))
    going.send_signal(signal.SIGTERM)
    code, _, err = ended(going)
    assert code == 143 and "stopped after SIGTERM" in err
    code, out, err = ended(launch(file, folder, *LONG))
    assert code == 0 and err == ""
    assert trials_of(folder) == trials_of(tmp_path / "whole")


@pytest.mark.slow
def test_two_workers_share_a_search(file, tmp_path):
    options = ("--search=6", "--workers=2", "--score=loss", "--space=ema.decay=0.5..0.9")
    code, out, err = ended(launch(file, tmp_path / "s", *options))
    assert code == 0 and err == "", err
    assert len(trials_of(tmp_path / "s")) == 6 and "its own setting" not in out
    code, out, err = ended(launch(file, tmp_path / "s", *options))
    assert code == 0 and "6 of them done before" in out


def test_a_mistake_is_said_before_jax_is_imported(file):
    command = [sys.executable, "-X", "importtime", "launch.py", f"--config={file}", "--workdir=x"]
    options = ["--search=3", "--space=batch.muu=1..7"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 2 and "Did you mean 'batch.mu'?" in done.stderr
    assert not any(line.endswith((" jax", "| jaxlib")) for line in done.stderr.splitlines())


def test_a_search_goes_with_no_sweep_and_a_space_with_no_other_run(file, capsys, monkeypatch):
    for options, said in [
        (["--search=3", "--grid=seed=0:2"], "leave --sweep, --grid and --processes out"),
        (["--space=batch.mu=1..7"], "--space is of a search"),
    ]:
        monkeypatch.setattr(sys, "argv", ["launch.py", f"--config={file}", "--workdir=x", *options])
        assert launch_py.main() == 2 and said in capsys.readouterr().err


def test_a_dry_run_shows_the_space_and_trains_nothing(file, capsys, monkeypatch, tmp_path):
    options = [f"--config={file}", f"--workdir={tmp_path / 's'}", "--search=3", "--dry_run"]
    monkeypatch.setattr(sys, "argv", ["launch.py", *options])
    assert launch_py.main() == 0 and not (tmp_path / "s").exists()
    assert "ema.decay: " in capsys.readouterr().out


def test_the_values_of_a_trial_are_overrides_to_the_last_bit(file):
    values = {"optimizer.rate.peak": 0.1 + 1e-17 * 7, "ema.decay": 1 / 3}
    config = load.load(file, as_arguments(values))
    assert config.ema.decay == 1 / 3 and config.optimizer.rate.peak == values["optimizer.rate.peak"]
