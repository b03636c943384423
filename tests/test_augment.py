"""Augmentation against scipy, Pillow and numpy; its chances; and views on 1, 2 and 8 devices."""

import colorsys
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from PIL import Image
from scipy import ndimage, stats

from lowlabel_jax.augment import colour, geometry, photo, views
from lowlabel_jax.augment.flip_shift import flip_shift
from lowlabel_jax.augment.identity import identity
from lowlabel_jax.augment.standard import standard
from lowlabel_jax.core import named, parallel
from lowlabel_jax.core.errors import UserError

KEY = jax.random.key(0)
SHAPES = [(8, 8, 1), (32, 32, 3), (33, 57, 3), (57, 33, 1)]
SCIPY = {
    "nearest": "nearest",
    "reflect": "mirror",
    "wrap": "grid-wrap",
    "constant": "grid-constant",
}
EVERYTHING = dict(flip=True, shift=0.2, rotate=30.0, shear=20.0, zoom=0.3, brightness=0.3,
                  contrast=0.5, gamma=0.4, noise=0.1, cutout=0.4)  # fmt: skip


def noisy(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def waves(shape):
    """Smooth light, soft waves and one hard edge, [h, w, c]."""
    y, x, c = np.ogrid[: shape[0], : shape[1], : shape[2]]
    light = 90 + 60 * np.sin(x / 5 + c) * np.cos(y / 7) + 2.0 * y * (x > shape[1] // 2)
    return np.clip(light + 0 * c, 0, 255).astype(np.uint8)


@functools.cache
def over(augment):
    return jax.jit(jax.vmap(augment, in_axes=(0, None)))


def many(augment, image, n):
    """n variants [n, h, w, c] of one image."""
    return np.asarray(over(augment)(jax.random.split(KEY, n), jnp.asarray(image)))


def assert_evenly(found, variants):
    """Every image found is one of the equally likely variants, and the counts agree with that."""
    index = {v.tobytes(): i for i, v in enumerate(variants)}
    assert len(index) == len(variants), "the variants must differ"
    counts = np.bincount([index[f.tobytes()] for f in found], minlength=len(variants))
    assert stats.chisquare(counts).pvalue > 1e-4, counts


# --- geometry ---

MATRICES = {
    "shift": geometry.shift(1.3, -2.6),
    "rotate": geometry.rotate(33.0),
    "shear": geometry.shear(-17.0),
    "zoom": geometry.zoom(0.6, 1.7),
    "flip": geometry.zoom(1.0, -1.0),
    "all": geometry.compose(geometry.zoom(0.7, -1.2), geometry.shear(15.0), geometry.rotate(-40.0),
                            geometry.shift(3.1, 4.7)),
}  # fmt: skip


@pytest.mark.parametrize("make", [noisy, waves])
@pytest.mark.parametrize("interpolation", geometry.INTERPOLATIONS)
@pytest.mark.parametrize("fill", geometry.FILLS)
def test_warp_agrees_with_scipy(fill, interpolation, make):
    order = {"nearest": 0, "bilinear": 1}[interpolation]
    warp = jax.jit(functools.partial(
        geometry.warp, fill=fill, value=40.0, interpolation=interpolation))  # fmt: skip
    for shape in SHAPES[:3]:
        image = make(shape).astype(np.float32)
        middle = (np.array(shape[:2]) - 1) / 2
        # float32 positions are off by some units in the last place of the longer side, times the
        # steepest slope, 255 a pixel on two axes: 0.03 grey levels for 57 pixels.
        slack = 8 * np.finfo(np.float32).eps * max(shape)
        for name, matrix in MATRICES.items():
            whole = np.asarray(matrix, np.float64)
            turn, offset = whole[:2, :2], whole[:2, 2] + middle - whole[:2, :2] @ middle
            scipy = functools.partial(ndimage.affine_transform, matrix=turn, offset=offset,
                                      order=order, mode=SCIPY[fill], cval=40.0)  # fmt: skip
            want = np.stack([scipy(image[..., c]) for c in range(shape[2])], -1)
            places = np.einsum("ij,jhw->ihw", turn, np.indices(shape[:2])) + offset[:, None, None]
            tie = (np.abs(places % 1 - 0.5) < slack).any(0)[..., None] & (order == 0)
            got = np.where(tie, want, warp(image, matrix))
            assert tie.mean() < 0.6, "most pixels must be compared"
            np.testing.assert_allclose(
                got, want, rtol=0, atol=slack * 510, err_msg=f"{shape} {name}"
            )


@pytest.mark.parametrize("interpolation", geometry.INTERPOLATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_exact_moves_equal_pillow(shape, interpolation):
    image = noisy(shape)
    warp = jax.jit(functools.partial(
        geometry.warp, fill="constant", interpolation=interpolation))  # fmt: skip
    picture = Image.fromarray(image.squeeze())
    moved = picture.transform(picture.size, Image.Transform.AFFINE, (1, 0, -3, 0, 1, 2))
    cases = [
        (geometry.shift(-2.0, 3.0), moved),
        (geometry.zoom(1.0, -1.0), picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
        (geometry.rotate(180.0), picture.transpose(Image.Transpose.ROTATE_180)),
    ]
    if shape[0] == shape[1]:
        cases.append((geometry.rotate(90.0), picture.transpose(Image.Transpose.ROTATE_90)))
    for matrix, want in cases:
        warped = warp(jnp.float32(image), matrix)
        np.testing.assert_array_equal(colour.to_uint8(warped), np.asarray(want).reshape(shape))


def test_shear_moves_rows_by_their_distance_from_the_middle():
    image = jnp.float32(noisy((9, 9, 1)))
    want = np.stack([np.roll(row, i - 4, axis=0) for i, row in enumerate(image)])
    got = geometry.warp(image, geometry.shear(45.0), "wrap", interpolation="nearest")
    np.testing.assert_array_equal(got, want)


def test_zoom_magnifies():
    """Twice as large: the middle 4 of 8 pixels fill the image, each read at quarters."""
    ramp = jnp.tile(jnp.arange(8.0) * 10, (8, 1))[..., None]
    got = geometry.warp(ramp, geometry.zoom(2.0, 2.0))[0, :, 0]
    np.testing.assert_allclose(got, 35 + (np.arange(8) - 3.5) * 5, rtol=1e-6)


def test_compose_acts_from_first_to_last():
    image = jnp.float32(noisy((8, 8, 1)))
    steps = [geometry.rotate(90.0), geometry.shift(0.0, 2.0), geometry.zoom(1.0, -1.0)]
    want = functools.reduce(lambda x, m: geometry.warp(x, m, "wrap"), steps, image)
    got = geometry.warp(image, geometry.compose(*steps), "wrap")
    np.testing.assert_allclose(got, want, rtol=0, atol=0.01)  # 90 degrees in float32: 1e-6 pixels
    halves = geometry.compose(geometry.rotate(20.0), geometry.rotate(-50.0))
    np.testing.assert_allclose(halves, geometry.rotate(-30.0), rtol=0, atol=1e-6)


def test_no_move_is_no_change():
    image = jnp.float32(noisy((33, 57, 3)))
    still = geometry.compose(geometry.zoom(1.0, 1.0), geometry.shear(0.0), geometry.rotate(0.0),
                             geometry.shift(0.0, 0.0))  # fmt: skip
    for fill in geometry.FILLS:
        np.testing.assert_array_equal(geometry.warp(image, still, fill), image)


@pytest.mark.parametrize("shape", [*SHAPES, (1, 2, 1)])
def test_reflect_shift_is_pad_and_crop(shape):
    image, (h, w, _) = noisy(shape), shape
    pad = max(h, w) + 2  # further than the image is large: it is mirrored again and again
    for down, right, turned in [(0, 0, False), (1, -1, True), (-3, 2, True), (pad, -pad, False)]:
        flat = image[:, ::-1] if turned else image
        padded = np.pad(flat, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
        want = padded[pad - down : pad - down + h, pad - right : pad - right + w]
        got = geometry.reflect_shift(jnp.asarray(image), down, right, turned)
        np.testing.assert_array_equal(got, want)


# --- colour ---


@pytest.mark.parametrize("shape", SHAPES)
def test_brightness_and_contrast_equal_numpy(shape):
    image = waves(shape).astype(np.float64)
    for factor in (0.0, 0.4, 1.0, 1.7):
        want = np.clip(image * factor, 0, 255)
        got = colour.brightness(jnp.float32(image), factor)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)
    for power in (0.5, 1.0, 2.0):
        got = colour.gamma(jnp.float32(image), power)
        np.testing.assert_allclose(got, 255 * (image / 255) ** power, rtol=0, atol=1e-2)
    for factor in (0.0, 0.4, 1.0, 3.0):
        want = np.clip(image.mean() + factor * (image - image.mean()), 0, 255)
        got = colour.contrast(jnp.float32(image), factor)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-3)


def test_noise_is_normal_and_fresh_for_every_value():
    grey = np.full((64, 64, 3), 128, np.float32)
    found = np.asarray(colour.noise(KEY, grey, 0.1)) - 128
    assert stats.kstest(found.ravel(), stats.norm(0, 25.5).cdf).pvalue > 1e-4
    assert abs(found.std() / 25.5 - 1) < 5 / np.sqrt(2 * found.size)  # five standard errors
    assert abs(np.corrcoef(found.reshape(-1, 3).T)[0, 1]) < 5 / np.sqrt(64 * 64)


@pytest.mark.parametrize("shape, size, side", [((8, 8, 1), 0.25, 2), ((6, 9, 3), 0.5, 3),
                                               ((8, 8, 1), 0.01, 1)])  # fmt: skip
def test_cutout_centres_anywhere_and_is_cut_at_the_border(shape, size, side):
    image, (h, w, _) = noisy(shape) // 2, shape  # 0..127, so that a hole can be seen
    image[image == 127] = 0
    variants = []
    for y, x in np.ndindex(h, w):
        hole = image.copy()
        top, left = y - side // 2, x - side // 2
        hole[max(top, 0) : top + side, max(left, 0) : left + side] = 127
        variants.append(hole)
    found = many(lambda key, x: colour.cutout(key, x, size), np.float32(image), 20 * h * w)
    assert_evenly(found.astype(np.uint8), variants)
    assert (found[0] == 127).all(-1).sum() <= side**2


def test_rounding_is_to_the_nearest_level_halves_to_even():
    given = jnp.float32([[[-3.0], [0.5], [1.5], [2.5], [99.6], [254.7], [256.0]]])
    np.testing.assert_array_equal(colour.to_uint8(given).ravel(), [0, 0, 2, 2, 100, 255, 255])


# --- standard ---


def assert_even(values):
    """The values lie evenly in -1..1, and near both ends: chances 1e-3, and 4e-5 for 400 values."""
    assert stats.kstest(values, stats.uniform(-1, 2).cdf).pvalue > 1e-3
    assert values.min() < -0.95 and values.max() > 0.95


def measured(option, strength, n=400):
    """[n] or [2n] drawn values of one option over its strength, read from what it does to ramps."""
    y, x = (np.indices((33, 33)) - 16.0) * 7
    ramps = np.stack([y, x, 0 * x], -1) + 128
    found = many(standard(**{option: strength}), ramps.astype(np.uint8), n) - 128.0
    if option == "brightness":
        return found[:, 16, 16, 2] / 128 / strength
    if option == "gamma":
        power = np.log((found[:, 16, 16, 2] + 128) / 255) / np.log(128 / 255)
        return np.log(power) / np.log(1 + strength)
    middle = found[:, 9:24, 9:24, :2].reshape(n, 225, 2) / 7  # no fill is seen there
    places = np.c_[(np.indices((15, 15)) - 7).reshape(2, 225).T, np.ones(225)]
    fit = np.einsum("pk,nkc->ncp", np.linalg.pinv(places), middle)  # [n, 2, 3]: the matrix's rows
    return {
        "shift": lambda: -fit[:, :, 2].ravel() / 33,
        "rotate": lambda: np.degrees(np.arctan2(fit[:, 0, 1], fit[:, 0, 0])),
        "shear": lambda: np.degrees(np.arctan(-fit[:, 1, 0])),
        "zoom": lambda: (1 / fit[:, [0, 1], [0, 1]] - 1).ravel(),
    }[option]() / strength


@pytest.mark.parametrize("option, strength", [("shift", 0.25), ("rotate", 40.0), ("shear", 30.0),
                                              ("zoom", 0.4), ("brightness", 0.4),
                                              ("gamma", 0.6)])  # fmt: skip
def test_strengths_are_drawn_evenly_between_their_bounds(option, strength):
    values = measured(option, strength)
    # Half a grey level of 7 a pixel, all with the worst signs, bends the fit by 0.014: by 0.07 of
    # the strength for the zoom, where it counts 1.4 squared over 0.4, and by less for the others.
    assert np.abs(values).max() < 1.07
    assert_even(values)
    if option in ("shift", "zoom"):  # each axis by itself
        assert abs(np.corrcoef(values.reshape(-1, 2).T)[0, 1]) < 5 / np.sqrt(400)


def test_contrast_is_drawn_evenly_between_its_bounds():
    image = np.full((10, 10, 1), 100, np.uint8)
    image[:, 5:] = 150
    found = many(standard(contrast=0.6), image, 400)[:, 0].squeeze().astype(float)
    values = ((found[:, 9] - found[:, 0]) / 50 - 1) / 0.6
    assert np.abs(values).max() < 1 + 1 / 50 / 0.6
    assert_even(values)


@pytest.mark.parametrize("options", [{}, {"rotate": 1e-6}])
def test_flips_half_of_the_time(options):
    image, n = noisy((8, 8, 1)), 2000
    found = many(standard(flip=True, **options), image, n)
    turned = (found == image[:, ::-1]).all((1, 2, 3))
    assert (turned | (found == image).all((1, 2, 3))).all()
    assert abs(turned.sum() - n / 2) < 5 * np.sqrt(n) / 2  # five standard deviations


def test_nothing_asked_is_nothing_done():
    image = jnp.asarray(noisy((33, 57, 3)))
    assert standard(fill="wrap", value=3.0)(KEY, image) is image
    assert identity()(KEY, image) is image
    gathers = {name: str(jax.make_jaxpr(standard(**options))(KEY, image)).count("gather[")
               for name, options in {"flat": {k: EVERYTHING[k] for k in
                                     ("flip", "brightness", "contrast", "gamma", "cutout")},
                                     "moved": EVERYTHING}.items()}  # fmt: skip
    assert gathers == {"flat": 0, "moved": 4}


def test_turning_one_change_on_leaves_the_others():
    grey = np.full((8, 8, 1), 128, np.uint8)
    alone = many(standard(brightness=0.3), grey, 50)
    np.testing.assert_array_equal(
        alone, many(standard(brightness=0.3, flip=True, rotate=20.0), grey, 50)
    )
    assert len(np.unique(alone[:, 0, 0])) > 25 and (alone == alone[:, :1, :1]).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_shape_and_type_stay(shape):
    for augment in (standard(**EVERYTHING), flip_shift(), identity()):
        found = many(augment, noisy(shape), 3)
        assert found.dtype == np.uint8 and found.shape == (3, *shape)


@pytest.mark.parametrize("fill", geometry.FILLS)
def test_only_the_constant_fill_brings_new_levels(fill):
    moved = standard(fill=fill, value=9.0, shift=0.4, rotate=180.0, zoom=0.5)
    for level in (0, 255):
        found = many(moved, np.full((9, 13, 1), level, np.uint8), 40)
        assert {level, found.min(), found.max()} == ({level, 9} if fill == "constant" else {level})


@pytest.mark.parametrize("options, words", [
    ({"fill": "edge"}, "nearest, reflect, wrap, constant"),
    ({"interpolation": "cubic"}, "bilinear, nearest"),
    ({"shear": 90.0}, "below 90"),
])  # fmt: skip
def test_unknown_choices_are_refused_at_once(options, words):
    with pytest.raises(UserError, match=words):
        standard(**options)


def test_parts_are_found_by_name():
    there = {"standard", "flip_shift", "identity", "photo", "fixmatch_ra", "usb_ra",
             "torchvision_ra", "ctaugment", "clusters"}  # fmt: skip
    assert set(named.parts("augment")) == there
    assert named.options("augment", "flip_shift")["shift"].default == 0.125
    wrong = {"name": "standard", "rotate": -1.0, "zoom": 1.0, "fill": 3, "flip": 1}
    assert len(list(named.problems("augment", wrong, "weak"))) == 4
    image = jnp.asarray(noisy((8, 8, 1)))
    built = named.build("augment", {"name": "standard", "rotate": 30.0})
    np.testing.assert_array_equal(built(KEY, image), standard(rotate=30.0)(KEY, image))


@pytest.mark.parametrize("shape, most, n", [((8, 8, 1), 1, 500), ((32, 32, 3), 4, 3000)])
def test_flip_shift_is_the_papers(shape, most, n):
    image, (h, w, _) = noisy(shape), shape
    variants = []
    for flat in (image, image[:, ::-1]):
        padded = np.pad(flat, ((most, most), (most, most), (0, 0)), mode="reflect")
        variants += [padded[y : y + h, x : x + w] for y, x in np.ndindex((2 * most + 1,) * 2)]
    assert_evenly(many(flip_shift(), image, n), variants)
    half = len(variants) // 2
    assert_evenly(many(flip_shift(flip=False), image, n), variants[:half])


# --- photographs ---


@pytest.mark.parametrize("turn", [-0.5, -0.13, 0.0, 0.21, 0.5])
def test_hue_turns_as_colorsys_does(turn):
    image = noisy((7, 11, 3))
    image[0] = image[0, :, :1]  # greys have no hue
    image[1, :, 2] = image[1, :, 0]  # two channels are the largest, or the smallest, together
    want = np.empty(image.shape)
    for place in np.ndindex(7, 11):
        h, s, v = colorsys.rgb_to_hsv(*image[place] / 255)
        want[place] = np.multiply(colorsys.hsv_to_rgb((h + turn) % 1, s, v), 255)
    got = colour.hue(jnp.float32(image), turn)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-3)  # the hue's float32, times 255 x 6
    single = jnp.float32(image[..., :1])
    np.testing.assert_array_equal(colour.hue(single, turn), single)


def test_saturation_and_contrast_are_torchvisions():
    """adjust_saturation and adjust_contrast in numpy, without their rounding."""
    image = waves((9, 14, 3)).astype(np.float64)
    light = image @ [0.299, 0.587, 0.114]
    for factor in (0.0, 0.4, 1.0, 1.8):
        want = np.clip(factor * image + (1 - factor) * light[..., None], 0, 255)
        np.testing.assert_allclose(colour.saturation(jnp.float32(image), factor), want, atol=1e-3)
        want = np.clip(factor * image + (1 - factor) * light.round().mean(), 0, 255)
        x = jnp.float32(image)
        np.testing.assert_allclose(colour.contrast(x, factor, colour.luma(x)), want, atol=1e-3)


@pytest.mark.parametrize("shape", [(8, 8, 1), (17, 31, 3)])
def test_blur_is_scipys(shape):
    image = noisy(shape)
    for deviation, reach in [(0.1, 2), (0.8, 3), (2.0, 6)]:
        want = np.stack([ndimage.gaussian_filter(image[..., c].astype(float), deviation,
                         mode="mirror", radius=reach) for c in range(shape[2])], -1)  # fmt: skip
        got = colour.blur(jnp.float32(image), deviation, reach)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-3)


def test_a_box_is_enlarged_as_pillow_does():
    """Pillow rounds to grey levels twice, once for each axis: at most one level."""
    image = waves((33, 57, 3))
    for top, left, tall, wide in [(3, 7, 20, 31), (0, 0, 33, 57), (10, 2, 9, 40), (32, 56, 1, 1)]:
        corners = (left, top, left + wide, top + tall)
        want = Image.fromarray(image).resize((57, 33), Image.Resampling.BILINEAR, corners)
        box = jnp.float32(jnp.array([top, left, tall, wide]))
        got = colour.to_uint8(geometry.warp(jnp.float32(image), photo.enlarging(box, 33, 57)))
        assert np.abs(np.asarray(got).astype(int) - np.asarray(want)).max() <= 1


def test_boxes_are_drawn_as_torchvision_draws_them():
    """Against RandomResizedCrop.get_params in numpy: areas and shapes have the same laws."""
    h, w, least, ratio, n = 40, 60, 0.2, 4 / 3, 3000
    boxes = jax.vmap(lambda key: photo.draw_box(key, h, w, least, ratio))(jax.random.split(KEY, n))
    top, left, tall, wide = np.asarray(boxes).T
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + tall <= h).all() and (left + wide <= w).all() and (boxes == boxes.round()).all()
    rng, found = np.random.default_rng(0), []
    while len(found) < n:
        area, shape = h * w * rng.uniform(least, 1), np.exp(rng.uniform(-1, 1) * np.log(ratio))
        size = round(np.sqrt(area / shape)), round(np.sqrt(area * shape))
        if size[0] <= h and size[1] <= w:
            found.append((size[0] * size[1], size[1] / size[0]))
    for mine, theirs in zip((tall * wide, wide / tall), np.transpose(found), strict=True):
        assert stats.ks_2samp(mine, theirs).pvalue > 1e-3
    for place, room in ((top, h - tall), (left, w - wide)):
        inside = (place + rng.uniform(size=n)) / (room + 1)
        assert stats.kstest(inside, stats.uniform.cdf).pvalue > 1e-3
    # Of a strip no box of such a shape and area fits: the middle, as wide as is allowed.
    assert photo.draw_box(KEY, 10, 100, 0.9, ratio).tolist() == [0, 43, 10, 13]


