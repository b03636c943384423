"""`lowlabel data-check`: what is planted is found, and the picture is what training sees."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from lowlabel_jax.augment.views import make_views
from lowlabel_jax.core import named
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.runs import data_check, preview
from lowlabel_jax.training import build
from tests import tiny

ROOT = Path(__file__).parent.parent
KEYS = ["classes", "splits", "problems", "duplicates", "leakage"]


def lowlabel(*options, **more):
    env = {**os.environ, "XLA_FLAGS": "", "NPROC": "2", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *more.pop("python", ()), "-m", "lowlabel_jax", *map(str, options)]
    given = {"cwd": ROOT, "env": env, "capture_output": True, "text": True, "timeout": 300, **more}
    return subprocess.run(command, **given)


def save(folder, planted=True):
    """An .npz of 9 + 4 colour images of 4x5, three classes, all different but for what is planted.

    train 6 = train 1, the same class; train 7 = train 2, another class; test 3 = train 0 and
    test 2 = train 2 = train 7; train 4 shows one colour; train 8 has no label; no "fish" in test.
    """
    x = np.random.default_rng(0).integers(1, 255, (13, 4, 5, 3), np.uint8)
    train, test = x[:9], x[9:]
    if planted:
        train[6], train[7], train[4] = train[1], train[2], (9, 200, 30)
        test[3], test[2] = train[0], train[2]
    labels = {"y_train": np.array([0, 1, 2, 0, 1, 2, 1, 0, -1]), "y_test": np.array([0, 1, 1, 0])}
    path = folder / "mine.npz"
    np.savez(path, x_train=train, x_test=test, class_names=["cat", "dog", "fish"], **labels)
    return path


# --- what is found --------------------------------------------------------------------------------


def test_the_digits_are_counted_and_measured():
    data = data_check.opened("digits")
    found = data_check.report(data)
    assert list(found) == KEYS and not (found["problems"] or found["leakage"])
    for name, n in (("train", 1297), ("test", 500)):
        label, x = data.source.labels[name], data.source.read(name, np.arange(n))
        assert [row[name] for row in found["classes"].values()] == np.bincount(label).tolist()
        about = found["splits"][name]
        assert (about["n"], about["range"]) == (n, [0, 255])
        assert about["mean"] == pytest.approx([x.mean()], rel=1e-12)
        assert about["std"] == pytest.approx([x.std()], rel=1e-12)
    assert set(found["splits"]) == {"train", "test"}


def test_a_config_adds_the_sizes_of_its_split():
    found = data_check.report(data_check.opened("digits_fixmatch"))
    sizes = {name: about["n"] for name, about in found["splits"].items()}
    split = {"labelled": 10, "unlabelled": 1297, "validation": 0}
    assert sizes == {"train": 1297, "test": 500, **split} and not data_check.is_wrong(found)


def test_what_is_planted_is_found(tmp_path, monkeypatch):
    from lowlabel_jax.data import check

    monkeypatch.setattr(check, "BLOCK", 4)  # the blocks of one pass must join
    data = data_check.opened(f"arrays:path={save(tmp_path)}")
    found = data_check.report(data)
    assert found["classes"] == {
        "cat": {"train": 3, "test": 2},
        "dog": {"train": 3, "test": 2},
        "fish": {"train": 2, "test": 0},
    }
    assert found["leakage"] == [
        {"images": ["train[0]", "test[3]"], "classes": ["cat", "cat"]},
        {"images": ["train[2]", "train[7]", "test[2]"], "classes": ["fish", "cat", "dog"]},
    ]
    assert found["duplicates"] == [
        {"images": ["train[1]", "train[6]"], "classes": ["dog", "dog"]},
        {"images": ["train[2]", "train[7]"], "classes": ["fish", "cat"]},
    ]
    kinds = [(p["kind"], p["path"], p["line"]) for p in found["problems"]]
    assert kinds == [
        ("leakage", "train[0]", None),
        ("leakage", "train[2]", None),
        ("conflict", "train[2]", None),
        ("constant", "train[4]", None),
        ("empty class", None, None),
    ]
    details = " ".join(p["detail"] for p in found["problems"])
    assert "train[2] (fish), train[7] (cat), test[2] (dog)" in details
    assert "class 'fish' has no image in test" in details and data_check.is_wrong(found)
    x = data.source.read("train", np.arange(9)).astype(float)
    assert found["splits"]["train"]["mean"] == pytest.approx(x.mean((0, 1, 2)).tolist())
    assert found["splits"]["train"]["std"] == pytest.approx(x.std((0, 1, 2)).tolist())
    page = data_check.page(data, found)
    assert re.search(r"leakage +5 images in 2 groups, between sets", page)
    assert re.search(r"fish +2 +0", page) and re.search(r"conflict +one image, several", page)


def test_copies_without_a_label_are_no_conflict(tmp_path):
    path = save(tmp_path, planted=False)
    arrays = dict(np.load(path))
    arrays["x_train"][8] = arrays["x_train"][0]
    np.savez(path, **arrays)
    found = data_check.report(data_check.opened(f"arrays:path={path}"))
    assert found["duplicates"] == [{"images": ["train[0]", "train[8]"], "classes": ["cat", None]}]
    assert [p["kind"] for p in found["problems"]] == ["empty class"]
    assert not data_check.is_wrong(found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("config.split.validation = {'per_class': 1}", "validation images are also training"),
        ("config.split.labelled = {'per_class': 4}", "class 'cat' has 3 images but 4 labelled"),
    ],
)
def test_a_split_that_a_run_would_refuse_is_a_problem(tmp_path, change, said):
    path = save(tmp_path, planted=False)
    arrays = dict(np.load(path))
    arrays["x_train"][3] = arrays["x_train"][7] = arrays["x_train"][0]  # all the cats are one
    np.savez(path, **arrays)
    config = tmp_path / "mine.py"
    config.write_text(
        "from lowlabel_jax.configuration.keys import base\n\n\ndef get_config():\n"
        f"    config = base()\n    config.source = {{'name': 'arrays', 'path': {str(path)!r}}}\n"
        f"    config.split.labelled = {{'per_class': 1}}\n    {change}\n    return config\n"
    )
    found = data_check.report(data_check.opened(str(config)))
    (problem,) = [p for p in found["problems"] if p["kind"] == "split"]
    assert said in problem["detail"] and data_check.is_wrong(found)


def test_a_long_list_of_problems_is_cut_on_the_page_alone(tmp_path):
    path = save(tmp_path, planted=False)
    arrays = dict(np.load(path))
    arrays["x_train"][:] = np.arange(9, dtype=np.uint8)[:, None, None, None]
    arrays["x_test"][:] = np.arange(9, 13, dtype=np.uint8)[:, None, None, None]
    np.savez(path, **arrays)
    data = data_check.opened(f"arrays:path={path}")
    found = data_check.report(data)
    assert [p["kind"] for p in found["problems"]].count("constant") == 13
    page = data_check.page(data, found)
    assert page.count("every pixel") == 10 and "and 3 more" in page


# --- what it is asked about -----------------------------------------------------------------------


def test_the_options_of_a_source_are_typed_as_its_defaults():
    spec = data_check.source_spec("arrays", "path=a=b,c.npz,train=5,test=0")
    assert spec == {"name": "arrays", "path": "a=b,c.npz", "train": 5, "test": 0}
    assert data_check.source_spec("digits", "") == {"name": "digits"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("digit", r"'digit' is neither a config nor a source. Did you mean 'digits'\?"),
        ("photos/", "Folders and CSV are not read yet"),
        ("digits:tset=5", r"no option 'tset'. Did you mean 'test'\?"),
        ("digits:test=many", "source.test = 'many' must be a whole number"),
        ("digits:500", "'500' is not an option of the source 'digits'"),
        ("arrays:path=no.npz", "there is no file 'no.npz'"),
        ("configs/digits_fixmach.py", r"Did you mean 'configs/digits_fixmatch.py'\?"),
    ],
)
def test_a_mistake_says_what_is_accepted(data, said, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=said):
        data_check.opened(data)


# --- the command ----------------------------------------------------------------------------------


def test_without_a_preview_nothing_is_written_and_jax_is_not_imported(tmp_path):
    done = lowlabel("data-check", "digits", cwd=tmp_path, python=("-X", "importtime"))
    assert done.returncode == 0 and "train           1,297  0 to 255" in done.stdout
    assert "problems     none" in done.stdout and not list(tmp_path.iterdir())
    assert not re.search(r"\| jax(lib)?$", done.stderr, re.M)


def test_leaks_give_exit_code_2_and_json_alone_on_stdout(tmp_path):
    done = lowlabel("data-check", f"arrays:path={save(tmp_path)}", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 2 and list(found) == KEYS and len(found["leakage"]) == 2
    assert {key for p in found["problems"] for key in p} == {"kind", "path", "line", "detail"}
    assert not done.stderr


def test_a_preview_goes_where_it_says(tmp_path):
    options = ("data-check", "digits_fixmatch", "--preview", "3")
    done = lowlabel(*options, "--json", cwd=tmp_path)
    path = Path("data-check/digits_fixmatch/preview.png")
    assert done.returncode == 0 and json.loads(done.stdout) and f"written: {path}" in done.stderr
    with Image.open(tmp_path / path) as picture:
        assert picture.format == "PNG" and picture.width > 5 * preview.SIDE
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / path]
    none = lowlabel("data-check", "digits", "--preview", "0", cwd=tmp_path)
    assert none.returncode == 2 and none.stderr.startswith("error: --preview 0 draws no image.")


# --- the picture ----------------------------------------------------------------------------------


def test_as_many_images_of_each_class_as_can_be():
    labels = np.array([2] * 50 + [0] * 30 + [1] * 2 + [-1] * 20)
    for count, wanted in ((3, [1, 1, 1]), (8, [3, 2, 3]), (99, [30, 2, 50])):
        chosen = preview.choose(labels, count, seed=1)
        have = np.bincount(labels[chosen], minlength=3)
        assert (np.diff(labels[chosen]) >= 0).all() and len(set(chosen.tolist())) == len(chosen)
        assert sorted(have) == sorted(wanted) and have[1] <= 2
    assert (preview.choose(labels, 8, 1) == preview.choose(labels, 8, 1)).all()
    assert (preview.choose(labels, 8, 1) != preview.choose(labels, 8, 2)).any()
    assert len(preview.choose(np.full(5, -1), 3, 0)) == 3  # nothing is labelled


def test_the_views_are_those_of_a_runs_first_step():
    config = tiny.config("fixmatch", "--config.seeds.augment=5")
    resolved, _ = tiny.resolved(config)
    state = build.new_state(resolved, build.phase(resolved, 0))
    images = tiny.DIGITS.read("train", np.arange(4))
    columns = preview.views(images, config.augment.to_dict(), seed=5)
    rows = {"image": images, "label": np.zeros(4, np.int32), "index": np.arange(4)}
    recipes = {n: named.build("augment", s) for n, s in config.augment.to_dict().items()}
    key, _ = jax.random.split(jax.random.fold_in(state.key, state.step))
    batch = {"labelled": rows, "unlabelled": rows}
    seen = jax.jit(lambda b: make_views(preview.DRAWN, b, recipes, key))(batch)
    for name, column in zip(preview.DRAWN, columns, strict=True):
        shown = np.stack([panel.image for panel in column]).astype(float)
        np.testing.assert_allclose(shown / 127.5 - 1, seen[name], rtol=0, atol=1e-6)
        assert (shown != images).any()


def test_a_caption_describes_the_draw_that_made_its_view(monkeypatch):
    """With a recipe that paints the number it draws, and says it."""

    class Painted:
        def number(self, key):
            return jax.random.randint(key, (), 0, 256)

        def __call__(self, key, image):
            return jnp.full(image.shape, self.number(key), jnp.uint8)

        def describe(self, key, image):
            return [f"painted {self.number(key)}", f"over {image.mean():.0f}"] * bool(image.any())

    monkeypatch.setattr(named, "build", lambda kind, spec: Painted())
    images = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    columns = preview.views(images, {"weak": {"name": "a"}, "strong": {"name": "b"}}, seed=0)
    numbers = {int(panel.image[0, 0, 0]) for column in columns for panel in column}
    assert len(columns) == 4 and len(numbers) > 9
    for column in columns:
        for at, panel in enumerate(column):
            wanted = [f"painted {panel.image[0, 0, 0]}", f"over {at}"] if at else ["as it is"]
            assert panel.caption == wanted


def test_a_recipe_that_does_not_describe_is_named(monkeypatch):
    monkeypatch.setattr(named, "build", lambda kind, spec: lambda key, image: image)
    images = np.zeros((1, 4, 4, 3), np.uint8)
    columns = preview.views(images, {"weak": {"name": "a"}, "strong": {"name": "b"}}, seed=0)
    assert [column[0].caption for column in columns] == [["a"], ["b"], ["b"], ["b"]]


@pytest.mark.parametrize("count", [2, 7])
def test_the_picture_holds_every_panel_enlarged_without_blur(count):
    rng = np.random.default_rng(0)
    rows = [
        [preview.Panel(rng.integers(0, 256, (8, 8, c), np.uint8), ["some words"]) for _ in range(5)]
        for c in [1, 3, 1, 3, 1, 3, 1][:count]
    ]
    drawn = np.asarray(preview.draw("title", ["a", "b", "c", "d", "e"], rows))
    assert drawn.shape[1] // (5 * preview.SIDE) == (2 if count == 7 else 1)  # blocks
    for row in rows:
        for panel in row:
            large = np.kron(panel.image, np.ones((21, 21, 1), np.uint8))  # 168 / 8
            assert has(drawn, np.broadcast_to(large, (168, 168, 3)))


def has(picture, part):
    """Whether a picture [h, w, 3] holds a part to the last pixel, wherever it lies."""
    h, w = part.shape[:2]
    first = (picture[: 1 - h, : 1 - w] == part[0, 0]).all(-1)
    last = (picture[h - 1 :, w - 1 :] == part[-1, -1]).all(-1)
    corners = np.argwhere(first & last).tolist()
    return any(np.array_equal(picture[y : y + h, x : x + w], part) for y, x in corners)


def test_a_large_photo_is_made_smaller_and_a_small_one_keeps_its_shape():
    assert preview.enlarged(np.zeros((900, 600, 3), np.uint8)).size == (224, 336)
    assert preview.enlarged(np.zeros((28, 14, 1), np.uint8)).size == (84, 168)


def test_captions_are_broken_where_the_panel_ends():
    lines = preview.wrapped(["flip", "shear_x 0.27 and then brightness 0.5"])
    assert lines[0] == "flip" and len(lines) == 3 and max(map(len, lines)) <= preview.LETTERS
    widest = max(preview.font(12).getlength(line) for line in [*lines, "m" * 15])
    assert widest <= preview.SIDE + preview.GAP
