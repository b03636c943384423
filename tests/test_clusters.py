"""Clusters against scipy, colorsys and numpy; nothing at 0; a traced magnitude is the number."""

import colorsys
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from lowlabel_jax.augment import clusters as module
from lowlabel_jax.augment.clusters import clusters
from lowlabel_jax.core import named
from lowlabel_jax.core.errors import UserError
from tests.linear import QUICK

KEYS = jax.random.split(jax.random.key(0), 64)
SHAPES = [(8, 8, 1), (28, 28, 1), (32, 32, 3)]
MAGNITUDES = ("spatial", "hsv", "contrast", "blur")
EVERYTHING = dict(rotate=25.0, spatial=0.5, hsv=0.7, contrast=0.4, blur=0.6, cutout=0.3)


def waves(shape):
    """Smooth light with a hard edge and some noise, [h, w, c]: what each change can be seen on."""
    y, x, c = np.ogrid[: shape[0], : shape[1], : shape[2]]
    noise = np.random.default_rng(0).normal(0, 12, shape)
    light = 110 + 60 * np.sin(x / 3 + 2 * c) * np.cos(y / 4) + 50 * (x > shape[1] // 2) + noise
    return np.clip(light, 0, 255).astype(np.uint8)


def drawn():
    """The numbers drawn for each key, {name: [n]}."""
    draw, _ = jax.vmap(module.drawn)(KEYS)
    flat = {**draw._asdict(), **draw.moves._asdict()}
    return {name: np.asarray(x, np.float64) for name, x in flat.items() if name != "moves"}


DRAWN = functools.cache(drawn)


@functools.partial(jax.jit, compiler_options=QUICK)
def program(numbers, keys, image):
    """(magnitudes by name, keys, image) -> [n, h, w, c], the magnitudes traced."""
    return jax.vmap(clusters(flip=True, **numbers), (0, None))(keys, image)


def traced(image, n=64, **numbers):
    """[n, h, w, c] of one image and its mirror image, by one program for all magnitudes."""
    given = dict.fromkeys(EVERYTHING, 0.0) | numbers
    return np.asarray(program(given, KEYS[:n], jnp.asarray(image))).astype(np.float64)


def many(image, n=12, **options):
    """The same of magnitudes that are Python numbers, without mirror images unless asked for."""

    def made(image):
        return jax.vmap(clusters(**options), (0, None))(KEYS[:n], image)

    found = jax.jit(made, compiler_options=QUICK)(jnp.asarray(image))
    return np.asarray(found).astype(np.float64)


def assert_rounded(found, want, slack=0.02):
    """Grey levels found are those wanted, rounded: within half of one and what float32 loses."""
    np.testing.assert_allclose(found, np.clip(want, 0, 255), rtol=0, atol=0.5 + slack)


# --- each cluster against others' code, ranges as the docstring states them ---


def where_from(i, options, h, w):
    """[3, 3]: from a position in the i-th result to that in the image.

    Positions are (row, column) from the middle. The picture is zoomed, leans, turns and moves.
    """
    draw, m = {name: x[i] for name, x in DRAWN().items()}, options.get("spatial", 0.0)
    side = -1 if options.get("flip") and draw["flip"] < 0 else 1
    zoom = np.diag([1 + 0.4 * m * draw["tall"], side * (1 + 0.4 * m * draw["wide"]), 1])
    lean = np.eye(3)
    lean[1, 0] = np.tan(np.radians(20 * m * draw["shear"]))
    a = np.radians(options.get("rotate", 0.0) * draw["rotate"])
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    move = np.eye(3)
    move[:2, 2] = 0.3 * m * h * draw["down"], 0.3 * m * w * draw["right"]
    return np.linalg.inv(move @ turn @ lean @ zoom)


@pytest.mark.parametrize(
    "shape, fill, options",
    [
        ((28, 28, 1), "reflect", {"spatial": 1.0}),
        ((32, 32, 3), "nearest", {"spatial": 0.5, "rotate": 40.0, "flip": True}),
        ((8, 8, 1), "reflect", {"rotate": 30.0}),
    ],
)
def test_geometry_is_one_affine_transform_as_scipy_does_it(shape, fill, options):
    image, (h, w, _) = waves(shape), shape
    found, mode = many(image, fill=fill, **options), {"reflect": "mirror"}.get(fill, fill)
    middle = np.array([(h - 1) / 2, (w - 1) / 2])
    for i, one in enumerate(found):
        matrix = where_from(i, options, h, w)
        offset = matrix[:2, 2] + middle - matrix[:2, :2] @ middle
        want = [ndimage.affine_transform(image[..., c].astype(float), matrix[:2, :2], offset,
                order=1, mode=mode) for c in range(shape[2])]  # fmt: skip
        assert_rounded(one, np.stack(want, -1), slack=0.05)
    assert np.abs(found - image).mean() > 5


def turned(image, turn):
    """A colour image with its hue turned, pixel by pixel."""
    made = np.empty(image.shape)
    for place in np.ndindex(image.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*image[place] / 255)
        made[place] = np.multiply(colorsys.hsv_to_rgb((h + turn) % 1, s, v), 255)
    return made


def test_hsv_is_numpys_and_colorsys():
    image, draw = waves((8, 9, 3)), DRAWN()
    found = many(image, hsv=0.7)
    for i, one in enumerate(found):
        x = np.clip(image * (1 + 0.8 * 0.7 * draw["value"][i]), 0, 255)
        light = (x @ [0.299, 0.587, 0.114])[..., None]
        x = np.clip(light + (1 + 0.8 * 0.7 * draw["saturation"][i]) * (x - light), 0, 255)
        assert_rounded(one, turned(x, 0.2 * 0.7 * draw["hue"][i]))
    assert np.abs(found - image).mean() > 5


def test_hsv_of_a_grey_image_is_its_value_alone():
    image, draw = waves((8, 8, 1)), DRAWN()
    for i, one in enumerate(many(image, hsv=1.0)):
        assert_rounded(one, image * (1 + 0.8 * draw["value"][i]))


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 12, 3)])
def test_contrast_is_numpys(shape):
    image, draw = waves(shape).astype(float), DRAWN()
    for i, one in enumerate(many(image.astype(np.uint8), contrast=0.5)):
        factor, power = 1 + 0.8 * 0.5 * draw["contrast"][i], 1.5 ** draw["gamma"][i]
        x = np.clip(image.mean() + factor * (image - image.mean()), 0, 255)
        assert_rounded(one, 255 * (x / 255) ** power)