def test_each_change_of_a_photograph_is_made_as_described():
    image = waves((12, 16, 3))
    made = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.3, "blur": 0.1,
            "grey": 0.5, "crop": 0.3, "flip": True}  # fmt: skip
    for option, strength in made.items():
        alone = photo.photo(**{"flip": False, "jitter": 0.5, option: strength})
        found = many(alone, image, 60)
        said = [alone.describe(key, jnp.asarray(image)) for key in jax.random.split(KEY, 60)]
        assert {w.split()[0] for words in said for w in words} == {option}
        changed = np.array([bool(words) for words in said])
        seen = (found != image).any((1, 2, 3))
        if option == "blur":  # a small deviation may change less than half a level everywhere
            changed &= seen
            assert changed.sum() > 10
        np.testing.assert_array_equal(seen, changed, err_msg=option)
        assert 10 < changed.sum() < (60 if option == "crop" else 50)
    still = many(photo.photo(flip=False), image, 2)
    np.testing.assert_array_equal(still, np.stack([image] * 2))
    with pytest.raises(UserError, match="0.5"):
        photo.photo(hue=0.6)


def test_what_standard_and_flip_shift_say_is_what_they_do():
    image = jnp.asarray(noisy((9, 12, 1)))
    for key in jax.random.split(KEY, 12):
        weak, words = flip_shift(shift=0.25), flip_shift(shift=0.25).describe(key, image)
        down, right = next((map(int, w.split()[1:]) for w in words if "shift" in w), (0, 0))
        want = geometry.reflect_shift(image, down, right, "flip" in words)
        np.testing.assert_array_equal(weak(key, image), want)
    whole = standard(**EVERYTHING)
    names = [words.split()[0] for words in whole.describe(KEY, image) if words != "flip"]
    assert names == ["zoom", "shear", "rotate", "shift", "brightness", "contrast", "gamma",
                     "noise", "cutout"]  # fmt: skip
    grey = jnp.full((4, 4, 1), 100, jnp.uint8)
    for key in jax.random.split(KEY, 8):
        (words,) = standard(brightness=0.4).describe(key, grey)
        found = standard(brightness=0.4)(key, grey)[0, 0, 0]
        assert abs(float(words.split()[1]) * 100 - int(found)) <= 1.01


