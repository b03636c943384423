"""Food-101's layout: its lists are followed line by line, and what they get wrong has its line."""

import os
from pathlib import Path

import numpy as np
import pytest

from lowlabel_jax.configuration import keys
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data.source import BadData
from lowlabel_jax.sources.food101 import food101, list_food101
from tests import images

ROOT = Path(__file__).parent.parent
REAL = Path(os.environ.get("LOWLABEL_TEST_DATA", ROOT.parent / "shared" / "data"))
TRAIN, TEST = "pie/1\nsoup/2\npie/3\n", "soup/4\npie/5\n"
LISTS = {
    "train": TRAIN,
    "test": TEST,
    "classes": "soup\npie\n",
    "labels": "Onion soup\nApple pie\n",
}


def image(**changed):
    """config["image"], small."""
    return {**keys.base().image.to_dict(), "size": 8, "cache": False, **changed}


def layout(root, photos=False, **lists):
    """The layout with five images; None leaves a list out."""
    for seed, name in enumerate((TRAIN + TEST).split()):
        path = root / "images" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        images.good(path, seed) if photos else path.touch()
    (root / "meta").mkdir()
    for name, text in {**LISTS, **lists}.items():
        if text is not None:
            (root / "meta" / f"{name}.txt").write_bytes(text.encode())
    return root


def listed(root, sets=("train", "test"), **lists):
    return list_food101(layout(root, **lists), *sets)


def test_lists_say_the_sets_and_the_numbers_of_the_classes(tmp_path):
    found = listed(tmp_path)
    assert found.class_names == ("Onion soup", "Apple pie") and not found.problems
    assert found.paths == {
        "train": ["images/pie/1.jpg", "images/soup/2.jpg", "images/pie/3.jpg"],
        "test": ["images/soup/4.jpg", "images/pie/5.jpg"],
    }
    labels = {name: label.tolist() for name, label in found.labels.items()}
    assert labels == {"train": [1, 0, 1], "test": [0, 1]}
    assert found.labels["train"].dtype == np.int32


@pytest.mark.parametrize(
    "changed",
    [
        {name: text.replace("\n", "\r\n") for name, text in LISTS.items()},
        {name: "\ufeff" + text for name, text in LISTS.items()},
        {name: f"\n{text.rstrip()}  " for name, text in LISTS.items()},
    ],
)
def test_lists_are_read_as_editors_write_them(tmp_path, changed):
    found = listed(tmp_path, **changed)
    assert found.class_names == ("Onion soup", "Apple pie") and not found.problems
    assert [len(found.paths[name]) for name in ("train", "test")] == [3, 2]


def test_other_lists_can_be_the_sets_and_there_need_be_no_test_set(tmp_path):
    found = listed(tmp_path, ("few", ""), few=TEST)
    assert set(found.paths) == {"train"}
    assert found.paths["train"] == ["images/soup/4.jpg", "images/pie/5.jpg"]
    assert [p.kind for p in found.problems] == ["files without a line"]


def test_without_names_for_people_classes_are_called_as_their_folders(tmp_path):
    found = listed(tmp_path, labels=None)
    assert found.class_names == ("soup", "pie")
    assert [(p.path, p.wrong) for p in found.problems] == [("meta/labels.txt", False)]


def test_the_images_are_those_of_the_lines(tmp_path):
    source = food101(path=str(layout(tmp_path, photos=True)), image=image())
    assert source.names["test"] == ["images/soup/4.jpg", "images/pie/5.jpg"]
    got = source.read("test", np.arange(2)).mean((1, 2, 3))
    wanted = [images.photo(seed=seed).mean() for seed in (3, 4)]
    assert np.abs(got - wanted).max() < 12  # the central square of each


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"train": None}, "there is no meta/train.txt in"),
        ({"test": None}, "there is no meta/test.txt in"),
        ({"classes": None}, "there is no meta/classes.txt in"),
        ({"train": None, "classes": None}, "2 problems"),
        ({"labels": "One\n"}, "meta/labels.txt has 1 names, 1 different ones, for the 2 classes"),
        ({"labels": "One\nOne\n"}, "2 names, 1 different ones, for the 2 classes"),
        ({"classes": "soup\npie\nsoup\n"}, "meta/classes.txt has 'soup' twice"),
    ],
)
def test_a_list_that_is_missing_or_does_not_fit_is_named(tmp_path, changed, message):
    with pytest.raises(UserError, match=message) as caught:
        food101(path=str(layout(tmp_path, **changed)), image=image())
    assert str(tmp_path) in caught.value.message and len(caught.value.hint.split()) > 3


