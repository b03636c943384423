"""Crops: where they lie, how often, and pixels averaged as the definition says."""

import random
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from lowlabel_jax.configuration import keys
from lowlabel_jax.images import crops
from lowlabel_jax.images.crops import Box, Fit, box, fit, resized
from tests.images import photo

CROPS = ("centre", "random", "random_resized", "stretch")
RESAMPLES = ("area", "bilinear", "bicubic", "lanczos")


def how(size=8, crop="centre", margin=0, smallest=0.08, resample="area", channels=3):
    """A Fit, changed where a test says so."""
    return Fit(size, crop, margin, smallest, resample, channels)


def area_by_hand(image, size):
    """The mean over what each new pixel covers, in fractions, halves rounded up."""
    height, width, channels = image.shape

    def overlaps(length):
        step = Fraction(length, size)
        return [
            [max(Fraction(0), min((i + 1) * step, j + 1) - max(i * step, j)) for j in range(length)]
            for i in range(size)
        ]

    tall, wide = overlaps(height), overlaps(width)
    out = np.empty((size, size, channels), np.uint8)
    for i, j, c in np.ndindex(*out.shape):
        pairs = ((y, x) for y in range(height) for x in range(width) if tall[i][y] and wide[j][x])
        total = sum(tall[i][y] * wide[j][x] * int(image[y, x, c]) for y, x in pairs)
        out[i, j, c] = int(total * size * size / (height * width) + Fraction(1, 2))
    return out


@pytest.mark.parametrize(
    "height, width, size",
    [(9, 9, 4), (7, 11, 5), (12, 12, 7), (3, 5, 8), (1, 1, 3), (1, 40, 4), (5, 5, 5), (13, 2, 3)],
)
def test_area_is_the_exact_mean(height, width, size):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    np.testing.assert_array_equal(resized(image, size, "area"), area_by_hand(image, size))


def test_area_rounds_halves_up():
    image = np.array([[[0], [1]], [[1], [0]]], np.uint8)
    assert resized(image, 1, "area") == 1
    assert resized(image + 2, 1, "area") == 3
    assert resized(np.array([[[0], [1]], [[0], [0]]], np.uint8), 1, "area") == 0


def test_area_of_whole_factors_is_pillows_box():
    image = photo(96, 144)
    found = resized(image, 24, "area").astype(int)
    box_filter = Image.fromarray(image).resize((24, 24), Image.Resampling.BOX)
    assert np.abs(found - np.asarray(box_filter)).max() <= 1


def test_area_neither_overflows_nor_depends_on_its_blocks(monkeypatch):
    large = np.full((3000, 3003, 1), 255, np.uint8)  # 255 x its pixels is over 2**31
    large[:, :300] = 0
    found = resized(large, 3, "area")[..., 0]
    left = round(255 * (1 - 300 / 1001))
    assert found.tolist() == [[left, 255, 255]] * 3
    whole = resized(photo(50, 70), 16, "area")
    monkeypatch.setattr(crops, "BLOCK", 333)
    np.testing.assert_array_equal(resized(photo(50, 70), 16, "area"), whole)


@pytest.mark.parametrize("resample", RESAMPLES[1:])
def test_the_others_are_pillows_antialiased_ones(resample):
    image = photo(60, 90)
    wanted = Image.fromarray(image).resize((20, 20), Image.Resampling[resample.upper()])
    np.testing.assert_array_equal(resized(image, 20, resample), np.asarray(wanted))
    grey = resized(image[..., :1], 20, resample)
    np.testing.assert_array_equal(grey[..., 0], np.asarray(wanted)[..., 0])


@pytest.mark.parametrize("resample", RESAMPLES)
@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (700, 1), (5, 6), (40, 60)])
def test_images_of_any_size_come_out_in_one(shape, crop, resample):
    for channels in (1, 3):
        image = np.full((*shape, channels), 77, np.uint8)
        how_to = how(16, crop, margin=10, resample=resample, channels=channels)
        for draw in (None, np.random.default_rng(0)):
            found = fit(image, how_to, draw)
            assert found.shape == how_to.shape and found.dtype == np.uint8
            assert (found == 77).all()


def test_the_fixed_crops():
    assert box(120, 200, how(margin=10)) == Box(10, 50, 100, 100)  # S2's: min(h, w) - 2 x margin
    assert box(120, 200, how(crop="random", margin=10)) == Box(10, 50, 100, 100)
    assert box(256, 300, how(crop="random_resized", margin=10)) == Box(16, 38, 224, 224)
    assert box(120, 200, how(crop="stretch", margin=10)) == Box(0, 0, 120, 200)
    assert box(21, 200, how(margin=10)) == Box(10, 99, 1, 1)
    assert box(20, 200, how(margin=10)) == Box(0, 90, 20, 20)  # the margin would leave nothing
    assert box(1, 5000, how(crop="random_resized")) == Box(0, 2499, 1, 1)


