"""Near duplicates: what is the same picture to people is found, what is another one is not."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from lowlabel_jax.data import check
from lowlabel_jax.data.source import from_arrays
from lowlabel_jax.images import near
from lowlabel_jax.images.inspection import dhash

DATA = Path(os.environ.get("LOWLABEL_TEST_DATA") or Path(__file__).parents[2] / "shared/data")
WORD = st.integers(0, 2**64 - 1)


def bits(a, b):
    return (int(a) ^ int(b)).bit_count()


def turned(word):
    """The dHash of the mirrored picture, bit by bit, as its docstring says."""
    rows = [f"{word:064b}"[at : at + 8] for at in range(0, 64, 8)]
    return int("".join("10"[int(bit)] for row in rows for bit in reversed(row)), 2)


def brute(words):
    """{(first, second): least distance} of all pairs within near.BITS, mirrored ones too."""
    found = {}
    for j in range(len(words)):
        for i in range(j):
            far = min(bits(words[i], words[j]), bits(words[i], turned(words[j])))
            if far <= near.BITS:
                found[i, j] = far
    return found


def as_dict(close):
    pairs = zip(close.first.tolist(), close.second.tolist(), close.bits.tolist(), strict=True)
    return {(a, b): far for a, b, far in pairs}


# --- hashes ---------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    st.lists(WORD, min_size=1, max_size=12),
    st.lists(
        st.tuples(st.integers(0, 11), st.lists(st.integers(0, 63), max_size=6), st.booleans()),
        max_size=12,
    ),
)
def test_all_pairs_are_found_that_brute_force_finds(words, planted):
    for origin, flipped, mirrored in planted:
        word = words[origin % len(words)]
        for bit in flipped:
            word ^= 1 << bit
        words.append(turned(word) if mirrored else word)
    close = near.close(np.array(words, np.uint64))
    assert as_dict(close) == brute(words) and close.complete


@given(st.lists(WORD, max_size=5))
def test_mirroring_is_its_own_inverse_and_keeps_distances(words):
    hashes = np.array(words, np.uint64)
    assert near.mirrored(hashes).tolist() == [turned(word) for word in words]
    assert (near.mirrored(near.mirrored(hashes)) == hashes).all()


def test_the_mirrored_hash_is_that_of_the_mirrored_picture():
    grey = np.random.default_rng(0).permutation(72).astype(np.uint8).reshape(8, 9) * 3  # no ties
    here, there = (np.array([int(dhash(g), 16)], np.uint64) for g in (grey, grey[:, ::-1].copy()))
    assert near.mirrored(here) == there and here != there


def test_of_equal_hashes_a_few_stand_for_all():
    """All of them would be 4.5 million pairs."""
    close = near.close(np.zeros(3_000, np.uint64))
    assert not close.complete and len(close.first) == near.EQUAL * (near.EQUAL - 1) // 2


def test_a_crowd_of_like_hashes_is_cut_short_and_said(monkeypatch):
    monkeypatch.setattr(near, "MOST", 2_000)
    one, other = (np.random.default_rng(k).integers(0, 64, 3_000).astype(np.uint64) for k in (0, 1))
    words = np.uint64(1) << one ^ np.uint64(1) << other
    close = near.close(words)
    assert not close.complete and len(close.first) == 2_000
    pairs = zip(close.first, close.second, close.bits, strict=True)
    assert all(a < b and far == bits(words[a], words[b]) <= near.BITS for a, b, far in pairs)


def test_an_image_with_too_many_neighbours_is_said(monkeypatch):
    """Half of the bits are equal in all, the others in none: nothing near, but much to compare."""
    words = np.random.default_rng(0).integers(0, 2**32, 50).astype(np.uint64)
    assert near.close(words).complete and not len(near.close(words).first)
    monkeypatch.setattr(near, "WINDOW", 20)
    assert not near.close(words).complete


@pytest.mark.parametrize("n", [0, 1])
def test_no_pairs_of_none_or_one(n):
    close = near.close(np.arange(n, dtype=np.uint64))
    assert len(close.first) == 0 and close.complete


# --- pixels ---------------------------------------------------------------------------------------


def test_alike_is_the_correlation_of_the_better_side():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (3, 32, 32), np.uint8)
    small[1] = small[0][:, ::-1] // 2 + 9
    flat = np.full((1, 32, 32), 7, np.uint8)
    small = np.concatenate([small, flat, flat + 1])
    value, mirrored = near.alike(small, np.array([0, 0, 3, 3]), np.array([1, 2, 4, 0]))
    for at, (a, b) in enumerate([(0, 1), (0, 2)]):
        other = small[b].astype(float)
        both = [np.corrcoef(small[a].ravel(), x.ravel())[0, 1] for x in (other, other[:, ::-1])]
        assert value[at] == pytest.approx(max(both), abs=1e-5) and mirrored[at] == (
            both[1] > both[0]
        )
    assert value[2:].tolist() == [0, 0] and value[0] > 0.999 and mirrored[0]


def test_thumbnails_are_means_of_grey():
    image = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)
    grey = np.asarray(Image.fromarray(image[1]).convert("L"), float)
    wanted = grey.reshape(32, 2, 32, 3).mean((1, 3))
    assert abs(near.thumbnails(image)[1] - wanted).max() <= 1
    assert (near.thumbnails(image[..., :1])[0] == near.thumbnails(image[..., :1])[0]).all()


# --- photos ---------------------------------------------------------------------------------------


def crops():
    """12 pieces of two photos, no two of the same place, as Pillow images."""
    from sklearn.datasets import load_sample_images

    found = []
    for photo in load_sample_images().images:
        for top in (0, 213):
            found += [photo[top : top + 213, left : left + 213] for left in (0, 213, 426)]
    return [Image.fromarray(piece) for piece in found]


def photos():
    """Some of the real photos of cats and dogs, where they are."""
    folder = DATA / "cats_dogs" / "train"
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}: set LOWLABEL_TEST_DATA")
    found = []
    for path in sorted(folder.rglob("*.jpg"))[::50]:
        with Image.open(path) as image:
            found.append(image.convert("RGB"))
    return found


def encoded_anew(image):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    return Image.open(buffer)


def half(image):
    return image.resize((image.width // 2, image.height // 2))


CHANGES = {  # name -> (change, whether it mirrors, least share found of crops and of photos)
    "saved as JPEG again": (encoded_anew, False, {"crops": 0.9, "photos": 1.0}),
    "half as large": (half, False, {"crops": 1.0, "photos": 1.0}),
    # Where a picture is out of focus, fields are equally bright: their mirrored bits are a guess.
    "mirrored": (ImageOps.mirror, True, {"crops": 0.8, "photos": 1.0}),
    "all three": (
        lambda image: encoded_anew(half(ImageOps.mirror(image))),
        True,
        {"crops": 0.6, "photos": 0.95},
    ),
}


def near_ones(images):
    """{(first, second): (correlation, mirrored)} of Pillow images of any size."""
    grey = [np.asarray(image.convert("L")) for image in images]
    small = np.concatenate([near.thumbnails(g[None, ..., None]) for g in grey])
    hashes = np.array([int(dhash(g), 16) for g in grey], np.uint64)
    scans = {
        "train": check.Scan(
            [bytes([i % 256, i // 256]) for i in range(len(images))], hashes, *[None] * 3
        )
    }
    found, complete = check.near_copies(scans, lambda name, rows: small[rows])
    assert complete
    return {(n.first[1], n.second[1]): (n.correlation, n.mirrored) for n in found}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("pieces", [crops, photos])
def test_changed_copies_of_photos_are_found(pieces, change):
    images, (make, is_mirrored, least) = pieces(), CHANGES[change]
    n = len(images)
    found = near_ones([*images, *map(make, images)])
    copies = [found[i, i + n] for i in range(n) if (i, i + n) in found]
    assert len(copies) >= least[pieces.__name__] * n
    assert all(mirrored == is_mirrored for _, mirrored in copies)
    others = {pair for pair in found if pair[0] != pair[1] - n}
    assert not others


@pytest.mark.parametrize("pieces", [crops, photos])
def test_unrelated_photos_are_not(pieces):
    assert near_ones(pieces()) == {}


def test_hashes_alone_do_not_decide():
    """Two pictures that grow brighter in the same fields, but not alike."""
    ramp = np.tile(np.arange(0, 64, 2, dtype=np.uint8), (32, 1))
    steep = ramp.copy()
    steep[:, -1] = 255
    steep[16:, :-1] += 90
    assert dhash(ramp) == dhash(steep)
    assert near_ones([Image.fromarray(ramp), Image.fromarray(steep)]) == {}


def test_equal_images_are_no_near_duplicates_of_each_other():
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), np.uint8)
    images[1] = images[0]
    images[2] = images[0] // 2
    data = from_arrays("ab", {"train": (images, np.zeros(3, int))})
    scans = {"train": check.scan(data, "train")}
    small = near.thumbnails(images)
    found, _ = check.near_copies(scans, lambda name, rows: small[rows])
    pairs = {(pair.first, pair.second) for pair in found}
    assert pairs == {(("train", i), ("train", 2)) for i in (0, 1)}