def test_images_that_are_missing_and_lists_that_are_no_text_are_named(tmp_path):
    layout(tmp_path)
    (tmp_path / "images").rename(tmp_path / "pictures")
    with pytest.raises(UserError, match="there is no images/ in") as caught:
        food101(path=str(tmp_path), image=image())
    assert "--config.source.path" in caught.value.hint
    (tmp_path / "meta/classes.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "pictures").rename(tmp_path / "images")
    with pytest.raises(UserError, match="meta/classes.txt is not UTF-8"):
        food101(path=str(tmp_path), image=image())
    with pytest.raises(UserError, match="source 'food101' has no path"):
        food101(image=image())


@pytest.mark.parametrize(
    "changed, path, line, kind, said, wrong",
    [
        ({"train": TRAIN + "pei/1\n"}, "meta/train.txt", 4, "unknown class", "mean 'pie'?", 1),
        ({"test": TEST + "\npie/9\n"}, "meta/test.txt", 4, "missing file", "images/pie/9", 1),
        ({"test": TEST + "pie/1\n"}, "meta/test.txt", 3, "in two sets", "'pie/1' is in train", 1),
        ({"test": TEST + "pie/5\n"}, "meta/test.txt", 3, "line left out", "'pie/5' was there", 0),
        ({"train": TRAIN + "pie\n"}, "meta/train.txt", 4, "unsafe name", "is not CLASS/ID", 1),
        ({"train": TRAIN + "pie/../../x\n"}, "meta/train.txt", 4, "unsafe name", "'..'", 1),
        ({"train": TRAIN + "/etc/passwd\n"}, "meta/train.txt", 4, "unsafe name", "absolute", 1),
        ({"test": "pie/5\n"}, None, None, "classes differ", "train has 'soup', which test has", 1),
        ({"test": "pie/5\n"}, "images", None, "files without a line", "'images/soup/4.jpg'", 0),
        (
            {"classes": "soup\npie\nant\n", "labels": "a\nb\nc\n"},
            *(None, None, "classes differ", "meta/classes.txt has 'ant', which train has not", 1),
        ),
        (
            {"train": "pie/1\n", "test": "pie/5\n", "classes": "pie\n", "labels": "a\n"},
            *(None, None, "one class only", "'pie'", 1),
        ),
    ],
)  # fmt: skip
def test_a_line_that_is_wrong_is_named(tmp_path, changed, path, line, kind, said, wrong):
    found = [p for p in listed(tmp_path, **changed).problems if p.kind == kind]
    assert [(p.path, p.line, p.wrong) for p in found] == [(path, line, bool(wrong))]
    assert said in found[0].detail
    if wrong:
        with pytest.raises(BadData) as caught:
            food101(path=str(tmp_path), image=image())
        place = f"{path} line {line}: " if line else kind
        assert place in caught.value.message and said in caught.value.message
        assert str(tmp_path) in caught.value.hint and len(caught.value.hint.split()) > 8


def test_a_check_leaves_out_lines_that_are_wrong(tmp_path):
    found = listed(tmp_path, train=TRAIN + "soup/9\n", test=TEST + "pie/1\nant/1\n")
    assert [len(found.paths[name]) for name in ("train", "test")] == [3, 2]
    assert [p.kind for p in found.problems] == ["missing file", "unknown class", "in two sets"]


def test_the_ten_classes_of_food_are_read():
    if not (REAL / "food10").is_dir():
        pytest.skip(f"{REAL / 'food10'} is not there: set LOWLABEL_TEST_DATA")
    source = food101(path=str(REAL / "food10"), image=image(size=32))
    counts = {name: np.bincount(label).tolist() for name, label in source.labels.items()}
    assert counts == {"train": [180] * 10, "test": [60] * 10} and not source.problems
    assert source.class_names[:2] == ("Apple pie", "Baby back ribs")
    first = (REAL / "food10" / "meta" / "train.txt").read_text().split()[0]
    assert source.names["train"][0] == f"images/{first}.jpg"
    assert source.read("train", np.array([0, 1799])).shape == (2, 32, 32, 3)