@pytest.mark.parametrize("shape, deviation", [((8, 8, 1), 1.0), ((64, 70, 3), 2.0)])
def test_blur_is_scipys_and_sharpening_its_opposite(shape, deviation):
    image, draw = waves(shape).astype(float), DRAWN()
    soft = np.stack([ndimage.gaussian_filter(image[..., c], deviation, mode="mirror",
                     radius=round(3 * deviation)) for c in range(shape[2])], -1)  # fmt: skip
    found = many(image.astype(np.uint8), blur=0.9)
    for i, one in enumerate(found):
        assert_rounded(one, soft + (1 + 0.9 * draw["sharpness"][i]) * (image - soft))
    rough = np.abs(np.diff(found, axis=1)).mean((1, 2, 3))
    assert rough[draw["sharpness"][:12].argmax()] > rough[draw["sharpness"][:12].argmin()]


def test_cutout_is_one_grey_square():
    image = waves((28, 28, 1)) // 4
    for one in many(image, cutout=0.25):
        rows, columns = np.nonzero((one != image).squeeze())
        tall, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert max(tall, wide) <= 7 and len(rows) == tall * wide
        assert (one[rows, columns] == 127).all()


def test_all_is_drawn_evenly_and_apart():
    draw, keys = jax.vmap(module.drawn)(jax.random.split(jax.random.key(1), 2000))
    values = np.stack([*draw.moves, *draw[1:]])
    assert len(values) == 13
    for one in values:
        assert stats.kstest(one, stats.uniform(-1, 2).cdf).pvalue > 1e-3
    off = np.corrcoef(values)[np.triu_indices(13, 1)]
    assert np.abs(off).max() < 5 / np.sqrt(2000)  # five standard errors


