"""Class folders: which image belongs to which class and set, and what is said when they do not."""

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lowlabel_jax.configuration import keys
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data.source import BadData
from lowlabel_jax.sources import image_paths
from lowlabel_jax.sources.folder import folder, list_folder
from tests import images

ROOT = Path(__file__).parent.parent
REAL = Path(os.environ.get("LOWLABEL_TEST_DATA", ROOT.parent / "shared" / "data"))
SETS = ("train", "validation", "test", "unlabelled")
ODD = [name for name in images.SOUND if not name.isascii() or not name[:-4].isidentifier()]


def tree(root, *paths):
    """Empty files, and folders where a path ends in "/"."""
    for path in paths:
        if path.endswith("/"):
            (root / path).mkdir(parents=True)
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
    return root


def listed(root, **options):
    return list_folder(root, {name: name for name in SETS} | options)


def image(**changed):
    """config["image"], small."""
    return {**keys.base().image.to_dict(), "size": 8, **changed}


def photos(root, *paths):
    """Sound images at these paths, each another one."""
    for seed, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        images.good(root / path, seed)
    return root


def tree_hash(root):
    """Of every name, mode, time of change and byte below a folder."""
    digest = hashlib.sha256()
    for path in sorted([root, *root.rglob("*")]):
        of = path.lstat()
        digest.update(f"{path} {of.st_mode} {of.st_mtime_ns}".encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def kinds(listing):
    """Each kind of problem, and whether it is wrong."""
    return {problem.kind: problem.wrong for problem in listing.problems}


PAIR = ("train/cats/1.jpg", "train/dogs/2.jpg")


def test_folders_are_sets_and_classes_and_the_unlabelled_join_the_training_set(tmp_path):
    tree(tmp_path, *PAIR, "train/cats/deep/er/3.PNG", "validation/dogs/4.jpg")
    tree(tmp_path, "validation/cats/5.jpeg", "unlabelled/6.jpg", "unlabelled/any/depth/7.webp")
    found = listed(tmp_path)
    assert found.class_names == ("cats", "dogs") and not found.problems
    assert found.root == tmp_path and set(found.paths) == {"train", "validation"}
    assert dict(zip(found.paths["train"], found.labels["train"].tolist(), strict=True)) == {
        "train/cats/1.jpg": 0,
        "train/cats/deep/er/3.PNG": 0,
        "train/dogs/2.jpg": 1,
        "unlabelled/6.jpg": -1,
        "unlabelled/any/depth/7.webp": -1,
    }
    assert list(found.paths["validation"]) == ["validation/cats/5.jpeg", "validation/dogs/4.jpg"]
    assert found.labels["validation"].tolist() == [0, 1]
    assert all(label.dtype == np.int32 for label in found.labels.values())


def test_class_folders_alone_are_all_for_training(tmp_path):
    found = listed(tree(tmp_path, "cats/1.jpg", "dogs/2.jpg", "ants/3.jpg", "dogs/more/4.jpg"))
    assert found.class_names == ("ants", "cats", "dogs") and set(found.paths) == {"train"}
    assert found.paths["train"] == ["ants/3.jpg", "cats/1.jpg", "dogs/2.jpg", "dogs/more/4.jpg"]
    assert found.labels["train"].tolist() == [0, 1, 2, 2]


def test_classes_and_files_are_in_the_order_of_code_points(tmp_path):
    names = ["Zebra", "ape", "Äffchen", "10", "9", "éa"]
    tree(tmp_path, *(f"{name}/{file}.jpg" for name in names for file in ("b", "B", "ž", "a")))
    found = listed(tmp_path)
    assert found.class_names == tuple(sorted(names)) == ("10", "9", "Zebra", "ape", "Äffchen", "éa")
    assert found.paths["train"][:4] == ["10/B.jpg", "10/a.jpg", "10/b.jpg", "10/ž.jpg"]


def test_a_published_validation_set_can_be_what_is_measured_at_the_end(tmp_path):
    tree(tmp_path, *PAIR, "validation/cats/3.jpg", "validation/dogs/4.jpg")
    found = listed(tmp_path, test="validation", validation="")
    assert set(found.paths) == {"train", "test"}
    assert found.paths["test"] == ["validation/cats/3.jpg", "validation/dogs/4.jpg"]


def test_a_class_may_be_called_as_a_set_is(tmp_path):
    tree(tmp_path, "train/1.jpg", "bus/2.jpg")
    with pytest.raises(UserError, match="no class folders") as caught:
        listed(tmp_path)
    assert "If 'train' is a class, say so: --config.source.train= (empty)" in caught.value.hint
    assert listed(tmp_path, train="").class_names == ("bus", "train")


def test_sets_can_lie_deeper_and_be_written_with_slashes(tmp_path):
    tree(tmp_path, "a/b/cats/1.jpg", "a/b/dogs/2.jpg", "c/cats/3.jpg", "c/dogs/4.jpg")
    found = listed(tmp_path, train="./a/b/", test="c/")
    assert found.paths == {
        "train": ["a/b/cats/1.jpg", "a/b/dogs/2.jpg"],
        "test": ["c/cats/3.jpg", "c/dogs/4.jpg"],
    }
    assert listed(tmp_path / "c", train=".").paths == {"train": ["cats/3.jpg", "dogs/4.jpg"]}


@pytest.mark.parametrize("name", [f"a{suffix}" for suffix in image_paths.EXTENSIONS])
def test_what_is_called_as_an_image_is_one_in_any_case(tmp_path, name):
    tree(tmp_path, f"cats/{name}", f"dogs/{name.upper()}")
    assert listed(tmp_path).paths["train"] == [f"cats/{name}", f"dogs/{name.upper()}"]


FAULTS = {  # name -> (paths beside PAIR, links, kind, wrong, what of the problem is said)
    "hidden": (
        [
            "train/.ipynb_checkpoints/1.jpg",
            "train/cats/.DS_Store",
            "train/cats/._1.jpg",
            "__MACOSX/train/cats/1.jpg",
            "train/__MACOSX/x.jpg",
            "train/cats/Thumbs.db",
            "train/desktop.ini",
            ".git/1.jpg",
        ],
        {},
        None,
        False,
        [],
    ),
    "empty class": (["train/ants/"], {}, "empty class", True, ["train/ants"]),
    "only hidden": (["train/ants/.1.jpg"], {}, "empty class", True, ["train/ants"]),
    "empty elsewhere": (
        ["test/cats/1.jpg", "test/dogs/"],
        {},
        "empty class",
        True,
        ["test/dogs"],
    ),
    "no image by name": (
        ["train/cats/notes.txt", "train/cats/noextension", "train/dogs/a.jpg.part"],
        {},
        "files left out",
        False,
        ["3 are not", "'train/cats/notes.txt'", "'train/cats/noextension'"],
    ),
    "at the root": (
        ["list.csv", "train/loose.jpg", "8.jpg"],
        {},
        "files left out",
        False,
        ["3 are not", "'list.csv'", "'train/loose.jpg'", "'8.jpg'"],
    ),
    "beside the sets": (
        ["val/cats/3.jpg", "val/dogs/4.jpg"],
        {},
        "folders left out",
        False,
        ["'val'", "--config.source.validation="],
    ),
    "more in test": (
        ["test/cats/3.jpg", "test/dogs/4.jpg", "test/ants/5.jpg"],
        {},
        "classes differ",
        True,
        ["test has 'ants', which train has not"],
    ),
    "less in validation": (
        ["validation/cats/3.jpg"],
        {},
        "classes differ",
        True,
        ["train has 'dogs', which validation has not"],
    ),
    "other in validation": (
        ["validation/Cats/3.jpg", "validation/dogs/4.jpg"],
        {},
        "classes differ",
        True,
        ["validation has 'Cats', which train has not", "train has 'cats', which validation has"],
    ),
    "link outside": (
        [],
        {"train/cats/3.jpg": "/etc/hostname"},
        "link that leads outside",
        False,
        ["train/cats/3.jpg", "'/etc/hostname'", "not followed"],
    ),
    "folder outside": (
        [],
        {"train/cats/deep": "/etc"},
        "link that leads outside",
        False,
        ["train/cats/deep", "'/etc'"],
    ),
    "broken link": (
        [],
        {"train/cats/3.jpg": "nowhere.jpg"},
        "broken link",
        True,
        ["train/cats/3.jpg", "'nowhere.jpg'", "not there"],
    ),
    "loop of links": ([], {"train/cats/a": "b", "train/cats/b": "a"}, "broken link", True, ["'b'"]),
    "loop of folders": (
        ["validation/cats/3.jpg", "validation/dogs/4.jpg"],
        {"train/cats/again": "../..", "train/dogs/again": "../cats", "train/dogs/b": "."},
        "link to what is read already",
        False,
        ["train/cats/again", "'../..'", "train/dogs/again", "'../cats'", "train/dogs/b"],
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_is_odd_below_the_folder_is_said(tmp_path, case):
    paths, links, kind, wrong, said = FAULTS[case]
    tree(tmp_path, *PAIR, *paths)
    for path, target in links.items():
        (tmp_path / path).symlink_to(target)
    found = listed(tmp_path)
    if kind is None:
        assert not found.problems
        return
    assert kinds(found)[kind] is wrong
    text = " ".join(f"{p.path} {p.detail}" for p in found.problems if p.kind == kind)
    assert all(part in text for part in said), text
    if not wrong:
        assert found.paths["train"] == list(PAIR)
        return
    with pytest.raises(BadData) as caught:
        folder(path=str(tmp_path), image=image(cache=False))
    assert kind in caught.value.message and said[0] in caught.value.message
    assert str(tmp_path) in caught.value.hint and len(caught.value.hint.split()) > 8


def test_links_below_the_folder_are_followed_once(tmp_path):
    tree(tmp_path, "store/c/1.jpg", "store/d/2.jpg", "train/ants/3.jpg", "one/4.jpg")
    for path, target in (("cats", "../store/c"), ("dogs", "../store/d"), ("dogs2", "dogs")):
        (tmp_path / "train" / path).symlink_to(target)
    (tmp_path / "train/ants/4.jpg").symlink_to("../../one/4.jpg")
    (tmp_path / "train/ants/5.jpg").symlink_to(tmp_path / "one/4.jpg")  # absolute, yet below
    found = listed(tmp_path)
    assert found.class_names == ("ants", "cats", "dogs")
    assert found.paths["train"] == [
        *("train/ants/3.jpg", "train/ants/4.jpg", "train/ants/5.jpg"),
        *("train/cats/1.jpg", "train/dogs/2.jpg"),
    ]
    assert kinds(found)["link to what is read already"] is False


def test_a_folder_around_one_that_was_followed_is_read_without_it(tmp_path):
    tree(tmp_path, "store/1.jpg", "store/inner/2.jpg", "train/dogs/3.jpg")
    (tmp_path / "train/cats").mkdir()
    (tmp_path / "train/cats/a").symlink_to("../../store/inner")
    (tmp_path / "train/cats/b").symlink_to("../../store")
    paths = listed(tmp_path).paths["train"]
    assert paths == ["train/cats/a/2.jpg", "train/cats/b/1.jpg", "train/dogs/3.jpg"]


def test_a_path_that_is_itself_a_link_is_a_folder_like_others(tmp_path):
    tree(tmp_path / "real", *PAIR)
    (tmp_path / "link").symlink_to("real")
    assert listed(tmp_path / "link").paths["train"] == list(PAIR)


def test_a_pipe_called_as_an_image_is_not_waited_for(tmp_path):
    tree(tmp_path, *PAIR)
    os.mkfifo(tmp_path / "train/cats/3.jpg")
    (tmp_path / "train/cats/4.jpg").symlink_to("3.jpg")
    found = listed(tmp_path)
    assert found.paths["train"] == list(PAIR)
    assert "2 are not" in found.problems[0].detail


def test_a_name_that_is_not_utf8_is_wrong(tmp_path):
    tree(tmp_path, *PAIR)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/train/cats/\xff.jpg")).touch()
    (problem,) = listed(tmp_path).problems
    assert problem.wrong and problem.kind == "name that is not UTF-8"
    assert r"b'\xff.jpg' in 'train/cats'" in problem.detail


def test_a_folder_that_may_not_be_read_is_wrong(tmp_path, monkeypatch):
    tree(tmp_path, *PAIR)
    scan = os.scandir

    def guarded(path):
        if str(path).endswith("cats"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", guarded)
    found = [p for p in listed(tmp_path).problems if p.kind == "unreadable folder"]
    assert [(p.path, p.detail, p.wrong) for p in found] == [
        ("train/cats", "Permission denied", True)
    ]


@pytest.mark.parametrize(
    "paths, options, message, hint",
    [
        ([], {}, "is empty", "PATH/train/CLASS"),
        (["1.jpg", "2.jpg"], {}, "has 2 images but no class folders", "PATH/CLASS"),
        (["a.txt"], {}, "has 1 files but neither images nor class folders", "PATH/CLASS"),
        (["unlabelled/1.jpg"], {}, "'unlabelled' but none to train on, 'train'", "source.unlabell"),
        (["test/cats/1.jpg"], {}, "'test' but none to train on", "--config.source.test= (empty)"),
        (["train/"], {}, "train' is empty", "--config.source.train= (empty)"),
        (["train/1.jpg"], {}, "train' has 1 images but no class folders", "PATH/train/CLASS"),
        (
            PAIR,
            {"test": "train"},
            "sets train and test would share",
            "--config.source.test= (empty)",
        ),
        (PAIR, {"test": "./train/"}, "train and test would share images", "a folder of its own"),
        (PAIR, {"test": "train/cats"}, "train and test would share", "train/cats'"),
        (["a/b/c/1.jpg"], {"train": "a/b", "test": "a"}, "train and test would share", "a/b'"),
        ([*PAIR, "test/cats/1.jpg"], {"train": "."}, "train and test would share", "test= (empty)"),
        (PAIR, {"test": "tset"}, "no folder 'tset' in .* for the set test", "there are: 'train'"),
        ([*PAIR, "val/cats/1.jpg"], {"validation": "vall"}, "Did you mean 'val'", "validation"),
        (PAIR, {"test": "../other"}, "no folder '../other'", "config.source.test"),
    ],
)
def test_a_layout_that_is_none_is_refused_with_what_is_wanted(
    tmp_path, paths, options, message, hint
):
    tree(tmp_path / "root", *paths)
    (tmp_path / "root").mkdir(exist_ok=True)
    with pytest.raises(UserError, match=message) as caught:
        listed(tmp_path / "root", **options)
    said = caught.value.message + caught.value.hint
    assert "root" in said and hint in said


def test_a_set_whose_folder_leads_outside_is_refused(tmp_path):
    tree(tmp_path, "root/train/cats/1.jpg", "root/train/dogs/1.jpg", "other/cats/1.jpg")
    (tmp_path / "root/test").symlink_to("../other")
    for options in ({}, {"test": "../other"}):
        with pytest.raises(UserError, match="set test, .*, leads to .*other', which is not below"):
            listed(tmp_path / "root", **options)


@pytest.mark.parametrize("paths", [["cats/1.jpg"], ["train/cats/1.jpg"], ["x/cats/1", "x/dogs/2"]])
def test_one_class_is_too_few(tmp_path, paths):
    tree(tmp_path, *(f"{path}.jpg" for path in paths))
    with pytest.raises(BadData, match="one class only:\n  '(cats|x)': there is nothing") as caught:
        folder(path=str(tmp_path), image=image())
    assert "set --config.source.path to the folder that holds them" in caught.value.hint


@pytest.mark.parametrize(
    "path, message, hint",
    [
        ("", "source 'folder' has no path", "add --config.source.path=FOLDER"),
        ("cat_dogs", "no folder 'cat_dogs'. Did you mean 'cats_dogs'?", "set --config.source.path"),
        ("nowhere/at/all", "no folder 'nowhere/at/all'", "set --config.source.path"),
        ("a.txt", "'a.txt' is a file, and no archive", "set --config.source.path to the folder"),
    ],
)
def test_a_path_to_nothing_is_named(tmp_path, monkeypatch, path, message, hint):
    tree(tmp_path, "cats_dogs/", "a.txt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        folder(path=path, image=image())
    assert message in caught.value.message and hint in caught.value.hint


def test_a_check_sees_all_that_is_wrong_and_the_rest_of_the_images(tmp_path):
    photos(tmp_path, "train/cats/1.png", "train/dogs/2.png", "test/cats/3.png", "test/ants/4.png")
    tree(tmp_path, "train/empty/")
    source = folder(path=str(tmp_path), image=image(on_bad="report", cache=False))
    assert {p.kind for p in source.problems} == {"empty class", "classes differ"}
    assert source.names["test"] == ["test/cats/3.png"] and source.labels["test"].tolist() == [0]
    with pytest.raises(BadData) as caught:
        folder(path=str(tmp_path), image=image(cache=False))
    assert {p.kind for p in caught.value.problems} == {"empty class", "classes differ"}


def test_odd_names_arrive_as_they_are_and_nothing_is_written_beside_them(tmp_path):
    assert len(ODD) >= 4 and any("\n" in name for name in ODD)
    photos(tmp_path, *(f"{label}/{name}" for label in ("cats", "žluté 猫") for name in ODD))
    for path in (tmp_path, *tmp_path.iterdir()):
        path.chmod(0o555)
    before = tree_hash(tmp_path)
    try:
        source = folder(path=str(tmp_path), image=image())
        assert source.keep
        source.keep("train")
        pictures = source.read("train", np.arange(len(ODD) * 2))
    finally:
        for path in (tmp_path, *tmp_path.iterdir()):
            path.chmod(0o755)
    assert source.names["train"] == [
        f"{label}/{name}" for label in ("cats", "žluté 猫") for name in sorted(ODD)
    ]
    assert pictures.shape == (2 * len(ODD), 8, 8, 3) and pictures.std() > 10
    for path in (tmp_path, *tmp_path.iterdir()):
        path.chmod(0o555)
    after = tree_hash(tmp_path)
    for path in (tmp_path, *tmp_path.iterdir()):
        path.chmod(0o755)
    assert before == after


@pytest.mark.parametrize("top", ["", "photos/"])
def test_an_archive_is_unpacked_once_into_the_cache(tmp_path, monkeypatch, capsys, top):
    monkeypatch.setenv("LOWLABEL_CACHE", str(tmp_path / "cache"))
    photos(tmp_path / "plain", "train/cats/1.png", "train/dogs/2.png")
    (tmp_path / "packed").mkdir()
    made = tmp_path / "packed" / "photos.zip"
    with zipfile.ZipFile(made, "w") as file:
        for path in ("train/cats/1.png", "train/dogs/2.png"):
            file.write(tmp_path / "plain" / path, f"{top}{path}")
        file.writestr("__MACOSX/x", b"")
    source = folder(path=str(made), image=image())
    assert "unpacking" in capsys.readouterr().out
    assert source.fingerprint == folder(path=str(tmp_path / "plain"), image=image()).fingerprint
    sha = hashlib.sha256(made.read_bytes()).hexdigest()
    assert (tmp_path / "cache" / "unpacked" / sha / f"{top}train/cats/1.png").is_file()
    assert [path.name for path in made.parent.iterdir()] == ["photos.zip"]
    folder(path=str(made), image=image())
    assert "unpacking" not in capsys.readouterr().out


def test_cats_and_dogs_are_read():
    if not (REAL / "cats_dogs").is_dir():
        pytest.skip(f"{REAL / 'cats_dogs'} is not there: set LOWLABEL_TEST_DATA")
    before = tree_hash(REAL / "cats_dogs")
    source = folder(path=str(REAL / "cats_dogs"), image=image(size=32), test="validation",
                    validation="")  # fmt: skip
    assert source.class_names == ("cats", "dogs") and not source.problems
    counts = {name: np.bincount(label).tolist() for name, label in source.labels.items()}
    assert counts == {"train": [1000, 1000], "test": [400, 400]}
    assert source.names["test"][0] == "validation/cats/cat.4001.jpg"
    assert source.read("test", np.array([0, 799])).shape == (2, 32, 32, 3)
    assert tree_hash(REAL / "cats_dogs") == before