def test_a_crop_shows_its_own_pixels_and_no_others():
    image = np.full((60, 80, 3), 255, np.uint8)
    image[10:50, 20:60] = 0
    for resample in RESAMPLES:
        assert not fit(image, how(16, margin=10, resample=resample)).any()
        assert fit(image, how(16, margin=9, resample=resample)).any()
    corner = np.arange(60 * 80 * 3, dtype=np.uint8).reshape(60, 80, 3)
    np.testing.assert_array_equal(fit(corner, how(40, margin=10)), corner[10:50, 20:60])


def test_stretch_shows_the_whole_image_out_of_proportion():
    image = np.zeros((10, 40, 3), np.uint8)
    image[:, 20:] = 255
    found = fit(image, how(8, "stretch"))
    assert not found[:, :4].any() and (found[:, 4:] == 255).all()


def test_a_random_crop_is_anywhere_with_the_same_chance():
    draw, how_to = np.random.default_rng(0), how(crop="random", margin=2)
    boxes = [box(9, 12, how_to, draw) for _ in range(8000)]
    assert {(b.height, b.width) for b in boxes} == {(5, 5)}
    counts = np.zeros((5, 8))
    for top, left, *_ in boxes:
        counts[top, left] += 1
    assert stats.chisquare(counts.ravel()).pvalue > 0.001


def drawn_by_hand(rng, height, width, smallest):
    """RandomResizedCrop of arXiv:1409.4842 in Python's own random numbers: (share, ratio)."""
    while True:
        area = rng.uniform(smallest, 1) * height * width
        ratio = 2 ** rng.uniform(-np.log2(4 / 3), np.log2(4 / 3))
        wide, tall = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if wide <= width and tall <= height:
            return wide * tall / (height * width), wide / tall


@pytest.mark.parametrize("smallest", [0.08, 0.5])
def test_random_resized_draws_shares_and_shapes_as_published(smallest):
    draw, rng = np.random.default_rng(1), random.Random(2)
    how_to = how(crop="random_resized", smallest=smallest)
    boxes = [box(400, 500, how_to, draw) for _ in range(4000)]
    wanted = [drawn_by_hand(rng, 400, 500, smallest) for _ in range(4000)]
    shares = [b.height * b.width / 200_000 for b in boxes]
    ratios = [b.width / b.height for b in boxes]
    assert stats.ks_2samp(shares, [share for share, _ in wanted]).pvalue > 0.001
    assert stats.ks_2samp(ratios, [ratio for _, ratio in wanted]).pvalue > 0.001
    assert min(shares) > smallest * 0.98
    places = [b.top / (400 - b.height) for b in boxes if b.height < 300]
    assert stats.kstest(places, "uniform").pvalue > 0.001
    assert all(0 <= b.top <= 400 - b.height and 0 <= b.left <= 500 - b.width for b in boxes)


def test_random_resized_never_takes_nothing():
    draw, how_to = np.random.default_rng(0), how(crop="random_resized", smallest=0.0)
    assert all(min(box(2, 2, how_to, draw)[2:]) > 0 for _ in range(500))


def test_random_resized_takes_the_centre_where_no_shape_fits():
    draw = np.random.default_rng(0)
    assert box(10, 5000, how(crop="random_resized"), draw) == Box(0, 2495, 9, 9)


@pytest.mark.parametrize("crop", CROPS)
def test_a_seed_says_the_crop(crop):
    image, how_to = photo(60, 90), how(16, crop, margin=5)

    def drawn(seed):
        return fit(image, how_to, np.random.default_rng(seed))

    np.testing.assert_array_equal(drawn(3), drawn(3))
    different = any((drawn(seed) != drawn(3)).any() for seed in range(4, 8))
    assert different == how_to.varied == (crop in ("random", "random_resized"))
    assert how_to.varied or (drawn(3) == fit(image, how_to)).all()


def test_a_fit_is_named_as_in_the_config():
    names = {key.path.removeprefix("image.") for key in keys.KEYS if key.path.startswith("image.")}
    assert set(Fit._fields) <= names
    rules = {key.path: key.rule for key in keys.KEYS}
    assert all(f'"{crop}"' in rules["image.crop"] for crop in CROPS)
    assert all(f'"{resample}"' in rules["image.resample"] for resample in RESAMPLES)
    assert how(8, channels=1).shape == (8, 8, 1)
