"""A folder of photos from its first look to predictions: runs on files, whole."""

import csv
import io
import json
import sys

import numpy as np
import pytest

from lowlabel_jax import cli
from lowlabel_jax.configuration import load
from lowlabel_jax.configuration.check import check
from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data import feed
from lowlabel_jax.runs.evaluate import evaluate
from lowlabel_jax.runs.predict import predict
from lowlabel_jax.runs.train import train
from tests import images
from tests.test_interruption import Killed, assert_same_ending
from tests.tiny import config

OVERRIDES = (
    "--config.split.labelled.fraction=1.0",
    "--config.split.test.fraction=0.25",
    "--config.image.size=16",
    "--config.batch.labelled=4",
)


def photos(root, n=16):
    """Two classes of n photos each, of two sizes."""
    for k, label in enumerate(("cats", "dogs")):
        (root / label).mkdir(parents=True)
        for i in range(n):
            picture = images.photo(24 + 8 * (i % 2), 32, seed=100 * k + i)
            images.saved(root / label / f"{i:02}.png", picture)
    return root


def on(folder, *overrides, objective="supervised"):
    """A tiny run's config on a folder."""
    made = config(objective)
    with made.unlocked():
        made.source = {
            "name": "folder",
            "path": str(folder),
            "train": "train",
            "validation": "",
            "test": "",
            "unlabelled": "unlabelled",
        }
    return load.override(made, load.parse((*OVERRIDES, *overrides)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """The directory of a finished run on the folder."""
    run = tmp_path_factory.mktemp("runs") / "mine"
    train(on(folder), run)
    return run


def test_a_run_on_a_folder_says_where_each_photo_went(folder, tmp_path, capsys):
    train(on(folder, "--config.length.steps=1"), tmp_path / "run")
    said = capsys.readouterr().out
    assert [line.split() for line in said.splitlines()[:4]] == [
        ["class", "labelled", "unlabelled", "validation", "test"],
        ["cats", "12", "12", "0", "4"],
        ["dogs", "12", "12", "0", "4"],
        ["all", "24", "24", "0", "8"],
    ]
    with open(tmp_path / "run" / "splits" / "split_label.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["id"] for row in rows) == sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*.png")
    )
    kinds = [row["type"] for row in rows]
    assert (kinds.count("train"), kinds.count("test")) == (24, 8)
    assert all(row["label"] == row["id"].split("/")[0] for row in rows)


@pytest.mark.parametrize("crop", ["centre", "random"])
def test_a_streamed_run_killed_in_the_middle_of_an_epoch_sees_the_same_images(
    folder, tmp_path, monkeypatch, crop
):
    made = on(folder, f"--config.image.crop={crop}", "--config.feed.mode=streamed")
    train(made, tmp_path / "whole")
    indices = feed.indices

    def deadly(step, *rest):
        if step == 9:  # of 6 steps an epoch; checkpoints at 4 and 8
            raise Killed
        return indices(step, *rest)

    monkeypatch.setattr(feed, "indices", deadly)
    with pytest.raises(Killed):
        train(made, tmp_path / "cut")
    monkeypatch.undo()
    train(made, tmp_path / "cut")
    assert_same_ending(tmp_path / "cut", tmp_path / "whole")


def test_streamed_and_resident_runs_end_in_the_same_numbers(folder, finished, tmp_path):
    train(on(folder, "--config.feed.mode=streamed"), tmp_path / "streamed")
    ours, theirs = (
        np.load(run / "predictions" / "test.npz") for run in (tmp_path / "streamed", finished)
    )
    np.testing.assert_allclose(ours["ema"], theirs["ema"], rtol=1e-5)
    for run in (tmp_path / "streamed", finished):
        rows = (run / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(row)["step"] for row in rows] == [5, 10, 12]


def test_semi_supervised_learning_streams_both_sets(folder, tmp_path):
    made = on(folder, "--config.feed.mode=streamed", objective="fixmatch")
    train(made, tmp_path / "run")
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 <= last["mask_rate"] <= 1 and np.isfinite(last["loss"])


def test_a_run_is_not_resumed_on_other_photos(tmp_path):
    folder = photos(tmp_path / "photos", n=8)
    train(on(folder, "--config.length.steps=2"), tmp_path / "run")
    images.saved(folder / "cats" / "99.png", images.photo(24, 32, seed=999))
    with pytest.raises(UserError, match=r"data has changed .*then 12 labelled.*now 17 in 'train'"):
        train(on(folder, "--config.length.steps=4"), tmp_path / "run")
    with pytest.raises(UserError, match=r"another config:\n  image\.size: 16 -> 20"):
        train(on(folder, "--config.image.size=20"), tmp_path / "run")
    with pytest.raises(UserError, match="data has changed"):
        evaluate(tmp_path / "run", "test")


def test_a_run_of_an_older_version_is_said_to_be_one(finished, tmp_path):
    config = files.read_json(finished / "config.json")
    files.write_json(tmp_path / "config.json", {k: v for k, v in config.items() if k != "image"})
    with pytest.raises(UserError, match="older version"):
        evaluate(tmp_path, "test")


def test_image_settings_are_refused_where_the_images_are_arrays():
    with pytest.raises(UserError, match=r"image\.size does nothing here.*'digits'"):
        check(config("supervised", "--config.image.size=64"))


# --- lowlabel predict ----------------------------------------------------------------------------


def measured(folder, finished):
    """The run's test photos as paths, in the order of predictions/test.npz."""
    split = files.read_json(finished / "splits" / "split.json")["test"]
    paths = sorted(folder.rglob("*.png"), key=lambda p: p.relative_to(folder).as_posix())
    return [str(paths[i]) for i in split]


def test_predict_says_of_a_photo_what_evaluation_said(folder, finished):
    paths = measured(folder, finished)
    rows = list(predict.predict(finished, paths, topk=2))
    assert [row["path"] for row in rows] == paths and not any(row["error"] for row in rows)
    kept = np.load(finished / "predictions" / "test.npz")["ema"]
    for row, probs in zip(rows, kept, strict=True):
        said = {one["label"]: one["probability"] for one in row["topk"]}
        np.testing.assert_allclose([said["cats"], said["dogs"]], probs, atol=2e-6)
        assert row["topk"][0]["label"] == ("cats", "dogs")[probs.argmax()]


def test_predict_takes_files_folders_patterns_and_lists(folder, finished, monkeypatch):
    cats = sorted(str(p) for p in (folder / "cats").iterdir())
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(cats[:3]) + "\n"))
    for wanted, paths in (
        ([cats[5]], [cats[5]]),
        ([str(folder / "cats")], cats),
        ([str(folder / "*" / "00.png")], [cats[0], cats[0].replace("cats", "dogs")]),
        (["-"], cats[:3]),
    ):
        assert predict.expand(wanted) == paths


