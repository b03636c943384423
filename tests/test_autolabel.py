"""Pseudo-labels as a CSV: what is kept, what it is worth, and that the table opens again."""

import csv
import json

import numpy as np
import pytest
from scipy.stats import binomtest

from lowlabel_jax.configuration import load
from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data.opened import open_data
from lowlabel_jax.evaluation import guesses
from lowlabel_jax.runs.predict import autolabel, looked
from lowlabel_jax.runs.predict.predict import Run
from lowlabel_jax.runs.train import train
from tests.test_own_images import on, photos, run_cli
from tests.tiny import config

# --- which guesses --------------------------------------------------------------------------------


def probabilities(n=300, k=4, seed=0):
    return np.random.default_rng(seed).dirichlet(np.array([3, 1, 0.5, 0.1]) * 0.3, n)


def test_the_surest_of_each_class():
    p = probabilities()
    kept = guesses.surest(p, 0.8, 5)
    for c in range(4):
        mine = [i for i in range(300) if p[i].argmax() == c and p[i].max() >= 0.8]
        wanted = sorted(sorted(mine, key=lambda i: -p[i].max())[:5])
        assert [i for i in kept if p[i].argmax() == c] == wanted
    assert guesses.surest(p, 0.8).tolist() == [i for i in range(300) if p[i].max() >= 0.8]
    assert len(guesses.surest(p, 1.1)) == len(guesses.surest(p, 1.1, 3)) == 0


def test_wilsons_interval_is_scipys():
    for hits, n in [(0, 1), (1, 1), (0, 20), (20, 20), (7, 9), (930, 1000)]:
        theirs = binomtest(hits, n).proportion_ci(method="wilson")
        np.testing.assert_allclose(guesses.wilson(hits, n), [theirs.low, theirs.high], atol=1e-12)


def test_precision_is_of_those_that_are_sure_enough():
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.95, 0.05]])
    found = guesses.precision_at(0.8, p, np.array([0, 0, 1, 0]))
    assert (found["of"], found["n"], found["right"]) == (4, 3, 2)
    assert found["precision"] == pytest.approx(2 / 3)
    none = guesses.precision_at(0.99, p, np.array([0, 0, 1, 0]))
    assert none["n"] == 0 and none["precision"] is None and none["ci95"] is None


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return photos(tmp_path_factory.mktemp("photos"), 32)


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """The directory of a finished run with 24 validation and 16 test images."""
    run = tmp_path_factory.mktemp("runs") / "mine"
    sets = ("--config.split.validation.per_class=12", "--config.length.steps=40")
    train(on(folder, *sets, "--config.ema.decay=0.5"), run)
    return run


def label(monkeypatch, *words):
    """(exit code, the table's rows) of the command; --out is the last word."""
    code = run_cli(monkeypatch, "autolabel", *words)
    with open(str(words[-1]).removeprefix("--out="), newline="") as file:
        return code, list(csv.DictReader(file))


def test_the_sure_ones_with_their_weights(folder, finished, tmp_path, monkeypatch, capsys):
    given = sorted(map(str, folder.rglob("*.png")))
    p = Run(finished).probabilities(given)
    least = float(np.median(p.max(1)))
    out = tmp_path / "out.csv"
    option = f"--min_confidence={least}"
    code, rows = label(monkeypatch, finished, folder, option, "--probabilities", f"--out={out}")
    kept = np.flatnonzero(p.max(1) >= least)
    assert code == 0 and 0 < len(kept) < len(given)
    assert list(rows[0]) == [*autolabel.COLUMNS, "probability_cats", "probability_dogs"]
    assert [row["path"].split("/")[-2:] for row in rows] == [given[i].split("/")[-2:] for i in kept]
    assert [row["label"] for row in rows] == [("cats", "dogs")[k] for k in p[kept].argmax(1)]
    for name, values in {
        "confidence": p.max(1),
        "weight": p.max(1),
        "probability_dogs": p[:, 1],
    }.items():
        np.testing.assert_allclose([float(row[name]) for row in rows], values[kept], atol=1e-6)
    said = capsys.readouterr().out
    assert f"{len(kept)} of 64 images labelled ({64 - len(kept)} below" in said
    counts = np.bincount(p[kept].argmax(1), minlength=2)
    assert f"cats {counts[0]}, dogs {counts[1]}" in said


def test_as_many_of_each_class(folder, finished, tmp_path, monkeypatch, capsys):
    words = (finished, folder, "--min_confidence=0", "--per_class=3", f"--out={tmp_path / 'a.csv'}")
    _, rows = label(monkeypatch, *words)
    p = Run(finished).probabilities(str(folder))
    per = np.minimum(np.bincount(p.argmax(1), minlength=2), 3)
    counts = [sum(row["label"] == name for row in rows) for name in ("cats", "dogs")]
    assert counts == per.tolist()
    assert f"({64 - per.sum()} beyond --per_class)" in capsys.readouterr().out


