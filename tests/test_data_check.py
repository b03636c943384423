"""`lowlabel data-check`: what is planted is found, and the picture is what training sees."""

import base64
import html.parser
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from lowlabel_jax import cli
from lowlabel_jax.augment.views import make_views
from lowlabel_jax.core import files, named
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data import splits
from lowlabel_jax.images import inspection
from lowlabel_jax.runs.data_check import (
    data_check,
    data_files,
    data_given,
    data_html,
    data_page,
    data_parts,
    data_pictures,
    preview,
)
from lowlabel_jax.training import build
from tests import images, tiny

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("LOWLABEL_TEST_DATA") or ROOT.parent / "shared/data")
KEYS = ["classes", "splits", "problems", "duplicates", "near_duplicates", "leakage"]
KEYS += ["images", "imbalance"]
EXTENSIONS = ("html", "json")


def group(images, classes, sets):
    """A group of equal images as the report has it."""
    values = [v.split() if isinstance(v, str) else v for v in (images, classes, sets)]
    return dict(zip(("images", "classes", "sets"), values, strict=True))


def kinds(found):
    return Counter(problem["kind"] for problem in found["problems"])


def lowlabel(*options, **more):
    env = {**os.environ, "XLA_FLAGS": "", "NPROC": "2", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *more.pop("python", ()), "-m", "lowlabel_jax", *map(str, options)]
    given = {"cwd": ROOT, "env": env, "capture_output": True, "text": True, "timeout": 300, **more}
    return subprocess.run(command, **given)


def report(data):
    return data_check.found_in(data).report


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


def write_config(folder, source, *lines):
    """A config file of a source, changed by lines of Python."""
    path = folder / "mine.py"
    text = "from lowlabel_jax.configuration.keys import base\n\n\ndef get_config():\n"
    body = ["config = base()", f"config.source = {source!r}", *lines, "return config"]
    path.write_text(text + "".join(f"    {line}\n" for line in body))
    return path


# --- what is found --------------------------------------------------------------------------------


def test_the_digits_are_counted_and_measured():
    data = data_given.opened_data("digits")
    found = report(data)
    assert list(found) == KEYS and not (found["problems"] or found["leakage"])
    assert found["images"] == {"shape": [8, 8, 1], "compared": False}
    for name, n in (("train", 1297), ("test", 500)):
        label, x = data.source.labels[name], data.source.read(name, np.arange(n))
        assert [row[name] for row in found["classes"].values()] == np.bincount(label).tolist()
        about = found["splits"][name]
        assert (about["n"], about["range"]) == (n, [0, 255])
        assert about["mean"] == pytest.approx([x.mean()], rel=1e-12)
        assert about["std"] == pytest.approx([x.std()], rel=1e-12)
    assert set(found["splits"]) == {"train", "test"}


def test_a_config_adds_the_sizes_of_its_split():
    found = report(data_given.opened_data("digits_fixmatch"))
    sizes = {name: about["n"] for name, about in found["splits"].items()}
    split = {"labelled": 10, "unlabelled": 1297, "validation": 0}
    assert sizes == {"train": 1297, "test": 500, **split} and not data_check.is_wrong(found)


def test_what_is_planted_is_found(tmp_path, monkeypatch):
    from lowlabel_jax.data import check

    monkeypatch.setattr(check, "BLOCK", 4)  # the blocks of one pass must join
    data = data_given.opened_data(f"arrays:path={save(tmp_path)}")
    found = report(data)
    assert found["classes"] == {
        "cat": {"train": 3, "test": 2},
        "dog": {"train": 3, "test": 2},
        "fish": {"train": 2, "test": 0},
    }
    assert found["leakage"] == [
        group("train[0] test[3]", "cat cat", "train test"),
        group("train[2] train[7] test[2]", "fish cat dog", "train train test"),
    ]
    assert found["duplicates"] == [
        group("train[1] train[6]", "dog dog", "train train"),
        group("train[2] train[7]", "fish cat", "train train"),
    ]
    listed = [(p["kind"], p["path"], p["line"], p["wrong"]) for p in found["problems"]]
    assert listed == [
        ("leakage", "train[0]", None, True),
        ("leakage", "train[2]", None, True),
        ("conflict", "train[2]", None, False),
        ("constant", "train[4]", None, False),
        ("tiny class", None, None, False),
        ("tiny class", None, None, False),
        ("empty class", None, None, False),
        ("tiny class", None, None, False),
    ]
    details = " ".join(p["detail"] for p in found["problems"])
    assert "train[2] (fish), train[7] (cat), test[2] (dog)" in details
    assert "class 'fish' has no image in test" in details and data_check.is_wrong(found)
    x = data.source.read("train", np.arange(9)).astype(float)
    assert found["splits"]["train"]["mean"] == pytest.approx(x.mean((0, 1, 2)).tolist())
    assert found["splits"]["train"]["std"] == pytest.approx(x.std((0, 1, 2)).tolist())
    page = data_page.page(data, data_check.found_in(data))
    assert re.search(r"leakage +5 images in 2 groups, between sets", page)
    assert re.search(r"fish +2 +0", page)
    assert "  conflict:\n    one image, several labels: train[2] (fish), train[7] (cat)" in page


