"""Predictions of a finished run, from the command line and from Python."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from scipy.special import softmax

import lowlabel_jax
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.images.crops import Fit
from lowlabel_jax.images.decoding import decode
from lowlabel_jax.runs.predict import labelling, predict, predict_images, predict_rows
from lowlabel_jax.runs.train import train
from tests import images
from tests.test_own_images import measured, on, photos, run_cli

ROOT = Path(__file__).parent.parent
CROPS = ("--config.image.crop=random", "--config.image.margin=3", "--config.length.steps=2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """The directory of a finished run whose crops leave a margin out."""
    directory = tmp_path_factory.mktemp("runs") / "mine"
    train(on(folder, *CROPS), directory)
    return directory


@pytest.fixture(scope="module")
def run(finished):
    return lowlabel_jax.load(finished)


@pytest.fixture
def mixed(folder, tmp_path):
    """Paths of six photos with a broken one in the midst and two at the end."""
    broken = [tmp_path / f"{name}.jpg" for name in "abc"]
    for path in broken:
        path.write_bytes(b"<html>")
    good = [str(path) for path in sorted((folder / "dogs").iterdir())[:6]]
    return [*good[:3], str(broken[0]), *good[3:], str(broken[1]), str(broken[2])]


# --- what is predicted ----------------------------------------------------------------------------


def test_probabilities_of_files_are_those_of_the_test_set(folder, finished, run):
    kept = np.load(finished / "predictions" / "test.npz")["ema"]
    paths = measured(folder, finished)
    np.testing.assert_allclose(run.probabilities(paths), kept, rtol=0, atol=1e-6)
    parts = list(run.parts(paths, features=True))  # the other program, with features
    np.testing.assert_allclose(parts[0].probs, kept, rtol=0, atol=1e-6)


def test_embeddings_are_what_the_head_sees(folder, finished, run):
    paths = measured(folder, finished)
    features = run.embeddings(paths)
    assert features.dtype == np.float32 and features.shape == (8, run.feature_size) == (8, 8)
    head = run._variables["params"]["head"]
    logits = features @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    np.testing.assert_allclose(softmax(logits, axis=1), run.probabilities(paths), atol=1e-6)


@pytest.mark.parametrize("tag, turn", [(6, 1), (3, 2), (8, 3)])
def test_a_photo_on_its_side_with_its_tag_is_the_upright_one(tag, turn, run, tmp_path):
    picture = images.photo(24, 40, seed=5)
    upright = images.saved(tmp_path / "upright.png", picture)
    exif = Image.Exif()
    exif[images.ORIENTATION] = tag
    turned = images.saved(tmp_path / "turned.png", np.rot90(picture, turn), exif=exif)
    plain = images.saved(tmp_path / "plain.png", np.rot90(picture, turn))
    said = run.probabilities([upright, turned, plain])
    np.testing.assert_array_equal(said[0], said[1])
    assert np.abs(said[0] - said[2]).max() > 1e-4


def test_the_batch_and_the_neighbours_of_an_image_change_nothing(run, mixed, monkeypatch):
    whole = list(run.parts(mixed, features=True))
    monkeypatch.setattr(labelling, "AT_ONCE", 2)
    parts = list(run.parts(mixed, features=True))
    assert len(whole) == 1 and len(parts) == 5
    assert [path for part in parts for path in part.items] == mixed
    for name in ("probs", "features"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_allclose(joined, getattr(whole[0], name), rtol=1e-5, atol=1e-6)
        assert np.isnan(joined).any(1).tolist() == [False] * 3 + [True] + [False] * 3 + [True] * 2


@pytest.mark.parametrize(
    "n, most, size", [(0, 500, 1), (1, 500, 1), (3, 500, 4), (64, 500, 64), (9999, 500, 64),
                      (9999, 8, 8)],
)  # fmt: skip
def test_few_images_make_a_small_batch(n, most, size):
    assert labelling.batch_size(n, most) == size


def test_images_are_read_only_shortly_before_they_are_labelled(run, folder, monkeypatch):
    paths, opened = measured(folder, run.directory), []

    def noted(path, *how):
        opened.append(str(path))
        return decode(path, *how)

    monkeypatch.setattr(predict_images, "decode", noted)
    monkeypatch.setattr(labelling, "AT_ONCE", 2)
    parts = run.parts(paths)
    next(parts)
    assert len(opened) <= 4
    assert len(list(parts)) == 3 and sorted(opened) == sorted(paths)


# --- which images are meant -----------------------------------------------------------------------


def test_all_images_below_a_folder_whatever_they_are_called(tmp_path):
    odd = os.fsdecode(b"caf\xe9.png")
    for name in ("b.png", "deep/er/a.JPG", odd, ".hidden.png", "note.txt", "__MACOSX/x.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        images.saved(path, images.photo(8, 8), "PNG")
    (tmp_path / "elsewhere").mkdir()
    images.good(tmp_path / "elsewhere" / "c.png")
    (tmp_path / "photos" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "loop").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "gone.png").symlink_to("nothing.png")
    found = predict.expand([str(tmp_path / "photos")])
    below = [os.path.relpath(path, tmp_path / "photos") for path in found]
    assert below == ["b.png", odd, "deep/er/a.JPG", "gone.png", "link/c.png"]


@pytest.mark.parametrize("text", ["a b.png\nc\u2028d.png\r\n\n", "a b.png\0c\u2028d.png\0"])
def test_a_list_has_one_path_a_line_or_a_nul_behind_each(text):
    assert predict_images.listed(text) == ["a b.png", "c\u2028d.png"]
    assert predict_images.listed("a\nb.png\0") == ["a\nb.png"]


def test_of_a_list_a_missing_file_has_a_row(run, folder):
    paths = [str(folder / "cats" / "00.png"), "no/such.png", "nul\0.png", str(folder)]
    (part,) = run.parts(paths)
    assert part.errors[0] is None
    assert part.errors[1] == "No such file or directory"
    assert part.errors[2] == "embedded null byte" and part.errors[3] == "it is not a regular file"


def test_a_run_on_oblong_arrays_takes_arrays_of_its_shape():
    how = Fit(8, "centre", 0, 0.08, "area", 1)
    oblong = predict_images.Shown((8, 6, 1), how, 64.0)
    image = np.arange(48, dtype=np.uint8).reshape(8, 6, 1)
    np.testing.assert_array_equal(predict_images.fitted(image, oblong), image)
    with pytest.raises(UserError, match="images of 8x6, and only squares are cut"):
        predict_images.fitted(image[:6], oblong)


# --- from Python ----------------------------------------------------------------------------------


def test_rows_are_the_same_for_paths_and_for_arrays(run, folder, finished):
    paths = measured(folder, finished)
    rows = run.predict(paths, topk=1)
    assert [row["path"] for row in rows] == paths
    pictures = [np.asarray(Image.open(path)) for path in paths]
    for given in (pictures, map(Path, paths), [paths[0], *pictures[1:]]):
        assert [row["topk"] for row in run.predict(given, topk=1)] == [r["topk"] for r in rows]
    assert run.predict(pictures[:1])[0]["path"] is None
    one = [run.predict(given, 1)[0]["topk"] for given in (paths[0], Path(paths[0]), pictures[0])]
    assert one == [rows[0]["topk"]] * 3


def test_arrays_of_one_size_and_grey_ones(run):
    batch = np.stack([images.photo(20, 30, seed=i) for i in range(3)])
    said = run.probabilities(batch)
    np.testing.assert_array_equal(said, run.probabilities(list(batch)))
    assert said.shape == (3, 2) and said.dtype == np.float32
    grey = batch[0][..., :1]
    np.testing.assert_array_equal(
        run.probabilities(grey), run.probabilities(np.repeat(grey, 3, axis=2))
    )
    clear = np.concatenate([batch[0], np.zeros_like(grey)], axis=2)  # alpha 0: white is seen
    white = np.full_like(batch[0], 255)
    np.testing.assert_array_equal(run.probabilities(clear), run.probabilities(white))
    assert run.probabilities([]).shape == (0, 2) and run.embeddings([]).shape == (0, 8)
    assert run.predict(batch[:0]) == []


def test_a_folder_and_a_pattern_from_python(run, folder):
    rows = run.predict([folder / "cats", str(folder / "*" / "00.png")])
    assert len(rows) == 18 and rows[-1]["path"].endswith("dogs/00.png")


@pytest.mark.parametrize(
    "given, message",
    [
        (np.zeros((2, 8, 8, 3), np.float32), "this is an array of float32"),
        ([[0.5, 1.0]], "this is list"),
        ([[[1], [2, 3]]], "this is list"),
        ([None], "this is NoneType"),
        (3, "int is no image"),
        (None, "NoneType is no image"),
        (np.zeros((8, 8), np.uint8), r"has the shape \(8, 8\)"),
        ([np.zeros((8, 8, 2), np.uint8)], r"1, 3 or 4 channels; .*\(8, 8, 2\)"),
        ([np.zeros((0, 8, 3), np.uint8)], r"has the shape \(0, 8, 3\)"),
        (["no/such.png"], "there is no file 'no/such.png'"),
        (["-"], "there is no file '-'"),
    ],
)
def test_what_is_no_image_is_said(run, given, message):
    for ask in (run.predict, run.probabilities, run.embeddings):
        with pytest.raises(UserError, match=message):
            ask(given)


@pytest.mark.parametrize("topk", [0, -1, 1.5, "3"])
def test_at_least_one_class_is_shown(run, topk):
    with pytest.raises(UserError, match="shows no class"):
        run.predict([], topk=topk)


def test_a_broken_file_has_a_row_but_no_number(run, mixed):
    rows = run.predict(mixed)
    assert [bool(row["error"]) for row in rows] == [i in (3, 7, 8) for i in range(9)]
    assert all(bool(row["topk"]) != bool(row["error"]) for row in rows)
    for ask in (run.probabilities, run.embeddings):
        with pytest.raises(UserError, match=r"a\.jpg cannot be read: it is not a JPEG"):
            ask(mixed)


def test_a_run_says_what_it_is(run, finished):
    assert run.class_names == ("cats", "dogs") and run.config["seed"] == 0
    assert repr(run) == (
        f"<Run {finished}: small_cnn for 2 classes (cats, dogs), images 16x16x3, step 2>"
    )
    with pytest.raises(UserError, match="nowhere holds no run"):
        lowlabel_jax.load("nowhere")
    with pytest.raises(UserError, match="a run is a directory; this is int"):
        lowlabel_jax.load(3)  # pyright: ignore[reportArgumentType]


SCRIPT = """
import json, sys
import lowlabel_jax
assert not {"jax", "flax", "numpy"} & set(sys.modules)
print(json.dumps(lowlabel_jax.load(sys.argv[1]).predict(sys.argv[2:])))
"""


def test_a_program_of_its_own_needs_no_preparation(run, finished, mixed):
    env = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-W", "error", "-c", SCRIPT, str(finished), *mixed]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = run.predict(mixed)
    for said, row in zip(json.loads(done.stdout), rows, strict=True):
        assert (said["path"], said["error"]) == (row["path"], row["error"])
        ours, theirs = ([one["probability"] for one in r["topk"]] for r in (row, said))
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


# --- the command ----------------------------------------------------------------------------------


def test_csv_has_all_the_classes(finished, mixed, monkeypatch, capsys):
    assert run_cli(monkeypatch, "predict", finished, *mixed, "--format=csv", "--topk=9") == 2
    printed = capsys.readouterr()
    header, *rows = csv.reader(io.StringIO(printed.out))
    assert header == ["path", "label", "probability", "label_2", "probability_2", "error"]
    assert [row[0] for row in rows] == mixed and {len(row) for row in rows} == {6}
    for row, path in zip(rows, mixed, strict=True):
        bad = path.endswith(".jpg")
        assert {row[1], row[3]} == ({""} if bad else {"cats", "dogs"}) and bool(row[5]) == bad
        assert bad or float(row[2]) >= float(row[4])
    assert printed.err.startswith("9 images, 3 of them could not be read, in ")
    assert "images/s)" in printed.err and printed.err.count("\n") == 1


def test_names_of_any_bytes_come_out_as_they_are(
    folder, finished, tmp_path, monkeypatch, capfdbinary
):
    names = [b"new\nli\rne.png", b"caf\xe9, =x.png", "žluť.png".encode()]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes((folder / "cats" / "00.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    given = [os.fsdecode(name) for name in names]
    for out in ((), ("--out", tmp_path / "out.csv")):
        assert run_cli(monkeypatch, "predict", finished, *given, "--format=csv", *out) == 0
        said = Path(*out[1:]).read_bytes() if out else capfdbinary.readouterr().out
        rows = csv.reader(io.StringIO(said.decode("utf-8", "surrogateescape"), newline=""))
        assert [row[0] for row in rows] == ["path", *given]
    run_cli(monkeypatch, "predict", finished, *given)
    lines = capfdbinary.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[0].startswith(b"'new\\nli\\rne.png'  ")
    assert lines[1].startswith(names[1])
    for form in ("json", "jsonl"):
        run_cli(monkeypatch, "predict", finished, *given, "--format", form)
        text = capfdbinary.readouterr().out.decode()
        rows = json.loads(text) if form == "json" else [json.loads(x) for x in text.splitlines()]
        assert [row["path"] for row in rows] == given


def test_embeddings_on_request(finished, run, mixed, tmp_path, monkeypatch, capsys):
    place = tmp_path / "deep" / "f.npz"
    words = ("predict", finished, *mixed, "--format=jsonl", "--embeddings", place)
    assert run_cli(monkeypatch, *words) == 2
    printed = capsys.readouterr()
    assert f"written: {place}" in printed.err
    with np.load(place, allow_pickle=False) as kept:
        assert sorted(kept) == ["errors", "features", "paths"]
        assert kept["paths"].tolist() == mixed and kept["features"].dtype == np.float32
        bad = kept["errors"] != ""
        assert bad.nonzero()[0].tolist() == [3, 7, 8]
        assert np.isnan(kept["features"][bad]).all()
        good = [path for path, is_bad in zip(mixed, bad, strict=True) if not is_bad]
        np.testing.assert_allclose(kept["features"][~bad], run.embeddings(good), atol=1e-6)
    assert len(printed.out.splitlines()) == 9


def test_a_list_on_stdin_through_the_command(finished, mixed, monkeypatch, capsys):
    listed = io.TextIOWrapper(io.BytesIO(b"caf\xe9.png\n" + mixed[0].encode()), "utf-8")
    monkeypatch.setattr(sys, "stdin", listed)
    assert run_cli(monkeypatch, "predict", finished, "-", "--format=jsonl") == 2
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["path"] for row in rows] == ["caf\udce9.png", mixed[0]]
    assert rows[0]["error"] == "No such file or directory" and not rows[1]["error"]


@pytest.mark.parametrize(
    "words, message",
    [
        (["--embeddings", "{dir}/photo.jpg"], "photo.jpg is no .npz"),
        (["--embeddings", "{dir}"], "is no .npz"),
        (["--out", "{dir}"], "is no file"),
        (["--out", "/dev/null"], "--out /dev/null is no file"),
        (["--out", "{dir}/file/below.csv"], "cannot be written"),
        (["--topk", "0"], "--topk 0 shows no class"),
    ],
)
def test_a_mistake_is_said_before_any_work(words, message, finished, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    words = [word.replace("{dir}", str(tmp_path)) for word in words]
    monkeypatch.setattr(predict_rows, "Run", None)  # not reached
    assert run_cli(monkeypatch, "predict", finished, str(tmp_path), *words) == 2
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 2


def test_a_reader_who_has_seen_enough_is_no_crash(finished, mixed):
    reader, writer = os.pipe()
    os.close(reader)
    env = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "lowlabel_jax", "predict", str(finished), *mixed]
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(words, env=env, stdout=closed, stderr=subprocess.PIPE, timeout=300)
    assert done.returncode in (0, 120) and not done.stderr, done


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_only_on_a_terminal(terminal, run, mixed, monkeypatch):
    screen = io.StringIO()
    made = Console(file=screen, force_terminal=terminal, width=120, _environ={"TERM": "xterm"})
    monkeypatch.setattr(predict_rows, "Console", lambda **how: made)
    parts = list(predict_rows._watched(run.parts(mixed), mixed, rows_run_by=False))
    assert len(parts) == 1
    assert ("9/9" in screen.getvalue() and "images/s" in screen.getvalue()) == terminal
    assert terminal or not screen.getvalue()


def test_rows_that_run_by_are_not_torn_by_a_bar(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert predict_rows._shows(None, "table") and predict_rows._shows(None, "csv")
    assert not predict_rows._shows(Path("out.csv"), "csv") and not predict_rows._shows(None, "json")