@pytest.mark.parametrize("inside", [True, False])
def test_the_table_opens_again_and_trains(inside, folder, finished, tmp_path, monkeypatch, capsys):
    """The command that is printed is the one that works, wherever the table lies."""
    home = folder if inside else tmp_path
    given = (finished, folder, "--min_confidence=0", f"--out={home / 'found.csv'}")
    _, rows = label(monkeypatch, *given)
    (line,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith("next: "))
    words = [word for word in line.split() if word.startswith("--config.")]
    assert any("source.images" in word for word in words) != inside
    made = load.override(config(), load.parse([*words, "--config.image.size=16"]))
    source = open_data(made.to_dict())
    assert len(source.names["train"]) == 64 and source.class_names == ("cats", "dogs")
    labels = dict(zip(source.names["train"], source.labels["train"].tolist(), strict=True))
    assert labels == {row["path"]: ("cats", "dogs").index(row["label"]) for row in rows}
    if inside:
        train(load.override(made, {"length.steps": "1", "batch.labelled": "4"}), tmp_path / "run")
        assert files.read_json(tmp_path / "run" / "status.json")["state"] == "finished"


def test_what_such_guesses_were_worth_where_it_was_measured(
    folder, finished, tmp_path, monkeypatch, capsys
):
    kept = np.load(finished / "predictions" / "validation.npz")
    least = float(np.median(kept["ema"].max(1)))
    sure = kept["ema"].max(1) >= least
    right = (kept["ema"].argmax(1) == kept["label"])[sure]
    given = (finished, folder, f"--min_confidence={least}", f"--out={tmp_path / 'a.csv'}")
    label(monkeypatch, *given)
    said = capsys.readouterr().out
    assert f"of the run's 24 validation images {sure.sum()} have" in said
    assert f"{right.sum()} of these right: {right.mean():.3f} (" in said


def test_calibrated_by_the_temperature_of_the_validation_set(
    folder, finished, tmp_path, monkeypatch, capsys
):
    words = (finished, folder / "cats", "--min_confidence=0", "--probabilities", "--calibrated")
    _, rows = label(monkeypatch, *words, f"--out={tmp_path / 'a.csv'}")
    fitted = json.loads((finished / "eval" / "test.json").read_text())["temperature_scaling"]
    t = fitted["temperature"]
    assert t != 1 and f"temperature {t:.3f}" in capsys.readouterr().out
    p = Run(finished).probabilities(str(folder / "cats")).astype(float) ** (1 / t)
    p /= p.sum(1, keepdims=True)
    found = [float(row["probability_cats"]) for row in rows]
    np.testing.assert_allclose(found, p[:, 0], atol=2e-6)


def test_of_an_older_step_nothing_is_said(finished):
    run = Run(finished)
    newest = looked.measured(run, "test")
    assert newest and newest[1].shape == (16,)
    run.step += 1
    assert looked.measured(run, "test") is None
    said = autolabel._worth(run, 0.5, 1.0)
    assert "is not known" in said
    with pytest.raises(UserError, match="no validation set of 20"):
        looked.temperature_of(run)


def test_broken_files_and_files_named_twice(folder, finished, tmp_path, monkeypatch, capsys):
    (tmp_path / "half.png").write_bytes(b"\x89PNG")
    (tmp_path / "=x.png").write_bytes((folder / "cats" / "00.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    given = ("half.png", "=x.png", "./=x.png", "--min_confidence=0", "--out=a.csv")
    code, rows = label(monkeypatch, finished, *given)
    assert code == 2 and [row["path"] for row in rows] == ["./=x.png"]
    said = capsys.readouterr().out
    assert "1 of 2 images labelled (1 unreadable)" in said and "half.png cannot be read" in said


def test_nothing_sure_enough(folder, finished, tmp_path, monkeypatch, capsys):
    code, rows = label(
        monkeypatch, finished, folder, "--min_confidence=1", f"--out={tmp_path / 'a.csv'}"
    )
    said = capsys.readouterr().out
    assert code == 0 and rows == [] and "lower --min_confidence" in said
    assert "how often such guesses are right is not known" in said


@pytest.mark.parametrize(
    "words, message",
    [
        (["--min_confidence=2"], "--min_confidence 2.0 is no probability"),
        (["--min_confidence=nan"], "--min_confidence nan is no probability"),
        (["--per_class=-1"], "--per_class -1 keeps no image"),
        (["--out=tests"], "--out tests is no file"),
    ],
)
def test_a_mistake_is_said_before_any_work(words, message, finished, monkeypatch, capsys):
    monkeypatch.setattr(autolabel, "Run", None)  # not reached
    assert run_cli(monkeypatch, "autolabel", finished, "x.png", *words) == 2
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 2