def test_copies_without_a_label_are_no_conflict(tmp_path):
    path = save(tmp_path, planted=False)
    arrays = dict(np.load(path))
    arrays["x_train"][8] = arrays["x_train"][0]
    np.savez(path, **arrays)
    found = report(data_given.opened_data(f"arrays:path={path}"))
    assert found["duplicates"] == [group("train[0] train[8]", ["cat", None], "train train")]
    assert kinds(found) == {"tiny class": 3, "empty class": 1}
    assert found["splits"]["train"]["no_label"] == 1
    assert not data_check.is_wrong(found)


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (
            "config.split.validation = {'per_class': 1}",
            "leakage",
            "the same image for training and validation: train[0] (cat), train[3] (cat), train[7]",
        ),
        (
            "config.split.labelled = {'per_class': 4}",
            "split",
            "class 'cat' has 3 images but 4 labelled",
        ),
    ],
)
def test_a_split_that_a_run_would_refuse_is_a_problem(tmp_path, change, kind, said):
    path = save(tmp_path, planted=False)
    arrays = dict(np.load(path))
    arrays["x_train"][3] = arrays["x_train"][7] = arrays["x_train"][0]  # all the cats are one
    np.savez(path, **arrays)
    source = {"name": "arrays", "path": str(path)}
    config = write_config(tmp_path, source, "config.split.labelled = {'per_class': 1}", change)
    found = report(data_given.opened_data(str(config)))
    (problem,) = [p for p in found["problems"] if p["wrong"]]
    assert problem["kind"] == kind and said in problem["detail"]


def test_a_long_list_of_problems_is_cut_on_the_page_alone(tmp_path):
    path = save(tmp_path, planted=False)
    arrays = dict(np.load(path))
    arrays["x_train"][:] = np.arange(9, dtype=np.uint8)[:, None, None, None]
    arrays["x_test"][:] = np.arange(9, 13, dtype=np.uint8)[:, None, None, None]
    np.savez(path, **arrays)
    data = data_given.opened_data(f"arrays:path={path}")
    found = report(data)
    assert kinds(found)["constant"] == 13
    page = data_page.page(data, data_check.found_in(data))
    assert page.count("every pixel") == 10 and "and 3 more" in page


# --- files ----------------------------------------------------------------------------------------