# --- views ---

RECIPES = {"weak": flip_shift(), "strong": standard(**{**EVERYTHING, "noise": 0.0})}
LIGHT = {"weak": flip_shift(), "strong": standard(flip=True, brightness=0.5)}  # quick to compile


def batch_of(shape, b=16, m=40, same=False):
    def stream(n):
        return np.repeat(noisy((1, *shape)), n, 0) if same else noisy((n, *shape), seed=n)

    return {"labelled": {"image": stream(b), "label": np.arange(b, dtype=np.int32) % 10,
                         "index": np.arange(b, dtype=np.int32)},
            "unlabelled": {"image": stream(m), "index": np.arange(m, dtype=np.int32)[::-1],
                           "label": np.full(m, -1, np.int32)}}  # fmt: skip


def views_of(names, batch, recipes, key=KEY):
    return jax.jit(lambda batch, key: views.make_views(names, batch, recipes, key))(batch, key)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [pytest.param((8, 8, 1), marks=pytest.mark.slow), (32, 32, 3)])
def test_views_are_the_same_on_any_number_of_devices(shape):
    batch, names = batch_of(shape), ["labelled", "strong"]

    def step(key, batch):
        return jax.tree.map(parallel.gather, views.make_views(names, batch, RECIPES, key))

    alone = views_of(names, batch, RECIPES)
    for devices in (1, 2, 8):
        spread = parallel.mapped(step, devices)(KEY, parallel.shard(batch, devices))
        jax.tree.map(np.testing.assert_array_equal, spread, alone)


