"""RandAugment: every operation against Pillow 13, pixel for pixel; the chances of its presets."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import PIL
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps
from scipy import stats
from sklearn.datasets import load_sample_images

from lowlabel_jax.augment import (
    fixmatch_ra,
    pillow_colour,
    pillow_geometry,
    pillow_resize,
    randaugment,
    recipe,
    torchvision_ra,
    usb_ra,
)
from lowlabel_jax.augment.flip_shift import flip_shift

KEY = jax.random.key(0)
SHAPES = [(8, 8, 1), (32, 32, 3), (37, 61, 3), (61, 37, 1)]
PRESETS = {
    "fixmatch_ra": fixmatch_ra.fixmatch_ra,
    "usb_ra": usb_ra.usb_ra,
    "torchvision_ra": torchvision_ra.torchvision_ra,
}
EVEN = np.random.default_rng(0).uniform(-1, 1, 6)  # magnitudes between the ends
BLEND = [0.0, 0.05, 0.28, 0.7, 1.0, 1.36, 1.9, 2.0, *(1 + EVEN)]
ENDS = np.array([-1.0, -0.5, -0.1, 0.0, 0.1, 0.7, 1.0, *EVEN])
AFFINE = Image.Transform.AFFINE


def moved(picture, *matrix):
    return picture.transform(picture.size, AFFINE, matrix)


# name -> (ours, Pillow's, magnitudes); those without a magnitude have one that is not used
OPERATIONS = {
    "autocontrast": (lambda x, m: pillow_colour.autocontrast(x),
                     lambda p, m: ImageOps.autocontrast(p), [0]),
    "equalize": (lambda x, m: pillow_colour.equalize(x), lambda p, m: ImageOps.equalize(p), [0]),
    "invert": (lambda x, m: pillow_colour.inverted(x), lambda p, m: ImageOps.invert(p), [0]),
    "smooth": (lambda x, m: pillow_colour.smoothed(x),
               lambda p, m: p.filter(ImageFilter.SMOOTH), [0]),
    "blur": (lambda x, m: pillow_colour.blurred(x), lambda p, m: p.filter(ImageFilter.BLUR), [0]),
    "brightness": (pillow_colour.brightness,
                   lambda p, m: ImageEnhance.Brightness(p).enhance(m), BLEND),
    "contrast": (pillow_colour.contrast, lambda p, m: ImageEnhance.Contrast(p).enhance(m), BLEND),
    "color": (pillow_colour.color, lambda p, m: ImageEnhance.Color(p).enhance(m), BLEND),
    "sharpness": (pillow_colour.sharpness,
                  lambda p, m: ImageEnhance.Sharpness(p).enhance(m), BLEND),
    "solarize": (pillow_colour.solarize, ImageOps.solarize, [0, 1, 25.6, 128, 178.5, 255, 256]),
    "posterize": (pillow_colour.posterize, lambda p, m: ImageOps.posterize(p, int(m)),
                  range(1, 9)),
    "rotate": (pillow_geometry.rotate, lambda p, m: p.rotate(m),
               [*range(-30, 31, 3), -180, 180, 45, *(round(32 * 90 * e) / 32 for e in EVEN)]),
    "shear_x": (pillow_geometry.shear_x, lambda p, m: moved(p, 1, m, 0, 0, 1, 0), 0.3 * ENDS),
    "shear_y": (pillow_geometry.shear_y, lambda p, m: moved(p, 1, 0, 0, m, 1, 0), 0.3 * ENDS),
    "translate_x": (pillow_geometry.translate_x,
                    lambda p, m: moved(p, 1, 0, m * p.width, 0, 1, 0), 0.5 * ENDS),
    "translate_y": (pillow_geometry.translate_y,
                    lambda p, m: moved(p, 1, 0, 0, 0, 1, m * p.height), 0.5 * ENDS),
}  # fmt: skip


def pillow(image):
    return Image.fromarray(np.asarray(image).squeeze(-1) if image.shape[-1] == 1 else image)


@functools.cache
def photos():
    return load_sample_images().images


@functools.cache
def images(shape):
    """[n, h, w, c]: noise, soft noise, one level, two levels, a ramp, parts of two photographs."""
    h, w, c = shape
    rng = np.random.default_rng(h * w)
    ramp = np.linspace(13, 200, w)[None, :, None] + np.zeros(shape)
    china, flower = photos()
    return np.stack([
        rng.integers(0, 256, shape), rng.integers(40, 90, shape), np.full(shape, 77),
        rng.integers(0, 2, shape) * 255, ramp,
        china[100 : 100 + h, 200 : 200 + w, :c], flower[: 4 * h : 4, 90 : 90 + w, :c],
    ]).astype(np.uint8)  # fmt: skip


def test_pillow_is_the_one_compared_with():
    """If this fails, see whether the comparisons below still hold, and say so in the docstrings."""
    assert PIL.__version__.startswith("13.0.")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_equal_pillow_pixel_for_pixel(name, shape):
    ours, theirs, magnitudes = OPERATIONS[name]
    each = jnp.float32(jnp.array([float(m) for m in magnitudes]))
    over = jax.jit(lambda xs, ms: jax.lax.map(
        lambda m: jax.lax.map(lambda x: ours(x, m), xs), ms))  # fmt: skip
    found = np.asarray(over(jnp.asarray(images(shape)), each))
    for m, row in zip(np.asarray(each), found, strict=True):
        for image, got in zip(images(shape), row, strict=True):
            want = np.asarray(theirs(pillow(image), float(m))).reshape(shape)
            np.testing.assert_array_equal(got, want, err_msg=f"{name} {m}")


def test_autocontrast_equals_pillow_for_every_pair_of_ends():
    """Pillow's float64 falls one level short of a whole number for 5958 of the 32640 pairs."""
    pairs = np.array([(a, b) for a in range(256) for b in range(a, 256)], np.int32)
    between = np.clip(np.arange(256), *pairs[:, :, None].swapaxes(0, 1)).astype(np.uint8)
    found = jax.jit(jax.vmap(pillow_colour.autocontrast))(between.reshape(-1, 16, 16, 1))
    low, high = pairs.T[..., None].astype(np.int64)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 255.0 / (high - low)
        stretched = (between * scale + -low * scale).astype(int).clip(0, 255)
    want = np.where(high > low, stretched, between)
    np.testing.assert_array_equal(np.asarray(found).reshape(-1, 256), want)
    np.testing.assert_array_equal(  # the formula is Pillow's
        want[12345].reshape(16, 16),
        ImageOps.autocontrast(pillow(between[12345].reshape(16, 16, 1))),
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rescale_equals_pillow_pixel_for_pixel(shape):
    h, w, _ = shape
    rescale = jax.jit(jax.vmap(pillow_resize.rescale, in_axes=(0, None, None)))
    cuts = np.float32(np.array([0, 0.5, 200.5, 543.5, 801.5, 1087.5]) / 1088 / 4).tolist()
    for (number, method), cut in itertools.product(enumerate(pillow_resize.NAMES), cuts):
        box = (cut * w, cut * h, w * (1 - cut), h * (1 - cut))
        found = np.asarray(rescale(jnp.asarray(images(shape)), cut, number))
        for image, got in zip(images(shape), found, strict=True):
            want = pillow(image).crop(box).resize((w, h), getattr(Image.Resampling, method))
            np.testing.assert_array_equal(got, np.asarray(want).reshape(shape))


def test_what_comes_in_from_outside_is_the_fill():
    black = jnp.zeros((16, 16, 3), jnp.uint8)
    for name, change in randaugment.operations(127).items():
        if hasattr(pillow_geometry, name):
            found = np.unique(
                np.asarray(change(black, jnp.float32(0.3 if name != "rotate" else 20)))
            )
            assert found.tolist() == [0, 127], name


def test_square_is_drawn_around_any_pixel_and_cut_off_at_the_edge():
    image = np.zeros((6, 8, 1), np.uint8)
    keys = jax.random.split(KEY, 2000)
    square = functools.partial(randaugment.square, size=0.5, colour=(127,) * 3)
    found = np.asarray(jax.jit(jax.vmap(square, in_axes=(0, None)))(keys, jnp.asarray(image)))
    variants = {}
    for y, x in np.ndindex(6, 8):
        want = image.copy()
        want[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = 127
        variants[want.tobytes()] = len(variants)
    counts = np.bincount([variants[f.tobytes()] for f in found], minlength=48)
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("c", [1, 3])
def test_usb_square_is_torchssls(c):
    """CutoutAbs of TorchSSL, with its numbers given, drawn by Pillow."""
    image = images((13, 21, c))[0]
    for size, y, x in np.random.default_rng(0).integers(0, 256, (60, 3)) / 256:
        v = 0.5 * size * 21
        x0, y0 = int(max(0, x * 21 - v / 2)), int(max(0, y * 13 - v / 2))
        want = pillow(image)
        box = (x0, y0, min(21, x0 + v), min(13, y0 + v))
        if v > 0:
            ImageDraw.Draw(want).rectangle(box, (125, 123, 114) if c == 3 else 123)
        got = usb_ra.drawn_square(jnp.asarray(image), jnp.float32(0.5 * size), *jnp.float32((y, x)))
        np.testing.assert_array_equal(got, np.asarray(want).reshape(image.shape))


# --- presets ---

RANGES = {  # preset -> operation -> the two ends of the magnitude; see reference in each docstring
    "fixmatch_ra": {"rotate": (-27, 27), "shear_x": (-0.27, 0.27), "shear_y": (-0.27, 0.27),
                    "translate_x": (-9 / 32, 9 / 32), "translate_y": (-9 / 32, 9 / 32),
                    "solarize": (26, 231), "posterize": (1, 4), "color": (0.28, 1.72),
                    "contrast": (0.28, 1.72), "brightness": (0.28, 1.72),
                    "sharpness": (0.28, 1.72)},
    "usb_ra": {"rotate": (-30, 30), "shear_x": (-0.3, 0.3), "shear_y": (-0.3, 0.3),
               "translate_x": (-0.3, 0.3), "translate_y": (-0.3, 0.3), "solarize": (0, 256),
               "posterize": (4, 7), "color": (0.05, 0.95), "contrast": (0.05, 0.95),
               "brightness": (0.05, 0.95), "sharpness": (0.05, 0.95)},
    "torchvision_ra": {"rotate": (-9, 9), "shear_x": (-0.09, 0.09), "shear_y": (-0.09, 0.09),
                       "translate_x": (-45 / 331, 45 / 331),
                       "translate_y": (-45 / 331, 45 / 331), "solarize": (178.5, 178.5),
                       "posterize": (7, 7), "color": (0.73, 1.27), "contrast": (0.73, 1.27),
                       "brightness": (0.73, 1.27), "sharpness": (0.73, 1.27)},
}  # fmt: skip
COUNTS = {"fixmatch_ra": (2, 0.5), "usb_ra": (3, 1.0), "torchvision_ra": (2, 1.0)}


@pytest.fixture
def drawings(monkeypatch):
    """(number, magnitude) [n, layers] of a preset for many keys, and the names of the numbers."""

    def of(name, n):
        seen = {}
        monkeypatch.setattr(randaugment, "Drawn", lambda *drawn: seen.setdefault("drawn", drawn))
        monkeypatch.setattr(randaugment.lax, "scan", lambda f, image, drawn: (image, None))
        made = PRESETS[name](flip=False, shift=0.0)

        def draw(key):
            seen.clear()
            made(key, jnp.zeros((8, 8, 1), jnp.uint8))
            return seen["drawn"]

        module = {"fixmatch_ra": fixmatch_ra, "usb_ra": usb_ra, "torchvision_ra": torchvision_ra}
        return jax.jit(jax.vmap(draw))(jax.random.split(KEY, n)), list(
            module[name].strength(0.5, 1)
        )

    return of


@pytest.mark.parametrize("name", PRESETS)
def test_presets_draw_operations_and_magnitudes_as_their_tables_say(name, drawings):
    (numbers, magnitudes), names = drawings(name, 20_000)
    count, probability = COUNTS[name]
    assert numbers.shape == (20_000, count) and len(names) == 14 and len(set(names)) == 14
    found = np.bincount(np.asarray(numbers).ravel(), minlength=14)
    want = np.full(14, numbers.size * probability / 14)
    want[names.index("identity")] += numbers.size * (1 - probability)
    assert stats.chisquare(found, want).pvalue > 1e-4
    pairs = np.bincount(np.asarray(numbers[:, 0] * 14 + numbers[:, 1]), minlength=196)
    joint = np.outer(want, want).ravel() / numbers.size**2 * len(numbers)
    assert stats.chisquare(pairs, joint).pvalue > 1e-4, "layers are independent"
    for operation, (low, high) in RANGES[name].items():
        values = np.asarray(magnitudes)[np.asarray(numbers) == names.index(operation)]
        slack = 1e-6 * max(abs(low), abs(high)) + (high - low) / 300 * (name == "usb_ra")
        assert low - 1e-6 * abs(low) <= values.min() <= low + slack, operation
        assert high - slack <= values.max() <= high + 1e-6 * abs(high), operation
        if low == -high:
            assert abs((values > 0).mean() - 0.5) < 5 / 2 / np.sqrt(len(values))
    if name == "fixmatch_ra":
        turns = np.abs(magnitudes[np.asarray(numbers) == names.index("rotate")])
        levels, n = np.unique(turns.round(3), return_counts=True)
        np.testing.assert_allclose(levels, np.arange(3, 28, 3))
        assert stats.chisquare(n).pvalue > 1e-4


@pytest.mark.parametrize("level", np.arange(1, 10))
def test_fixmatch_magnitudes_are_its_authors(level):
    """level_to_arg of google-research/fixmatch, with PARAMETER_MAX 10, at 32x32."""
    found = fixmatch_ra.strength(level / 10, -1)
    assert found["posterize"] == 4 - int(level * 4 / 10)
    assert found["solarize"] == 256 - int(level * 256 / 10)
    assert found["brightness"] == pytest.approx(level * 1.8 / 10 + 0.1)
    assert found["translate_y"] * 32 == pytest.approx(-int(level * 10 / 10))
    assert found["rotate"] == pytest.approx(-int(level * 30 / 10))


def applied(picture, words):
    """What `describe` says, done by Pillow: an operation's name and its magnitude."""
    name, *magnitude = words.split()
    value = float(magnitude[0]) if magnitude else 0.0
    if name == "translate_x":
        return moved(picture, 1, 0, value * picture.width, 0, 1, 0)
    return OPERATIONS[name][1](picture, value)


def test_what_is_described_is_what_is_done():
    """Pillow, told what the recipe says of itself, makes the recipe's image."""
    made = torchvision_ra.torchvision_ra(flip=False, shift=0.0, count=3)
    image, met = jnp.asarray(images((32, 32, 3))[5]), set()
    apply = jax.jit(made.apply)
    for key in jax.random.split(KEY, 40):
        picture = pillow(np.asarray(image))
        for words in made.describe(key, image):
            picture = applied(picture, words)
            met.add(words.split()[0])
        # Three digits of a magnitude are told: a level or a pixel may then be another one.
        got, want = np.asarray(apply(key, image)).astype(int), np.asarray(picture).astype(int)
        assert (abs(got - want) > 4).mean() < 0.02, made.describe(key, image)
    assert len(met) == 13


def test_one_by_one_and_all_at_once_give_the_same_images():
    made, n = usb_ra.usb_ra(), 98
    batch = np.repeat(images((9, 14, 3)), 14, 0)
    keys = jax.random.split(KEY, n)
    assert made.branches
    single = jax.jit(recipe.mapped(made, True))(keys, jnp.asarray(batch))
    together = jax.jit(jax.vmap(made))(keys, jnp.asarray(batch))
    np.testing.assert_array_equal(single, together)
    assert single.dtype == np.uint8 and (np.asarray(single) != batch).any((1, 2, 3)).mean() > 0.8


def test_weak_augmentation_comes_first():
    """With nothing drawn but identities the rest is flip_shift's."""
    image = jnp.asarray(images((8, 8, 1))[0])
    key_weak = jax.random.split(KEY, 3)[0]
    made = fixmatch_ra.fixmatch_ra(flip=True, shift=0.25, probability=0.0, cutout=0.0)
    weak = flip_shift(flip=True, shift=0.25)
    np.testing.assert_array_equal(jax.jit(made.apply)(KEY, image), weak(key_weak, image))
    assert made.describe(KEY, image) == weak.describe(key_weak, image) != []


def test_grey_images_keep_their_shape_and_describe_tells_the_cutout():
    image = jnp.asarray(images((8, 8, 1))[0])
    for make in PRESETS.values():
        made = make()
        assert jax.eval_shape(made.apply, KEY, image).shape == (8, 8, 1)
        assert (made.describe(KEY, image)[-1:] == ["cutout"]) == (
            make is not PRESETS["torchvision_ra"]
        )


def test_cpu_branches_and_gpu_maps_all(monkeypatch):
    """lax.map shows as a loop around the switch, vmap as none."""
    made, keys = torchvision_ra.torchvision_ra(), jax.random.split(KEY, 4)
    batch = jnp.zeros((4, 8, 8, 1), jnp.uint8)
    loops = {}
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        whole = jax.make_jaxpr(lambda k, x: recipe.over(made, k, x))(keys, batch)
        loops[backend] = [e.params["length"] for e in whole.eqns if e.primitive.name == "scan"]
    assert loops == {"cpu": [4], "gpu": [2]}  # four images; or two layers
