"""Files as a source: sound ones kept, bad ones named and never replaced, decoded once."""

import hashlib
import threading

import numpy as np
import pytest

from lowlabel_jax.configuration.keys import base
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data import feed, splits
from lowlabel_jax.data.source import BadData, image_name
from lowlabel_jax.sources import kept_images
from lowlabel_jax.sources.image_files import Listing, from_files
from tests import images

CLASSES = ("cats", "dogs")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("LOWLABEL_CACHE", str(tmp_path_factory.mktemp("cache")))


def settings(**changes):
    """config["image"] with small images."""
    return {**base().image.to_dict(), "size": 12, **changes}


def listing(root):
    """What lies in root's class folders, as one set."""
    paths = sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())
    labels = np.array([path.startswith("dogs") for path in paths], np.int32)
    return Listing(root, CLASSES, {"train": paths}, {"train": labels})


def photos(root, n=4):
    """A listing of n sound photos of each class."""
    for label in CLASSES:
        (root / label).mkdir(parents=True)
        for i in range(n):
            images.good(root / label / f"{i}.png", seed=i + 10 * (label == "dogs"))
    return listing(root)


def everything(root):
    """A hash over the names, contents and times of all that lies in a folder."""
    there = root.rglob("*")
    found = [(str(p), p.stat().st_mtime_ns, p.is_file() and p.read_bytes()) for p in there]
    return hashlib.sha256(repr(sorted(found)).encode()).hexdigest()


def test_images_are_read_by_set_and_place(tmp_path):
    source = from_files(photos(tmp_path), settings())
    assert source.image_shape == (12, 12, 3) and source.class_names == CLASSES
    assert source.labels["train"].tolist() == [0] * 4 + [1] * 4
    assert image_name(source, "train", 5) == "dogs/1.png"
    all_of_them = source.read("train", np.arange(8))
    assert all_of_them.shape == (8, 12, 12, 3) and all_of_them.dtype == np.uint8
    np.testing.assert_array_equal(source.read("train", np.array([6, 2])), all_of_them[[6, 2]])
    assert len({image.tobytes() for image in all_of_them}) == 8


def test_twenty_kinds_of_broken_files_give_one_report(tmp_path):
    sound = images.twenty_broken(tmp_path / "data")
    bad = sorted(path for path, good in sound.items() if not good)
    with pytest.raises(BadData, match="unreadable") as error:
        from_files(listing(tmp_path / "data"), settings())
    assert sorted(problem.path for problem in error.value.problems) == bad
    assert all(problem.detail for problem in error.value.problems)
    assert f"{len(bad)} x unreadable" in error.value.message
    assert error.value.message.count("\n") <= 12
    assert "image.on_bad=skip" in error.value.hint


def test_skipped_files_are_out_before_the_split_and_the_others_stay_as_they_are(tmp_path, capsys):
    sound = images.twenty_broken(tmp_path / "data")
    good = sorted(path for path, is_good in sound.items() if is_good)
    before = everything(tmp_path / "data")
    source = from_files(listing(tmp_path / "data"), settings(on_bad="skip"))
    assert sorted(source.names["train"]) == good and len(source.labels["train"]) == len(good)
    bad = len(sound) - len(good)
    assert f"{bad} of {len(sound)} images cannot be read" in capsys.readouterr().err
    assert len(source.problems) == bad and not any(p.wrong for p in source.problems)
    # An image is what it would be in a folder without the broken ones: no neighbour, no grey.
    alone = listing(tmp_path / "data")
    keep = [path in good for path in alone.paths["train"]]
    alone = alone._replace(
        paths={"train": [p for p, k in zip(alone.paths["train"], keep, strict=True) if k]},
        labels={"train": alone.labels["train"][np.array(keep)]},
    )
    clean = from_files(alone, settings())
    rows = np.arange(len(good))
    np.testing.assert_array_equal(source.read("train", rows), clean.read("train", rows))
    assert source.fingerprint == clean.fingerprint
    assert everything(tmp_path / "data") == before


def test_a_report_raises_nothing_and_has_all(tmp_path):
    sound = images.twenty_broken(tmp_path)
    source = from_files(listing(tmp_path), settings(on_bad="report"))
    bad = [path for path, good in sound.items() if not good]
    assert sorted(p.path for p in source.problems) == sorted(bad)
    assert all(problem.wrong for problem in source.problems)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: images.good(root / "cats" / "0.png", seed=99),
        lambda root: images.good(root / "cats" / "new.png"),
        lambda root: (root / "cats" / "0.png").rename(root / "cats" / "00.png"),
        lambda root: (root / "cats" / "0.png").rename(root / "dogs" / "new.png"),
    ],
    ids=["edited", "added", "renamed", "another class"],
)
def test_the_fingerprint_knows_files_names_and_labels(tmp_path, change):
    before = from_files(photos(tmp_path), settings()).fingerprint
    assert from_files(listing(tmp_path), settings()).fingerprint == before
    change(tmp_path)
    assert from_files(listing(tmp_path), settings()).fingerprint != before


def test_the_fingerprint_knows_the_crop(tmp_path):
    there = photos(tmp_path)
    changes = [{}, {"size": 13}, {"crop": "stretch"}, {"margin": 2}, {"resample": "bicubic"}]
    assert len({from_files(there, settings(**c)).fingerprint for c in changes}) == len(changes)