def test_each_view_and_each_place_has_its_own_chances():
    """On 16 copies of one image: alike pictures are no more frequent than chance allows."""
    found = views_of(list(views.VIEWS), batch_of((32, 32, 3), m=16, same=True), LIGHT)
    for names, variants in [(("labelled", "weak", "weak_2"), 162),  # 9 x 9 moves, flipped or not
                            (("labelled_strong", "strong", "strong_2"), 2 * 255)]:  # fmt: skip
        pictures = np.stack([np.asarray(found[name]).reshape(16, -1) for name in names])
        for one, other in [(0, 1), (0, 2), (1, 2)]:
            same = (pictures[one] == pictures[other]).all(-1).sum()
            assert stats.binom(16, 1 / variants).sf(same - 1) > 1e-4
        for picture in pictures:
            pairs = 16 * 15 / 2
            met = 16 - len(np.unique(picture, axis=0))
            assert stats.poisson(pairs / variants).sf(met - 1) > 1e-4


def test_views_are_a_function_of_the_key():
    batch = batch_of((8, 8, 1))
    one, again = (views_of(["strong"], batch, LIGHT)["strong"] for _ in range(2))
    np.testing.assert_array_equal(one, again)
    other = views_of(["strong"], batch, LIGHT, jax.random.key(1))["strong"]
    assert (np.asarray(one) != other).any((1, 2, 3)).mean() > 0.9


