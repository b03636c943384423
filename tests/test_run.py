"""A run's directory and its faults: what is refused, what is said, what is never lost."""

import json
import os
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from lowlabel_jax.configuration.check import check
from lowlabel_jax.core import files
from lowlabel_jax.core.errors import Busy, Diverged, UserError
from lowlabel_jax.data import opened, source
from lowlabel_jax.evaluation import evaluate
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs.evaluate import evaluate as evaluate_run
from lowlabel_jax.runs.train import train
from lowlabel_jax.training import checkpoint, loop
from lowlabel_jax.training.step import is_finite
from tests.tiny import DIGITS, World, config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of a finished FixMatch run."""
    run = tmp_path_factory.mktemp("runs") / "fixmatch"
    train(
        config("fixmatch", "--config.split.validation.per_class=2"),
        run,
        command=["python", "launch.py", "--config=a b.py"],
    )
    return run


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_all_that_a_reader_needs(finished):
    there = {p.name for p in finished.iterdir()}
    assert {
        "config.json",
        "command.sh",
        "environment.json",
        "status.json",
        "metrics.jsonl",
        "tb",
        "splits",
        "checkpoints",
        "manifests",
        "eval",
        "predictions",
    } <= there
    assert "'--config=a b.py'" in (finished / "command.sh").read_text()
    environment = files.read_json(finished / "environment.json")
    assert environment["device_count"] == 1 and environment["jaxlib"] and environment["cpu_threads"]
    assert not (there & {"corrupt", "trash"})


def test_the_numbers_of_a_run(finished):
    test = files.read_json(finished / "eval" / "test.json")
    assert {"accuracy", "accuracy_raw", "n", "ci95", "per_class", "confusion", "nll", "ece"} <= set(
        test
    )
    guesses = np.load(finished / "predictions" / "test.npz", allow_pickle=False)
    assert test["n"] == len(guesses["label"]) == 500 == np.sum(test["confusion"])
    assert test["accuracy"] == (guesses["ema"].argmax(1) == guesses["label"]).mean()
    assert test["accuracy_raw"] == (guesses["raw"].argmax(1) == guesses["label"]).mean()
    np.testing.assert_allclose(guesses["ema"].sum(1), 1, rtol=1e-5)
    status = files.read_json(finished / "status.json")
    assert (status["state"], status["step"]) == ("finished", 12)
    assert status["accuracy"]["test"] == test["accuracy"]
    assert files.read_json(finished / "eval" / "validation.json")["n"] == 20


def test_metrics_have_a_row_for_each_interval_and_no_times(finished):
    assert [row["step"] for row in rows(finished)] == [5, 10, 12]
    assert {"loss", "mask_rate", "pseudo_label/accuracy", "rate"} <= set(rows(finished)[0])
    assert not {"time", "seconds", "date"} & set(rows(finished)[0])


def test_tensorboard_reads_the_events_without_tensorflow(finished):
    import importlib.util

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert importlib.util.find_spec("tensorflow") is None
    events = EventAccumulator(str(finished / "tb")).Reload()
    found = [(e.step, e.value) for e in events.Scalars("loss")]
    expected = [(row["step"], pytest.approx(row["loss"], rel=1e-6)) for row in rows(finished)]
    assert found == expected


def test_evaluating_again_gives_the_same_numbers(finished):
    before = files.read_json(finished / "eval" / "test.json")
    assert evaluate_run(finished, "test") == before
    assert evaluate_run(finished, "labelled")["n"] == 20
    with pytest.raises(UserError, match="no set called 'tset'. Did you mean 'test'"):
        evaluate_run(finished, "tset")


@pytest.mark.parametrize(("batch_size", "devices"), [(1, 1), (7, 2), (64, 8), (500, 8), (3, 8)])
def test_every_example_counts_once_whatever_the_batch(batch_size, devices):
    w = World("supervised")
    state = w.start()
    images = DIGITS.read("test", np.arange(101))
    weights = {"ema": state.ema}
    whole = evaluate.predictor(state.apply_fn, 101, 1)(weights, images)["ema"]
    parts = evaluate.predictor(state.apply_fn, batch_size, devices)(weights, images)["ema"]
    assert parts.shape == (101, 10)
    np.testing.assert_allclose(parts, whole, atol=1e-6)


def test_raw_and_averaged_weights_are_not_the_same():
    w = World("supervised")
    state, _ = w.run(w.start(), 3)
    predict = evaluate.predictor(state.apply_fn, 50, 1)
    probs = evaluate.both(predict, state, DIGITS.read("test", np.arange(50)))
    assert not np.allclose(probs["ema"], probs["raw"])
    numbers = evaluate.validation_numbers(probs, DIGITS.labels["test"][:50])
    assert numbers["validation/loss"] > 0 and 0 <= numbers["validation/accuracy"] <= 1


# --- what is refused (the rows of faults.md by number) -------------------------------------------


def test_7_resume_modes(finished, tmp_path):
    with pytest.raises(UserError, match="holds a run and --resume=never"):
        train(config("fixmatch"), finished, resume="never")
    with pytest.raises(UserError, match="holds no run to resume"):
        train(config("fixmatch"), tmp_path / "new", resume="must")


def test_8_and_25_another_config_is_refused_with_the_difference(finished):
    with pytest.raises(UserError) as caught:
        train(
            config(
                "fixmatch",
                "--config.split.validation.per_class=2",
                "--config.batch.mu=2",
                "--config.optimizer.rate.peak=0.5",
            ),
            finished,
        )
    said = str(caught.value)
    assert "batch.mu: 3 -> 2" in said and "rate.peak: 0.03 -> 0.5" in said
    assert all(way in said for way in ("resume it", "another --workdir", "--overwrite"))


def test_25_overwriting_moves_the_old_run_to_the_trash(tmp_path):
    train(config("supervised", "--config.length.steps=2"), tmp_path)
    old = (tmp_path / "metrics.jsonl").read_bytes()
    train(
        config("supervised", "--config.length.steps=3", "--config.seed=1"), tmp_path, overwrite=True
    )
    (kept,) = (tmp_path / "trash").iterdir()
    assert (kept / "metrics.jsonl").read_bytes() == old
    assert files.read_json(tmp_path / "config.json")["seed"] == 1


def test_25_what_is_overwritten_twice_within_a_second_is_kept_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(rundir.time, "strftime", lambda _: "20261122-103000")
    for seed in range(3):
        (tmp_path / "config.json").write_text(str(seed))
        rundir.overwrite(tmp_path)
    kept = sorted((tmp_path / "trash").iterdir())
    assert [(place / "config.json").read_text() for place in kept] == ["0", "1", "2"]


def test_9_changed_data_is_refused_with_counts(tmp_path, monkeypatch):
    train(config("supervised", "--config.length.steps=2"), tmp_path)

    def other(spec, image):
        sets = {
            name: (DIGITS.read(name, np.arange(len(y))), y) for name, y in DIGITS.labels.items()
        }
        images, label = sets["train"]
        sets["train"] = (images[:-3], label[:-3])
        return source.from_arrays(DIGITS.class_names, sets)

    monkeypatch.setattr(opened, "open_source", other)
    with pytest.raises(UserError, match=r"data has changed .*1297 unlabelled.*now 1294 in 'train'"):
        train(config("supervised", "--config.length.steps=2"), tmp_path)


def test_10_other_bits_are_announced(tmp_path, monkeypatch, capsys):
    train(config("supervised", "--config.length.steps=2"), tmp_path)
    monkeypatch.setenv("NPROC", "3")
    train(config("supervised", "--config.length.steps=3"), tmp_path)
    assert "not be bit-identical to an uninterrupted run: cpu_threads" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("--config.augment.weak.fill=nearst", "Did you mean 'nearest'"),
        ("--config.model.channels=()", "model.channels"),
        ("--config.model.channels=(4,4,4,4,4)", "nothing would be left after stage"),
        ("--config.batch.labelled=9", "cannot be split over 2 devices"),
    ],
)
def test_a_mistake_found_in_building_leaves_no_run_behind(mistake, said, tmp_path):
    two = ("--config.devices=2", "--config.length.steps=1", "--config.model.pool=(True,)")
    with pytest.raises(UserError, match=said):
        train(config("supervised", *two, mistake), tmp_path)
    train(config("supervised", *two), tmp_path)  # mended, the same directory will do


def test_a_split_of_a_run_that_never_began_does_not_count(tmp_path, finished):
    shutil.copytree(finished / "splits", tmp_path / "splits")  # as after a kill before config.json
    train(config("supervised", "--config.length.steps=1"), tmp_path)
    kept = files.read_json(tmp_path / "splits" / "split.json")
    assert len(kept["labelled"]) == 20 and len(kept["validation"]) == 0


def test_19_foreign_files_are_left_alone(tmp_path):
    train(config("supervised", "--config.length.steps=2"), tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    train(config("supervised", "--config.length.steps=3"), tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_23_a_workdir_that_is_a_file(place, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file, or lies below one"):
        train(config("supervised"), tmp_path / place)
    assert (tmp_path / "file").read_text() == "x"


def test_23_a_workdir_that_cannot_be_written(tmp_path, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", denied)
    with pytest.raises(UserError, match=r"cannot be written \(Permission denied\)"):
        train(config("supervised"), tmp_path)


def test_23_a_directory_of_other_things(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="is not empty and holds no run"):
        train(config("supervised"), tmp_path)


def test_24_a_directory_in_use(tmp_path):
    rundir.usable(tmp_path)
    with files.locked(tmp_path), pytest.raises(Busy, match=f"in use by pid {os.getpid()} on"):
        train(config("supervised"), tmp_path)


def test_32_a_loss_that_is_not_finite_stops_the_run_and_saves_nothing_of_it(tmp_path):
    with pytest.raises(Diverged) as caught:
        train(
            config(
                "supervised", "--config.optimizer.rate.peak=1e30", "--config.checkpoint.every=1"
            ),
            tmp_path,
        )
    said = str(caught.value)
    assert "is not finite at step" in said and "lower optimizer.rate.peak" in said
    assert "checkpoint" in said and caught.value.code == 4
    assert files.read_json(tmp_path / "status.json")["state"] == "diverged"
    assert all(np.isfinite(row["loss"]) for row in rows(tmp_path))
    for step in checkpoint.steps(tmp_path):
        w = World("supervised", "--config.optimizer.rate.peak=1e30")
        state = checkpoint.read(tmp_path, step, w.start())
        assert all(np.isfinite(x).all() for x in state.params["head"].values())


def test_32_it_is_seen_within_a_step_or_two(tmp_path):
    with pytest.raises(Diverged) as caught:
        train(config("supervised", "--config.optimizer.rate.peak=1e30"), tmp_path)
    step = int(re.search(r"loss is not finite at step (\d+) \(loss ", str(caught.value))[1])
    assert step <= 4 and not checkpoint.steps(tmp_path)


def test_32_a_state_that_is_not_finite_is_never_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "is_finite", lambda state: False)
    with pytest.raises(Diverged, match="the state is not finite at step 4"):
        train(config("supervised"), tmp_path)
    assert not checkpoint.steps(tmp_path)


def test_finiteness_of_a_state_looks_at_all_that_is_saved():
    state = World("supervised").start()
    assert is_finite(state)
    bad = jax.tree.map(lambda x: x.at[...].set(np.nan), state.params["head"])
    assert not is_finite(state.replace(params={**state.params, "head": bad}))
    assert not is_finite(state.replace(ema={**state.ema, "params": {"head": bad}}))


def test_the_median_is_over_the_last_checkpoints_scored_each_by_itself(tmp_path):
    options = ("--config.checkpoint.keep=3", "--config.median_of=3", "--config.checkpoint.every=2")
    made = config("supervised", "--config.length.steps=10", *options)
    test = train(made, tmp_path / "run")["test"]
    alone = {}
    for steps in (6, 8, 10):
        run = tmp_path / str(steps)
        shutil.copytree(tmp_path / "run", run)
        for late in (s for s in (8, 10) if s > steps):
            shutil.rmtree(run / "checkpoints" / str(late))
        alone[str(steps)] = evaluate_run(run, "test")["accuracy"]
    kept = json.loads((tmp_path / "run" / "eval" / "test.json").read_text())
    assert kept["median"]["steps"] == alone and len(set(alone.values())) > 1
    assert test["median"]["accuracy"] == sorted(alone.values())[1]
    assert kept["accuracy"] == alone["10"], "the last step's own number stays beside it"


def test_more_checkpoints_than_are_kept_have_no_median():
    with pytest.raises(UserError, match="median_of = 3 needs checkpoint.keep"):
        check(config("supervised", "--config.median_of=3"))


def test_a_row_is_the_mean_over_its_own_steps(tmp_path):
    for every in (1, 5):
        train(config("supervised", f"--config.log_every={every}"), tmp_path / str(every))
    each = [row["loss"] for row in rows(tmp_path / "1")]
    found = [row["loss"] for row in rows(tmp_path / "5")]
    expected = [np.mean(each[:5]), np.mean(each[5:10]), np.mean(each[10:])]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_35_and_36_runs_repeat_and_seeds_matter(tmp_path):
    short = "--config.length.steps=3"
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(config("fixmatch", short, f"--config.seed={seed}"), tmp_path / name)
    a, b, c = ((tmp_path / n / "metrics.jsonl").read_bytes() for n in "abc")
    assert a == b != c
    splits = [files.read_json(tmp_path / n / "splits" / "split.json")["labelled"] for n in "abc"]
    assert splits[0] == splits[1] != splits[2]


def test_38_a_batch_that_the_devices_cannot_share(tmp_path):
    with pytest.raises(UserError, match=r"(?s)labelled batch of 9 .* over 2 devices.*use 8 or 10"):
        train(config("supervised", "--config.batch.labelled=9", "--config.devices=2"), tmp_path)


@pytest.mark.timeout(120)
def test_39_fewer_labels_than_the_batch(tmp_path, capsys):
    train(
        config(
            "fixmatch",
            "--config.split.labelled.total=4",
            "--config.split.allow_fewer=True",  # four of ten classes
            "--config.batch.labelled=64",
            "--config.length.steps=1",
        ),
        tmp_path,
    )
    assert rows(tmp_path)[0]["step"] == 1
    assert "Each label stands about 16 times in a batch" in capsys.readouterr().out


def test_61_no_unlabelled_images(tmp_path):
    """20 training images, 2 of each class: all are labelled, and the labelled are kept out."""
    made = config(
        "fixmatch",
        "--config.source.test=1777",
        "--config.split.unlabelled_includes_labelled=False",
    )
    with pytest.raises(UserError, match="needs unlabelled images: got 0") as caught:
        train(made, tmp_path)
    assert caught.value.code == 2
