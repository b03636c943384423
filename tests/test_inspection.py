"""Inspection: every file looked at once, remembered, and nothing written beside the images."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lowlabel_jax.images import inspection
from lowlabel_jax.images.decoding import decode
from lowlabel_jax.images.inspection import cores, dhash, inspect, many
from tests import images


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Where records are kept: apart from other tests', and from the images."""
    monkeypatch.setenv("LOWLABEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "inspections"


@pytest.fixture
def root(tmp_path):
    """A folder for images."""
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def looked_at(monkeypatch):
    """The files opened from now on."""
    opened, whole = [], inspection.load

    def load(file, *rest):
        opened.append(Path(file.name).name)
        return whole(file, *rest)

    monkeypatch.setattr(inspection, "load", load)
    return opened


def tree(folder):
    """Every path below a folder with its size, content and times."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in folder.rglob("*")
    }


def apart(one, other):
    """In how many of 64 bits two difference hashes differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def test_a_record_says_what_the_file_is(root):
    path = images.oriented(root / "a.png", 6)
    (record,) = inspect(root, ["a.png"])
    assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (record.size, record.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert (record.width, record.height) == (40, 60)  # upright; it is stored 60 x 40
    assert (record.mode, record.format, record.problem) == ("RGB", "JPEG", "")
    assert record.dhash == dhash(decode(path, 1)[..., 0])


def test_twenty_kinds_of_broken_files_are_told_from_the_sound_ones(root, monkeypatch):
    monkeypatch.setattr(inspection, "AT_ONCE", 7)
    sound = images.twenty_broken(root)
    assert sum(not good for good in sound.values()) >= 20
    before = tree(root)
    records = dict(zip(sound, inspect(root, list(sound)), strict=True))
    assert {path: not record.problem for path, record in records.items()} == sound
    for path, record in records.items():
        assert record.sha256 == hashlib.sha256((root / path).read_bytes()).hexdigest()
        assert bool(record.dhash) == bool(record.width) == bool(record.format) == sound[path]
        part = images.BROKEN.get(Path(path).name, ("", ""))[1]
        assert part in record.problem
    assert tree(root) == before


@pytest.mark.timeout(60)
def test_what_is_not_a_file_is_said_and_nothing_hangs(root):
    (root / "folder.jpg").mkdir()
    os.mkfifo(root / "pipe.jpg")
    (root / "broken.jpg").symlink_to(root / "away.jpg")
    (root / "loop.jpg").symlink_to(root / "loop.jpg")
    images.good(root / "real.jpg")
    (root / "link.jpg").symlink_to(root / "real.jpg")
    names = [
        "none.jpg",
        "folder.jpg",
        "pipe.jpg",
        "broken.jpg",
        "loop.jpg",
        "nul\0.jpg",
        "link.jpg",
    ]
    names.append("n" * 300 + ".jpg")
    problems = [record.problem for record in inspect(root, names)]
    assert problems[:4] == [
        "there is no such file",
        "it is not a regular file",
        "it is not a regular file",
        "it is a link to nothing",
    ]
    assert "symbolic links" in problems[4] and "NUL" in problems[5] and problems[6] == ""
    assert "too long" in problems[7]


def test_a_file_that_may_not_be_read_is_said_and_asked_again(root, monkeypatch):
    images.good(root / "a.jpg")

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(inspection, "open", refused, raising=False)
        assert inspect(root, ["a.jpg"])[0].problem == "Permission denied"
    assert inspect(root, ["a.jpg"])[0].problem == ""


def test_files_are_looked_at_once(root, monkeypatch):
    for number in range(6):
        images.good(root / f"{number}.png", number)
    names = [f"{number}.png" for number in range(6)]
    opened = looked_at(monkeypatch)
    first = inspect(root, names[:5])
    assert sorted(opened) == names[:5]
    assert inspect(root, names)[:5] == first and opened[5:] == ["5.png"]
    assert inspect(root, names[::-1])[1:] == first[::-1] and len(opened) == 6
    assert inspect(root / ".." / "root", names)[:5] == first and len(opened) == 6


def test_changed_files_are_looked_at_again(root, monkeypatch):
    names = ["size.png", "time.png", "same.png"]
    for name in names:
        images.good(root / name)
    before = inspect(root, names)
    opened = looked_at(monkeypatch)
    stat = (root / "size.png").stat()
    images.good(root / "size.png", seed=1)
    os.utime(root / "size.png", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.utime(root / "time.png", ns=(0, 1))
    after = inspect(root, names)
    assert sorted(opened) == ["size.png", "time.png"]
    assert after[0].sha256 != before[0].sha256 and after[1].mtime_ns == 1
    assert after[2] == before[2]


def test_files_without_a_date_are_remembered_and_missing_ones_are_not(root, cache, monkeypatch):
    os.utime(images.good(root / "old.png"), ns=(0, 0))
    inspect(root, ["old.png", "none.png"])
    (kept,) = cache.iterdir()
    assert list(json.loads(kept.read_bytes())) == ["old.png"]
    opened = looked_at(monkeypatch)
    inspect(root, ["old.png"])
    assert not opened


def test_an_interruption_loses_nothing_that_was_seen(root, monkeypatch):
    for number in range(3):
        images.good(root / f"{number}.png", number)
    names = ["0.png", "1.png", "2.png"]

    def stopped(file, *_):
        if file.name.endswith("2.png"):
            raise KeyboardInterrupt
        return whole(file)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        whole = inspection.load
        patch.setattr(inspection, "load", stopped)
        inspect(root, names)
    opened = looked_at(monkeypatch)
    assert not any(record.problem for record in inspect(root, names))
    assert opened == ["2.png"]


def test_the_cap_is_part_of_what_was_looked_at(root):
    images.good(root / "a.png")
    assert inspect(root, ["a.png"], 0.001)[0].problem
    assert not inspect(root, ["a.png"])[0].problem
    assert inspect(root, ["a.png"], 0.001)[0].problem


@pytest.mark.parametrize(
    "rubbish", [b"", b"{", b"[1, 2]", b"null", b'{"a.png": 3}', b'{"a.png": [1, 2]', b"\xff\xfe"]
)
def test_records_that_cannot_be_read_are_made_again(root, cache, monkeypatch, rubbish):
    images.good(root / "a.png")
    first = inspect(root, ["a.png"])
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(rubbish)
    opened = looked_at(monkeypatch)
    assert inspect(root, ["a.png"]) == first and opened == ["a.png"]
    assert kept.read_bytes() == whole and json.loads(whole)["a.png"] == list(first[0])


def test_a_cache_that_cannot_be_written_is_said_and_no_more(root, cache, capsys):
    images.good(root / "a.png")
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    assert not inspect(root, ["a.png"])[0].problem
    assert "cannot be written" in capsys.readouterr().err


def test_names_that_are_not_even_text_are_remembered(root, monkeypatch):
    names = ["猫\n.png", os.fsdecode(b"\xff\xfe.png")]
    for name in names:
        images.saved(root / name, images.photo(), "PNG")
    first = inspect(root, names)
    opened = looked_at(monkeypatch)
    assert inspect(root, names) == first and not opened
    assert not any(record.problem for record in first)


def test_pictures_that_look_alike_have_hashes_that_are_alike(tmp_path):
    picture = Image.fromarray(images.photo(200, 300, seed=5))
    hashes = [dhash(np.asarray(picture.convert("L")))]
    images.saved(tmp_path / "again.jpg", picture, quality=40)
    hashes.append(dhash(decode(tmp_path / "again.jpg", 1)[..., 0]))
    hashes.append(dhash(np.asarray(picture.convert("L").resize((75, 50)))))
    noise = np.random.default_rng(0).normal(0, 40, (200, 300, 3))
    hashes.append(dhash(np.clip(picture + noise, 0, 255).astype(np.uint8)[..., 1]))
    hashes.append(dhash(np.asarray(picture)[..., 1]))
    assert apart(*hashes[3:]) <= 4
    other = Image.fromarray(images.photo(200, 300, seed=6)).convert("L")
    assert apart(hashes[0], hashes[1]) <= 4 and apart(hashes[0], hashes[2]) <= 4
    assert apart(hashes[0], dhash(np.asarray(other))) > 12


def test_a_hash_says_where_it_gets_brighter():
    ramp = np.repeat(np.arange(0, 180, 2, np.uint8)[None], 80, axis=0)
    assert dhash(ramp) == "f" * 16 and dhash(ramp[:, ::-1]) == "0" * 16
    half = np.where(np.arange(80)[:, None] < 40, ramp, ramp[:, ::-1])
    assert dhash(half) == "f" * 8 + "0" * 8
    assert len(dhash(np.zeros((1, 1), np.uint8))) == 16


@pytest.mark.parametrize("n", [0, 1, 3, 4, 1000])
def test_every_place_is_worked_on_once(n):
    done = np.zeros(n, int)

    def work(place):
        done[place] += 1

    many(work, n)
    assert (done == 1).all()


def test_several_threads_work_at_once_and_few_places_need_one():
    here = set()
    many(lambda _: here.add(threading.get_ident()), 3)
    assert here == {threading.get_ident()}
    if cores() == 1:
        pytest.skip("one core: nothing to do at once")
    both = threading.Barrier(2, timeout=20)
    many(lambda place: both.wait() if place < 2 else None, 4)


def test_a_failure_is_raised_and_ends_the_work():
    done = []

    def work(place):
        if place == 10:
            raise KeyError("the eleventh")
        done.append(place)

    with pytest.raises(KeyError, match="eleventh"):
        many(work, 100_000)
    assert len(done) < 50_000


def test_a_failure_of_a_helping_thread_is_raised_too():
    if cores() == 1:
        pytest.skip("one core: no thread helps")
    me, helped, done = threading.get_ident(), threading.Event(), []

    def work(place):
        if threading.get_ident() != me:
            helped.set()
            raise KeyError("not the caller")
        helped.wait(20)
        time.sleep(0.001)
        done.append(place)

    with pytest.raises(KeyError, match="not the caller"):
        many(work, 1000)
    assert len(done) < 500


@pytest.mark.timeout(60)
def test_work_may_itself_be_of_many():
    done = np.zeros((20, 20), int)

    def row(i):
        many(lambda j: done.__setitem__((i, j), done[i, j] + 1), 20)

    many(row, 20)
    assert (done == 1).all()


FORK = """
import os, threading
from lowlabel_jax.images.inspection import cores, many
many(lambda _: None, 50)
child = os.fork()
both = threading.Barrier(min(2, cores()), timeout=20)
many(lambda place: both.wait() if place < 2 else None, 50)
if not child:
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_process_has_threads_of_its_own():
    run = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.strip() == "7"