def test_a_view_does_not_change_when_others_are_added():
    batch = batch_of((8, 8, 1))
    few = views_of(["strong", "labelled"], batch, LIGHT)
    every = views_of(["weak_2", "labelled", "strong"], batch, LIGHT)
    for name in few:
        np.testing.assert_array_equal(few[name], every[name])
    # The numbers in the table are part of the keys: another order would change every run.
    first = ["labelled", "labelled_strong", "weak", "weak_2", "strong", "strong_2"]
    assert list(views.VIEWS)[:6] == first


def test_views_come_from_their_stream_and_recipe():
    batch = batch_of((8, 8, 1))
    marks = {"weak": lambda key, image: image, "strong": lambda key, image: 255 - image}
    made = views.make_views(list(views.VIEWS), batch, marks, KEY)
    for name in ("labelled", "labelled_strong", "weak", "weak_2", "strong", "strong_2"):
        stream = "labelled" if name.startswith("labelled") else "unlabelled"
        plain = batch[stream]["image"].astype(np.float64) / 127.5 - 1
        want = -plain if "strong" in name else plain
        np.testing.assert_allclose(made[name], want, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(made["label"], batch["labelled"]["label"])
    np.testing.assert_array_equal(made["index"], batch["unlabelled"]["index"])
    np.testing.assert_array_equal(made["truth"], batch["unlabelled"]["label"])


def test_labelled_views_need_no_unlabelled_stream():
    batch = {"labelled": batch_of((8, 8, 1))["labelled"]}
    assert set(views_of(["labelled"], batch, LIGHT)) == {"labelled", "label", "labelled_index"}
    assert views.streams(["labelled", "labelled_strong"]) == {"labelled"}
    assert views.streams(["labelled", "strong"]) == {"labelled", "unlabelled"}
    with pytest.raises(ValueError, match="weak_2"):
        views.make_views(["weak_3"], batch, LIGHT, KEY)


def test_normalise_reaches_both_ends_and_no_further():
    pixels = np.arange(256, dtype=np.uint8).reshape(2, 8, 16, 1)
    for normalise in (views.normalise, jax.jit(views.normalise)):
        found = np.asarray(normalise(jnp.asarray(pixels)))
        assert found.dtype == np.float32 and found.min() == -1 and found.max() == 1
        np.testing.assert_allclose(found, pixels / 127.5 - 1, rtol=0, atol=1e-7)


@pytest.mark.parametrize("shape", [pytest.param((8, 8, 1), marks=pytest.mark.slow), (32, 32, 3)])
def test_one_by_one_gives_the_same_images(shape):
    """128 images: the order of a float32 sum shows in 3 of their values."""
    images, keys = jnp.asarray(noisy((128, *shape))), jax.random.split(KEY, 128)
    for augment in RECIPES.values():
        together = jax.jit(jax.vmap(augment))(keys, images)
        single = jax.jit(functools.partial(lax.map, lambda pair, f=augment: f(*pair)))
        np.testing.assert_array_equal(together, single((keys, images)))