def put(path, picture, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    return images.saved(path, picture, **options)


def photos(folder, cats=12, dogs=10, others=3):
    """FOLDER/train and FOLDER/validation, each with cats and dogs: all pictures differ."""
    seeds = iter(range(10**6))
    for name, (n_cats, n_dogs) in {"train": (cats, dogs), "validation": (others, others)}.items():
        for label, n in (("cats", n_cats), ("dogs", n_dogs)):
            for k in range(n):
                put(folder / name / label / f"{k:02}.png", images.photo(seed=next(seeds)))
    return folder


def test_sound_photos_have_nothing_wrong(tmp_path):
    data = data_given.opened_data(str(photos(tmp_path / "photos")))
    found = report(data)
    assert found["problems"] == [] and found["near_duplicates"] == []
    assert found["classes"] == {
        "cats": {"train": 12, "validation": 3},
        "dogs": {"train": 10, "validation": 3},
    }
    assert found["images"] == {
        "shape": [224, 224, 3],
        "compared": True,
        **dict.fromkeys(("smallest", "median", "largest"), [60, 40]),
        "distinct": 1,
        "modes": {"RGB": 28},
        "formats": {"PNG": 28},
    }
    assert found["imbalance"]["train"] == {
        "largest": {"class": "cats", "n": 12},
        "smallest": {"class": "dogs", "n": 10},
        "ratio": 1.2,
    }
    every = data.source.read("train", np.arange(22)).astype(float)
    assert found["splits"]["train"]["mean"] == pytest.approx(every.mean((0, 1, 2)).tolist())
    page = data_page.page(data, data_check.found_in(data))
    assert page.startswith("photos (28 images, 2 classes): nothing wrong\n")
    assert "60 x 40 to 60 x 40, median 60 x 40, 1 size\n" in page


def planted(folder):
    """Photos with a copy, a conflict, a leak, two near duplicates, an odd shape, and no balance."""
    photos(folder, cats=33)
    train = folder / "train"
    shutil.copy(train / "cats/00.png", train / "cats/copy.png")
    shutil.copy(train / "cats/01.png", train / "dogs/other.png")
    shutil.copy(train / "dogs/02.png", folder / "validation/dogs/leak.png")
    put(folder / "validation/cats/again.jpg", images.photo(seed=3), quality=60)
    put(folder / "validation/cats/turned.png", images.photo(seed=4)[:, ::-1])
    put(train / "cats/near.png", images.photo(seed=5) // 2)
    put(train / "cats/long.png", images.photo(30, 91, seed=999))
    put(train / "cats/square.png", images.photo(90, 90, seed=998))
    put(train / "dogs/grey.png", np.full((40, 60), 90, np.uint8))
    return folder


def test_what_is_planted_in_files_is_found(tmp_path):
    data = data_given.opened_data(str(planted(tmp_path)))
    found = report(data)
    assert found["leakage"] == [
        group("train/dogs/02.png validation/dogs/leak.png", "dogs dogs", "train validation")
    ]
    assert found["duplicates"] == [
        group("train/cats/00.png train/cats/copy.png", "cats cats", "train train"),
        group("train/cats/01.png train/dogs/other.png", "cats dogs", "train train"),
    ]
    pairs = {tuple(pair["images"]): pair for pair in found["near_duplicates"]}
    assert list(pairs) == [  # across sides first
        ("train/cats/04.png", "validation/cats/turned.png"),
        ("train/cats/03.png", "validation/cats/again.jpg"),
        ("train/cats/05.png", "train/cats/near.png"),
    ]
    assert [pair["mirrored"] for pair in pairs.values()] == [True, False, False]
    assert all(0.9 < p["correlation"] <= 1 and 0 <= p["bits"] <= 4 for p in pairs.values())
    wrong = {(p["kind"], p["path"]) for p in found["problems"] if p["wrong"]}
    assert wrong == {("leakage", "train/dogs/02.png")}
    odd = {(p["kind"], p["path"]) for p in found["problems"] if not p["wrong"]}
    assert odd == {
        ("conflict", "train/cats/01.png"),
        ("constant", "train/dogs/grey.png"),
        ("near duplicate", "train/cats/03.png"),
        ("near duplicate", "train/cats/04.png"),
        ("far from square", "train/cats/long.png"),
        ("imbalance", None),
    }
    said = {p["kind"]: p["detail"] for p in found["problems"]}
    assert "for training and validation: train/dogs/02.png (dogs), " in said["leakage"]
    assert "'cats' has 37 images in train and 'dogs' 12, 3.1 times fewer" in said["imbalance"]
    assert "docs/imbalance.md" in said["imbalance"] and "91 x 30" in said["far from square"]
    sizes = [found["images"][key] for key in ("smallest", "median", "largest", "distinct")]
    assert sizes == [[60, 40], [60, 40], [90, 90], 3]
    allowed = report(
        data_given.opened_data(str(tmp_path), ["--config.split.allow_duplicates=True"])
    )
    assert allowed["leakage"] == found["leakage"] and not data_check.is_wrong(allowed)


def test_leaks_between_the_parts_of_a_split_are_found(tmp_path):
    """A copy of every photo: whatever is drawn, some pair lies on two sides."""
    train = photos(tmp_path / "photos", others=0) / "train"
    for path in [*train.rglob("*.png")]:
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    source = {"name": "folder", "path": str(tmp_path / "photos")}
    half = "config.split.validation = {'fraction': 0.25}"
    config = write_config(tmp_path, source, half, "config.image.size = 32")
    data = data_given.opened_data(str(config))
    found = report(data)
    split = splits.divide(data.source, data.config.split.to_dict(), 0)
    trained = {data.source.digests["train"][i] for i in [*split.labelled, *split.unlabelled]}
    both = trained & {data.source.digests["train"][i] for i in split.validation}
    assert len(found["leakage"]) == kinds(found)["leakage"] == len(both) > 0
    assert "split" not in kinds(found) and data_check.is_wrong(found)
    sets = {frozenset(group["sets"]) for group in found["leakage"]}
    assert sets <= {frozenset({"labelled", "validation"}), frozenset({"unlabelled", "validation"})}
    assert found["splits"]["validation"]["n"] == 11 and found["classes"]["cats"]["labelled"] == 4
    allowed = ["--config.split.allow_duplicates=True"]
    found = report(data_given.opened_data(str(config), allowed))
    assert found["leakage"] == [] and not data_check.is_wrong(found)


def test_every_image_has_its_part_in_the_run():
    data = data_given.opened_data("digits_fixmatch")
    split = splits.split_of(data.source, data.config.split.to_dict(), 0)
    parts = data_parts.parts_of(data, data.source)
    assert Counter(parts.of["train"]) == {"labelled": 10, "unlabelled": 1287}
    assert set(parts.of["test"]) == {"test"}
    assert np.flatnonzero(parts.of["train"] == "labelled").tolist() == split.labelled.tolist()
    assert {name: len(label) for name, label in parts.labels.items()} == {
        **{"train": 1297, "labelled": 10, "unlabelled": 1297, "validation": 0, "test": 500}
    }


def test_near_duplicates_between_the_parts_of_a_split_are_told(tmp_path):
    train = photos(tmp_path / "photos", others=0) / "train"
    for path in [*train.rglob("*.png")]:
        with Image.open(path) as image:
            image.save(path.with_suffix(".jpg"), quality=90)
    source = {"name": "folder", "path": str(train)}
    config = write_config(tmp_path, source, "config.split.validation = {'fraction': 0.25}")
    found = report(data_given.opened_data(str(config)))
    sides = [{s.replace("un", "") for s in pair["sets"]} for pair in found["near_duplicates"]]
    assert len(sides) == 22 and 0 < sides.count({"labelled", "validation"}) < 22
    assert kinds(found)["near duplicate"] == sides.count({"labelled", "validation"})
    assert not data_check.is_wrong(found)


def test_twenty_broken_kinds_give_one_report(tmp_path):
    sound = images.twenty_broken(tmp_path / "photos")
    bad = {path for path, is_sound in sound.items() if not is_sound}
    found = report(data_given.opened_data(str(tmp_path / "photos")))
    unreadable = {p["path"] for p in found["problems"] if p["kind"] == "unreadable"}
    assert len(bad) > 20 and unreadable == bad
    assert {p["path"] for p in found["problems"] if p["wrong"]} == bad
    assert found["splits"]["train"]["n"] == len(sound) - len(bad)
    done = lowlabel("data-check", tmp_path / "photos", cwd=tmp_path)
    assert done.returncode == 2 and "21 x unreadable:" in done.stdout and not done.stderr
    shown = [name for name in bad if name in done.stdout]
    assert len(shown) == 10 and "and 11 more" in done.stdout
    assert (
        "\nhint: repair or remove them, or leave them out: --config.image.on_bad=skip."
        in done.stdout
    )
    skip = "--config.image.on_bad=skip"
    done = lowlabel("data-check", tmp_path / "photos", skip, cwd=tmp_path)
    assert done.returncode == 0 and "worth a look" in done.stdout.splitlines()[0]
    assert re.search(rf"^train +{len(sound) - len(bad)} ", done.stdout, re.M)


def table(folder, rows, header="objectId,value", name="labels.csv"):
    """A CSV beside its images a.png to f.png."""
    for k, letter in enumerate("abcdef"):
        put(folder / f"{letter}.png", images.photo(seed=k))
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_what_is_wrong_with_a_table_is_told_with_its_lines(tmp_path):
    rows = ["a,cat", "b,dog", "missing,cat", "../c,dog", "d,", "e,cat", "e,dog", "f,dog"]
    path = table(tmp_path, rows)
    found = report(data_given.opened_data(str(path)))
    wrong = {(p["line"], p["kind"]) for p in found["problems"] if p["wrong"]}
    assert {line for line, _ in wrong} == {4, 5, 6, 8}
    assert {p["path"] for p in found["problems"] if p["wrong"]} == {str(path)}
    assert found["classes"] == {"cat": {"train": 1}, "dog": {"train": 2}}
    done = lowlabel("data-check", path, cwd=tmp_path)
    assert done.returncode == 2 and f"{path} line 4: " in done.stdout
    assert "hint: set --config.source.images to the folder of the files" in done.stdout


def test_of_many_classes_the_first_are_shown(tmp_path):
    label = np.arange(40).repeat(2)
    x = np.random.default_rng(0).integers(0, 256, (80, 4, 4, 3), np.uint8)
    path = tmp_path / "many.npz"
    np.savez(path, x_train=x[::2], y_train=label[::2], x_test=x[1::2], y_test=label[1::2])
    data = data_given.opened_data(str(path))
    assert len(report(data)["classes"]) == 40
    page = data_page.page(data, data_check.found_in(data))
    assert re.search(r"^29 +1 +1\nand 10 more classes$", page, re.M) and "\n30 " not in page


def test_data_of_which_nothing_is_sound_is_told_too(tmp_path):
    (tmp_path / "here").mkdir()
    path = table(tmp_path / "here", ["no,cat", "none,dog"])
    done = lowlabel("data-check", path, "--json", "--html", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert done.returncode == 2 and list(found) == KEYS and found["classes"] == {}
    assert {(p["line"], p["kind"]) for p in found["problems"]} >= {
        (2, "missing file"),
        (3, "missing file"),
    }
    assert done.stderr.split() == [
        "written:",
        *(f"data-check/labels/report.{e}" for e in EXTENSIONS),
    ]
    page = Page((tmp_path / "data-check/labels/report.html").read_text())
    assert page.sections == ["problems"] and "set --config.source.images" in page.text


# --- what it is asked about -----------------------------------------------------------------------


def test_what_lies_at_a_path_is_known_by_its_looks(tmp_path):
    (tmp_path / "food/meta").mkdir(parents=True)
    (tmp_path / "food/images").mkdir()
    (tmp_path / "food/meta/train.txt").touch()
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist/train-images-idx3-ubyte.gz").touch()
    (tmp_path / "photos.d/images").mkdir(parents=True)
    kinds = {"food": "food101", "mnist": "mnist_idx", "photos.d": "folder", "a.zip": "folder"}
    for name, source in (kinds | {"a.tar.gz": "folder", "x.NPZ": "arrays"}).items():
        spec = data_given.spec_of(tmp_path / name) if (tmp_path / name).exists() else None
        if spec is None:
            (tmp_path / name).touch()
            spec = data_given.spec_of(tmp_path / name)
        assert spec == {"name": source, "path": str(tmp_path / name)}
    spec = data_given.spec_of(tmp_path / "food", "test=,train=all")
    assert spec == {"name": "food101", "path": str(tmp_path / "food"), "test": "", "train": "all"}


@pytest.mark.parametrize(
    ("header", "options", "wanted"),
    [
        ("objectId,value", "", {"id": "objectId", "label": "value"}),
        ("n,Label,filename", "", {"id": "filename", "label": "Label"}),
        ("id;class;split", "", {"id": "id", "label": "class", "split": "split"}),
        ("id,path,label", "id=path", {"id": "path", "label": "label"}),
        ("id,path,label", "id=id,label=path", {"id": "id", "label": "path"}),
        ("who,what", "", {}),
    ],
)
def test_a_tables_columns_are_found_where_that_is_plain(tmp_path, header, options, wanted):
    path = table(tmp_path, [], header)
    spec = data_given.spec_of(path, options)
    assert spec == {"name": "table", "path": str(path), **wanted}


def test_a_table_that_could_be_read_in_two_ways_is_not_guessed(tmp_path):
    path = table(tmp_path, [], "id,path,label")
    with pytest.raises(UserError, match="several columns that may be its id: 'id', 'path'") as said:
        data_given.opened_data(str(path))
    assert said.value.hint == f"say which: lowlabel data-check {path}:id=id"


@pytest.mark.parametrize("name", ["with:colon", "with:a=b", "plain"])
def test_folders_with_colons_and_options(tmp_path, name):
    photos(tmp_path / name)
    data = data_given.opened_data(f"{tmp_path / name}")
    assert data.config.source.path == str(tmp_path / name) and data.name == name
    assert data.out == Path("data-check") / name


def test_options_and_overrides_reach_the_source(tmp_path):
    folder = photos(tmp_path / "photos")
    overrides = ["--config.image.size=16", "--config.image.channels=1"]
    data = data_given.opened_data(f"{folder}:validation=,test=validation", overrides)
    assert data.source.image_shape == (16, 16, 1) and set(data.source.labels) == {"train", "test"}
    with pytest.raises(UserError, match="Did you mean 'image.size'"):
        data_given.opened_data(str(folder), ["--config.image.sise=16"])
    with pytest.raises(UserError, match="image.size = 0 must be"):
        data_given.opened_data(str(folder), ["--config.image.size=0"])


def test_words_that_are_no_options_are_refused():
    done = lowlabel("data-check", "digits", "--jsn")
    assert done.returncode == 2 and done.stderr.startswith("error: '--jsn' is not an option.")
    done = lowlabel("data-check", "digits", "config.seed=1")
    assert done.returncode == 2 and "Did you mean '--config.seed=1'?" in done.stderr
    done = lowlabel("configs", "--jsn")
    assert done.returncode == 2 and "unrecognized arguments: --jsn" in done.stderr


@pytest.mark.parametrize("command", ["predict", "explain", "autolabel", "label-next"])
def test_images_may_stand_before_and_after_options(command, capsys):
    before = cli.asked([command, "runs/d1", "a.png", "b.png", "--out", "out"])
    after = cli.asked([command, "runs/d1", "--out", "out", "a.png", "b.png"])
    assert before.images == after.images == ["a.png", "b.png"] and after.out == Path("out")
    assert cli.asked([command, "runs/d1", "--out", "out", "-"]).images == ["-"]
    with pytest.raises(SystemExit):
        cli.asked([command, "runs/d1", "--ot", "out", "a.png"])
    assert "unrecognized arguments: --ot" in capsys.readouterr().err


def test_the_options_of_a_source_are_typed_as_its_defaults():
    spec = data_given.source_spec("arrays", "path=a=b,c.npz,train=5,test=0")
    assert spec == {"name": "arrays", "path": "a=b,c.npz", "train": 5, "test": 0}
    assert data_given.source_spec("digits", "") == {"name": "digits"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("digit", r"'digit' is neither a config, .* nor a file. Did you mean 'digits'\?"),
        ("README.md", "'README.md' is no kind of data that is known"),
        ("tests:500", "'500' is not an option of the source 'folder'"),
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
        data_given.opened_data(data)


# --- the command ----------------------------------------------------------------------------------


def test_without_a_preview_nothing_is_written_and_jax_is_not_imported(tmp_path):
    done = lowlabel("data-check", "digits", cwd=tmp_path, python=("-X", "importtime"))
    assert "--html writes this with pictures to data-check/digits/report.html\n" in done.stdout
    assert done.returncode == 0 and "train           1,297  0 to 255" in done.stdout
    assert "digits (1,797 images, 10 classes): nothing wrong" in done.stdout and not list(
        tmp_path.iterdir()
    )
    assert not re.search(r"\| +jax(lib)?$", done.stderr, re.M)


def test_leaks_give_exit_code_2_and_json_alone_on_stdout(tmp_path):
    done = lowlabel("data-check", f"arrays:path={save(tmp_path)}", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 2 and list(found) == KEYS and len(found["leakage"]) == 2
    wanted = {"kind", "path", "line", "detail", "wrong"}
    assert all(set(problem) == wanted for problem in found["problems"])
    assert not done.stderr


def test_a_preview_goes_where_it_says(tmp_path):
    options = ("data-check", "digits_fixmatch", "--preview", "3")
    done = lowlabel(*options, "--json", cwd=tmp_path)
    path = Path("data-check/digits_fixmatch/preview.png")
    assert done.returncode == 0 and json.loads(done.stdout) and f"written: {path}" in done.stderr
    with Image.open(tmp_path / path) as picture:
        assert picture.format == "PNG" and picture.width > 5 * data_pictures.SIDE
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / path]
    none = lowlabel("data-check", "digits", "--preview", "0", cwd=tmp_path)
    assert none.returncode == 2 and none.stderr.startswith("error: --preview 0 draws no image.")


# --- the page -------------------------------------------------------------------------------------


class Page(html.parser.HTMLParser):
    """What an HTML page holds; it fails where tags are not closed in turn."""

    VOID = ("meta", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.sections, self.images, self.text = [], set(), [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert not any(name.startswith("on") for name, _ in attrs)
        self.tags.add(tag)
        self.open += [] if tag in self.VOID else [tag]
        self.sections += [value for name, value in attrs if tag == "h2" and name == "id"]
        self.images += [value for name, value in attrs if tag == "img" and name == "src"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


SECTIONS = ["problems", "classes", "images", "duplicates", "near", "samples"]


def written(data, out):
    """The page and the report that are written for DATA."""
    opened = data_given.opened_data(str(data), out=out, writes=True)
    paths = data_files.write(opened, data_check.found_in(opened))
    return Page((out / "report.html").read_text()), files.read_json(out / "report.json"), paths


def test_the_page_has_every_section_and_every_picture(tmp_path):
    page, found, paths = written(planted(tmp_path / "photos"), tmp_path / "out")
    names = ["report.html", "report.json", "samples.png", "near_duplicates.png"]
    assert [path.name for path in paths] == names and page.sections == SECTIONS
    assert found == report(data_given.opened_data(str(tmp_path / "photos")))
    assert page.text.count("1 thing wrong, 6 worth a look") == 1 and "3 pairs" in page.text
    assert len(page.images) == 2 * 8 + (2 + 2 + 2) + 3 * 2  # samples, copies, near ones
    for source in page.images:
        head, _, content = source.partition(",")
        assert head == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(content))) as image:
            image.load()
            assert max(image.size) == data_pictures.SIDE
    assert not page.tags & {"script", "link", "iframe", "object", "a", "form"}
    assert "http" not in (tmp_path / "out/report.html").read_text().replace("http-equiv", "")


def test_bars_are_as_long_as_their_numbers(tmp_path):
    folder = photos(tmp_path / "photos", cats=8, dogs=2)
    written(folder, tmp_path / "out")
    text = (tmp_path / "out/report.html").read_text()
    bars = re.findall(r"width:([0-9.]+)%", text[text.index('id="classes"') :])
    assert [float(width) for width in bars] == [100, 100, 25, 100]


def test_names_from_a_disk_are_shown_and_do_nothing(tmp_path):
    """A class and a file that are HTML, a new line, a byte that is no UTF-8, a bidi override."""
    folder = photos(tmp_path / "phot\udcf6s<u>", others=0)
    label = "<script>alert(1)<" + chr(0x202E)
    odd = [label, "a&b\nwrong: 99\x1b[31m", "caf\udce9 'x' \"y\""]
    for seed, name in enumerate(odd):
        for at in range(3):
            put(folder / "train" / name / f"<b>{at}\n{at}.png", images.photo(seed=100 + seed))
    page, found, _ = written(folder, tmp_path / "out")
    assert set(found["classes"]) == {"cats", "dogs", *odd[:2]}
    (wrong,) = [p["detail"] for p in found["problems"] if p["wrong"]]
    assert repr(os.fsencode(odd[2])) in wrong and wrong in page.text
    assert not page.tags & {"script", "b", "u"} and "phot\\udcf6s<u>" in page.text
    assert (
        "<script>alert(1)<\\u202e" in page.text
        and "a&b\\nwrong: 99\\x1b[31m" in page.text
        and "<b>0\\n0.png" in page.text
    )
    done = lowlabel("data-check", folder, cwd=tmp_path)
    assert done.returncode == 2 and not done.stderr and done.stdout.startswith("phot\\udcf6s<u>")
    assert not any(bad in done.stdout for bad in ("\x1b", "\nwrong: 99", chr(0x202E)))
    again = lowlabel("data-check", folder, "--json", cwd=tmp_path)
    assert json.loads(again.stdout) == found


def test_many_problems_are_folded_and_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(data_html, "LISTED", 5)
    folder = photos(tmp_path / "photos", cats=20)
    for path in sorted((folder / "train/cats").iterdir())[:12]:
        path.write_bytes(b"no")
    page, found, _ = written(folder, tmp_path / "out")
    assert kinds(found)["unreadable"] == 12
    assert page.text.count("it is not a") == 5 and "and 7 more in report.json" in page.text


def tree(folder):
    """path -> (content, mode, time of change) of everything below a folder and of itself."""
    return {
        str(path): (path.read_bytes() if path.is_file() else b"", *path.stat()[:1], path.stat()[8])
        for path in [folder, *folder.rglob("*")]
    }


def test_the_data_is_never_written_to(tmp_path):
    folder = planted(tmp_path / "photos")
    places = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for place in places:
        place.chmod(0o555)  # root may write all the same: the comparison tells
    before = tree(folder)
    try:
        done = lowlabel("data-check", "photos", "--html", "--json", cwd=tmp_path)
        again = lowlabel("data-check", "photos", "--out", "photos/train/x", cwd=tmp_path)
        inside = lowlabel("data-check", ".", "--html", cwd=folder)
    finally:
        after = tree(folder)
        for place in places:
            place.chmod(0o755)
    assert done.returncode == 2 and json.loads(done.stdout) and after == before
    assert again.returncode == 2 and "is in 'photos', where the data is" in again.stderr
    assert inside.returncode == 2 and "give another folder: --out=DIR." in inside.stderr
    out = tmp_path / "data-check/photos"
    assert {p.name for p in out.iterdir()} == {Path(p).name for p in done.stderr.split()[1:]}


def test_a_table_beside_its_images_is_data_too(tmp_path):
    path = table(tmp_path, ["a,cat", "b,dog"])
    with pytest.raises(UserError, match="where the data is"):
        data_given.opened_data(str(path), out=tmp_path / "out", writes=True)
    assert data_given.opened_data(str(path), out=tmp_path / "out").source


def test_the_second_time_no_file_is_looked_at_again(tmp_path, monkeypatch):
    folder, looked = photos(tmp_path / "photos"), []
    look = inspection.look
    monkeypatch.setattr(inspection, "look", lambda *given: looked.append(given) or look(*given))
    first = report(data_given.opened_data(str(folder)))
    assert len(looked) == 28
    assert report(data_given.opened_data(str(folder))) == first and len(looked) == 28


def test_a_folder_is_reported_without_jax(tmp_path):
    photos(tmp_path / "photos")
    done = lowlabel("data-check", "photos", "--html", cwd=tmp_path, python=("-X", "importtime"))
    assert done.returncode == 0 and (tmp_path / "data-check/photos/report.html").exists()
    assert not re.search(r"\| +(jax(lib)?|tensorflow)$", done.stderr, re.M)


def test_an_archive_is_unpacked_and_stdout_stays_json(tmp_path):
    folder = photos(tmp_path / "photos", cats=3, dogs=2, others=1)
    shutil.make_archive(str(tmp_path / "packed"), "zip", folder)
    done = lowlabel("data-check", "packed.zip", "--json", cwd=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["splits"]["train"]["n"] == 5
    assert done.stderr.startswith("unpacking ")


def test_real_photos_have_the_pair_that_they_have(tmp_path):
    """Found once by eye: four puppies are in the set twice, not saved alike."""
    folder = DATA / "cats_dogs"
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}: set LOWLABEL_TEST_DATA")
    found = report(data_given.opened_data(f"{folder}:validation=,test=validation"))
    pairs = [sorted(pair["images"]) for pair in found["near_duplicates"]]
    assert pairs == [["train/dogs/dog.180.jpg", "train/dogs/dog.74.jpg"]]
    assert not found["duplicates"] and not data_check.is_wrong(found)


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
        [
            data_pictures.Panel(rng.integers(0, 256, (8, 8, c), np.uint8), ["some words"])
            for _ in range(5)
        ]
        for c in [1, 3, 1, 3, 1, 3, 1][:count]
    ]
    drawn = np.asarray(data_pictures.draw("title", ["a", "b", "c", "d", "e"], rows))
    assert drawn.shape[1] // (5 * data_pictures.SIDE) == (2 if count == 7 else 1)  # blocks
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
    assert data_pictures.enlarged(np.zeros((900, 600, 3), np.uint8)).size == (224, 336)
    assert data_pictures.enlarged(np.zeros((28, 14, 1), np.uint8)).size == (84, 168)


def test_captions_are_broken_where_the_panel_ends():
    lines = data_pictures.wrapped(["flip", "shear_x 0.27 and then brightness 0.5"])
    assert lines[0] == "flip" and len(lines) == 3 and max(map(len, lines)) <= data_pictures.LETTERS
    widest = max(data_pictures.font(12).getlength(line) for line in [*lines, "m" * 15])
    assert widest <= data_pictures.SIDE + data_pictures.GAP