def test_an_image_that_goes_bad_in_mid_training_is_named(tmp_path):
    source = from_files(photos(tmp_path), settings())
    (tmp_path / "dogs" / "2.png").write_bytes(b"<html>")
    said = r"dogs/2\.png \(train\[6\], dogs\) cannot be read"
    with pytest.raises(UserError, match=said) as error:
        source.read("train", np.arange(8))
    assert error.value.code == 2 and "put it back" in error.value.hint
    (tmp_path / "dogs" / "2.png").unlink()
    with pytest.raises(UserError, match=r"dogs/2\.png"):
        source.read("train", np.array([6]))


def test_kept_images_are_those_that_are_read_and_lie_in_the_cache(tmp_path):
    there = photos(tmp_path / "data")
    before = everything(tmp_path / "data")
    source, plain = from_files(there, settings()), from_files(there, settings(cache=False))
    rows = np.array([7, 0, 3])
    source.keep("train")
    np.testing.assert_array_equal(source.read("train", rows), plain.read("train", rows))
    kept = list((kept_images.files.cache_directory() / "images").rglob("*"))
    assert [path.name for path in kept if path.is_file()] == ["train.npy"]
    assert everything(tmp_path / "data") == before
    assert plain.keep is None


def test_kept_images_are_decoded_once(tmp_path):
    there = photos(tmp_path)
    from_files(there, settings()).keep("train")
    again = from_files(there, settings())
    wanted = from_files(there, settings(cache=False)).read("train", np.arange(8))
    again.keep("train")
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"")
    np.testing.assert_array_equal(again.read("train", np.arange(8)), wanted)


def test_what_would_fill_the_disk_is_not_kept(tmp_path, monkeypatch, capsys):
    source = from_files(photos(tmp_path), settings())
    monkeypatch.setattr(kept_images, "LARGEST", 8 * 12 * 12 * 3 - 1)
    source.keep("train")
    assert "are not kept" in capsys.readouterr().err
    assert not list((kept_images.files.cache_directory() / "images").rglob("*.npy"))
    assert source.read("train", np.arange(2)).shape == (2, 12, 12, 3)


def test_a_decoding_that_is_cut_short_leaves_nothing_that_looks_whole(tmp_path):
    source = from_files(photos(tmp_path), settings())
    (tmp_path / "dogs" / "3.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"dogs/3\.png"):
        source.keep("train")
    assert not [p for p in kept_images.files.cache_directory().rglob("*.npy*")]


@pytest.mark.parametrize("crop", ["centre", "random", "random_resized", "stretch"])
def test_resident_and_streamed_feeds_see_the_same_images(tmp_path, crop):
    source = from_files(photos(tmp_path), settings(crop=crop))
    split = splits.Split(np.arange(8), np.arange(8), np.arange(0))
    one, two = (
        feed.open_feed(source, split, {"labelled": 5}, 0, mode="streamed", threads=threads)
        for threads in (1, 3)
    )
    for step in (0, 1, 2, 6, 1):
        ours, theirs = one.batch(step)["labelled"], two.batch(step)["labelled"]
        np.testing.assert_array_equal(ours["index"], theirs["index"])
        np.testing.assert_array_equal(ours["image"], theirs["image"])
        if not source.draw:
            still = feed.open_feed(source, split, {"labelled": 5}, 0)
            rows = still.batch(step)["labelled"]["index"]
            np.testing.assert_array_equal(ours["image"], still.resident["labelled"]["image"][rows])
    assert (source.draw is not None) == crop.startswith("random")
    if source.draw:  # the same place in the order, another crop an epoch later
        label = np.concatenate([one.batch(s)["labelled"]["index"] for s in range(16)])
        seen = np.concatenate([one.batch(s)["labelled"]["image"] for s in range(16)])
        assert len({x.tobytes() for x in seen[label == 3]}) > 5
    one.close(), two.close()


def test_streaming_keeps_memory_flat(tmp_path):
    """What is held is a few batches, not what has been seen: counted by numpy's own allocations."""
    import tracemalloc

    source = from_files(photos(tmp_path), settings(size=64, crop="random"))
    split = splits.Split(np.arange(8), np.arange(8), np.arange(0))
    made = feed.open_feed(source, split, {"labelled": 16}, 0, mode="streamed", threads=2)
    batch = 16 * 64 * 64 * 3
    made.batch(0)
    tracemalloc.start()
    for step in range(1, 60):
        made.batch(step)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    made.close()
    assert held < 12 * batch and peak < 20 * batch < 59 * batch


def test_a_closed_feed_leaves_no_thread_at_work(tmp_path):
    source = from_files(photos(tmp_path), settings(crop="random"))
    split = splits.Split(np.arange(8), np.arange(8), np.arange(0))
    made = feed.open_feed(source, split, {"labelled": 4}, 0, mode="streamed", threads=2)
    before = set(threading.enumerate())
    made.batch(0)
    begun = set(threading.enumerate()) - before
    assert begun
    made.close()
    for thread in begun:
        if "images" not in thread.name:  # those that decode are shared and stay
            thread.join(10)
            assert not thread.is_alive(), thread.name