@pytest.mark.parametrize(
    "wanted, message",
    [(["no/such.png"], "there is no file 'no/such.png'"), (["{empty}"], "there is no image in")],
)
def test_predict_says_what_it_cannot_find(wanted, message, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        predict.expand([name.replace("{empty}", str(tmp_path / "empty")) for name in wanted])


def test_predict_shows_at_least_one_class(folder, finished):
    with pytest.raises(UserError, match="--topk 0 shows no class"):
        list(predict.predict(finished, [str(folder)], topk=0))


def run_cli(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["lowlabel", *map(str, words)])
    return cli.main()


def test_a_broken_photo_has_a_row_and_the_others_have_theirs(
    folder, finished, tmp_path, monkeypatch, capsys
):
    (tmp_path / "broken.jpg").write_bytes(b"<html>")
    good = folder / "cats" / "00.png"
    words = ("predict", finished, tmp_path / "broken.jpg", good, tmp_path)
    code = run_cli(monkeypatch, *words, "--format", "json")
    printed = capsys.readouterr()
    rows = json.loads(printed.out)
    assert code == 2 and "3 images, 2 of them could not be read" in printed.err
    assert [bool(row["error"]) for row in rows] == [True, False, True]
    assert rows[0]["topk"] == [] and "<html>" in rows[0]["error"]
    assert run_cli(monkeypatch, "predict", finished, good) == 0
    alone = list(predict.predict(finished, [str(good)]))
    for one, other in zip(alone[0]["topk"], rows[1]["topk"], strict=True):
        assert one["label"] == other["label"]  # a batch of one is another program than one of four
        assert one["probability"] == pytest.approx(other["probability"], abs=2e-6)


def test_predict_writes_what_other_programs_read(folder, finished, tmp_path, monkeypatch, capsys):
    odd = tmp_path / "odd"
    odd.mkdir()
    for name in ('a "b", c.png', "=1+1.png", "žluť 🐈.png"):
        (odd / name).write_bytes((folder / "dogs" / "03.png").read_bytes())
    monkeypatch.chdir(odd)
    names = sorted(p.name for p in odd.iterdir())
    out = tmp_path / "out.csv"
    assert run_cli(monkeypatch, "predict", finished, *names, "--format=csv", "--out", out) == 0
    with open(out, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"].removeprefix("./") for row in rows] == names
    assert not any(row["path"].startswith("=") for row in rows)
    run_cli(monkeypatch, "predict", finished, *names, "--format=jsonl", "--topk=1")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["path"] for line in lines] == names
    assert [line["topk"][0]["label"] for line in lines] == [row["label"] for row in rows]
    run_cli(monkeypatch, "predict", finished, names[0])
    assert rows[0]["label"] in capsys.readouterr().out