# --- magnitudes ---


@pytest.mark.parametrize("shape", SHAPES)
def test_traced_magnitudes_of_0_give_the_image_back(shape):
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    image[:2] = [[[0]], [[255]]]
    turned = (DRAWN()["flip"] < 0)[:, None, None, None]
    np.testing.assert_array_equal(traced(image), np.where(turned, image[:, ::-1], image))


def test_python_numbers_of_0_cost_nothing():
    image = jnp.asarray(waves((8, 8, 3)))
    assert clusters(fill="wrap")(KEYS[0], image) is image

    def text(**options):
        return str(jax.make_jaxpr(clusters(**options))(KEYS[0], image))

    said = {name: text(**{name: 0.5}) for name in EVERYTHING}
    assert {name for name in said if "dot_general" in said[name]} == {"rotate", "spatial"}
    assert {name for name in said if " pow" in said[name]} == {"contrast"}
    assert text(**EVERYTHING).count("PROMISE_IN_BOUNDS") == 4  # one warp for all that moves


@pytest.mark.parametrize("shape", [pytest.param(SHAPES[0], marks=pytest.mark.slow), SHAPES[2]])
def test_a_traced_magnitude_is_the_number(shape):
    """To one grey level: a number times its range is rounded once, a traced one twice."""
    image = waves(shape)
    apart = np.abs(traced(image, 12, **EVERYTHING) - many(image, flip=True, **EVERYTHING))
    assert apart.max() <= 1 and (apart > 0).mean() < 2e-3


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", MAGNITUDES)
def test_a_larger_magnitude_changes_more(shape, name):
    image = waves(shape)
    none = traced(image)
    change = [np.abs(traced(image, **{name: m}) - none).mean() for m in (0.1, 0.25, 0.5, 1.0)]
    assert change[-1] > 4 and (np.diff([0.0, *change]) > 0.1).all(), change


def test_one_cluster_leaves_the_draws_of_the_others():
    flat = np.full((8, 8, 1), 100, np.uint8)  # moving and blurring do nothing to it
    alone = traced(flat, hsv=0.5)
    np.testing.assert_array_equal(alone, traced(flat, hsv=0.5, spatial=0.7, rotate=30.0, blur=1.0))
    assert len(np.unique(alone)) > 25 and (alone == alone[:, :1, :1]).all()


# --- as a part ---


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_said_is_what_is_done(shape):
    grey = jnp.full(shape, 100, jnp.uint8)
    names = [words.split()[0] for words in clusters(**EVERYTHING).describe(KEYS[0], grey)]
    colours = ["value", "saturation", "hue"] if shape[2] == 3 else ["value"]
    assert names == ["zoom", "shear", "rotate", "shift", *colours, "contrast", "gamma", "sharpness",
                     "cutout"]  # fmt: skip
    for key in KEYS[:4]:
        made = clusters(hsv=0.6, flip=True)
        said = dict(w.split() for w in made.describe(key, grey) if w != "flip")
        assert abs(float(said["value"]) * 100 - int(made(key, grey)[0, 0, 0])) <= 1.01
    assert clusters().describe(KEYS[0], grey) == []


def test_mistakes_are_said():
    with pytest.raises(UserError, match="nearest, reflect, wrap, constant"):
        clusters(fill="mirror")
    wrong = {"spatial": 1.01, "hsv": -0.1, "blur": "0.5", "flip": 1, "rotation": 3}
    assert len(list(named.problems("augment", {"name": "clusters", **wrong}, "weak"))) == 5
    most = {"name": "clusters", "flip": True, **dict.fromkeys(MAGNITUDES, 1.0)}
    assert not list(named.problems("augment", most, "weak"))
