"""CTAugment: its magnitudes against Pillow, its bins and their update against numpy by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from scipy import stats

from lowlabel_jax.augment import cta_operations, recipe, views
from lowlabel_jax.augment import ctaugment as cta
from lowlabel_jax.augment.ctaugment import Choice, ctaugment
from lowlabel_jax.augment.flip_shift import flip_shift

KEY = jax.random.key(0)
NAMES = cta_operations.NAMES
LEVELS = np.array([0, 0.13, 0.5, 0.87, 1])  # as ends and in between


def noisy(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def mixed(change):
    return lambda p, level: Image.blend(p, change(p), level)


def enhanced(kind):
    return lambda p, level: kind(p).enhance(0.1 + 1.9 * level)


def leaning(*at):
    def change(p, level):
        matrix = [1, 0, 0, 0, 1, 0]
        side = 1 if len(at) == 1 else p.size[at[1]]
        matrix[at[0]] = (2 * level - 1) * 0.3 * side
        return p.transform(p.size, Image.Transform.AFFINE, matrix)

    return change


# libml/ctaugment.py of google-research/fixmatch, in Pillow
AUTHORS = {
    "autocontrast": mixed(ImageOps.autocontrast),
    "blur": mixed(lambda p: p.filter(ImageFilter.BLUR)),
    "brightness": enhanced(ImageEnhance.Brightness),
    "color": enhanced(ImageEnhance.Color),
    "contrast": enhanced(ImageEnhance.Contrast),
    "equalize": mixed(ImageOps.equalize),
    "identity": lambda p, level: p,
    "invert": mixed(ImageOps.invert),
    "posterize": lambda p, level: ImageOps.posterize(p, 1 + int(level * 7.999)),
    "rotate": lambda p, level: p.rotate(int(np.round((2 * level - 1) * 45))),
    "sharpness": enhanced(ImageEnhance.Sharpness),
    "shear_x": leaning(1),
    "shear_y": leaning(3),
    "smooth": mixed(lambda p: p.filter(ImageFilter.SMOOTH)),
    "solarize": lambda p, level: ImageOps.solarize(p, int(level * 255.999)),
    "translate_x": leaning(2, 0),
    "translate_y": leaning(5, 1),
}


def test_there_are_the_papers_operations_and_bins():
    assert sorted(NAMES) == sorted([*AUTHORS, "cutout", "rescale"]) and len(NAMES) == 19
    bins = np.asarray(cta.init()["weights"] > 0).sum(-1)
    want = {name: (17, 1) for name in NAMES} | {"posterize": (8, 1), "rescale": (17, 6)}
    assert {name: tuple(row.tolist()) for name, row in zip(NAMES, bins, strict=True)} == want


@pytest.mark.parametrize("c", [1, 3])
def test_operations_equal_the_authors_pixel_for_pixel(c):
    image = noisy((18, 23, c))
    picture = Image.fromarray(image.squeeze(-1) if c == 1 else image)
    made = cta_operations.operations(0)
    for name, change in AUTHORS.items():
        number, apply = NAMES.index(name), jax.jit(made[NAMES.index(name)])
        magnitudes = np.float32(cta_operations.MAGNITUDES[name][1](LEVELS))
        for level, magnitude in zip(LEVELS.tolist(), magnitudes, strict=True):
            layer = cta_operations.Layer(*jnp.float32((magnitude, 0, 0, 0)))
            want = np.asarray(change(picture, level)).reshape(image.shape)
            np.testing.assert_array_equal(
                apply(jnp.asarray(image), layer), want, err_msg=f"{name} {number} {level}"
            )


def test_magnitudes_lie_inside_their_bins():
    table = cta_operations.table()
    assert table.shape == (19, 17, 64)
    rescale, posterize = table[NAMES.index("rescale")], table[NAMES.index("posterize")]
    edges = np.arange(18) / 17 / 4
    assert (edges[:-1, None] < rescale).all() and (rescale < edges[1:, None]).all()
    assert (posterize[:8] == np.arange(1, 9)[:, None]).all()
    assert np.abs(table[NAMES.index("rotate")]).max() == 45


def test_cutout_is_as_large_as_its_level_and_clipped():
    grey = np.zeros((20, 30, 3), np.uint8)
    for level, y, x in np.random.default_rng(1).uniform(size=(30, 3)).astype(np.float32).tolist():
        half = (1 + int(level * 20 * 0.499)) // 2
        row, column = int(y * 20), int(x * 30)
        want = grey.copy()
        want[max(0, row - half) : row + half, max(0, column - half) : column + half] = 127
        layer = cta_operations.Layer(*jnp.float32((level, 0, y, x)))
        np.testing.assert_array_equal(cta_operations.cutout(jnp.asarray(grey), layer), want)


# --- what is drawn, what is learnt ---


def choices(recipe_probe, n):
    image = jnp.zeros((n, 8, 8, 1), jnp.uint8)
    return jax.jit(jax.vmap(recipe_probe))(jax.random.split(KEY, n), image)[1]


def drawn(memory, n, threshold=0.8):
    draw = jax.jit(jax.vmap(lambda key: cta.drawn(key, memory, 2, threshold)))
    return draw(jax.random.split(KEY, n))


def test_probes_draw_operations_and_bins_evenly():
    choice, layers = drawn(cta.init(), 20_000)
    numbers, bins = np.asarray(choice.number).ravel(), np.asarray(choice.bins).reshape(-1, 2)
    assert stats.chisquare(np.bincount(numbers, minlength=19)).pvalue > 1e-4
    for name, first, second in [("rotate", 17, 1), ("posterize", 8, 1), ("rescale", 17, 6)]:
        mine = bins[numbers == NAMES.index(name)]
        counts = np.zeros((first, second))
        np.add.at(counts, tuple(mine.T), 1)
        assert stats.chisquare(counts.ravel()).pvalue > 1e-4
    turns = np.asarray(layers.magnitude).ravel()[numbers == NAMES.index("rescale")]
    assert stats.kstest(turns * 4, stats.uniform.cdf).pvalue > 1e-4


def test_policy_draws_only_bins_near_the_best_and_in_proportion():
    weights = np.asarray(cta.init()["weights"]).copy()
    rotate = NAMES.index("rotate")
    weights[rotate, 0] = np.linspace(0.2, 1.0, 17)
    weights[rotate, 0, 3] = 0.8  # of the heaviest, hence not above it
    choice, _ = drawn({"weights": jnp.asarray(weights)}, 20_000)
    bins = np.asarray(choice.bins)[..., 0][np.asarray(choice.number) == rotate]
    counts = np.bincount(bins, minlength=17)
    kept = weights[rotate, 0] > 0.8 * weights[rotate, 0].max()
    kept[3] = False  # float64 has another 0.8
    assert 2 < kept.sum() < 10 and counts[~kept].sum() == 0
    share = weights[rotate, 0, kept].astype(np.float64)
    share /= share.sum()
    assert stats.chisquare(counts[kept], share * counts.sum()).pvalue > 1e-4


def test_update_is_the_papers_also_where_a_bin_is_drawn_twice():
    """w <- 0.99 w + 0.01 match, image by image and layer by layer, in numpy."""
    rng = np.random.default_rng(0)
    b, rotate, rescale = 6, NAMES.index("rotate"), NAMES.index("rescale")
    number = np.array(
        [[rotate, rotate], [rotate, 3], [rescale, rotate], [0, 0], [rescale, 5], [3, 3]]
    )
    bins = np.stack([rng.integers(0, 2, (b, 2)), np.zeros((b, 2), int)], -1)
    bins[0] = bins[1] = bins[2, 1] = [4, 0]
    bins[[2, 4], 0] = [[9, 5], [9, 2]]
    match = rng.uniform(size=b).astype(np.float32)
    want = np.asarray(cta.init()["weights"], np.float64).copy()
    for i in range(b):
        for layer in range(2):
            for parameter in range(2):
                place = (number[i, layer], parameter, bins[i, layer, parameter])
                want[place] = 0.99 * want[place] + 0.01 * match[i]
    choice = Choice(jnp.asarray(number), jnp.asarray(bins))
    found = ctaugment().learn(cta.init(), choice, jnp.asarray(match))["weights"]
    np.testing.assert_allclose(found, want, rtol=1e-6)
    assert (want[rotate, 0] < 1).sum() == 1 and want[rotate, 0, 4] < 0.99**3 + 0.05
    backwards = ctaugment().learn(cta.init(), jax.tree.map(lambda x: x[::-1], choice), match[::-1])
    assert np.abs(backwards["weights"] - want).max() > 1e-5, "the order counts"


def test_bins_that_hurt_are_no_longer_drawn():
    """Probes fail wherever something is turned by more than 20 degrees."""
    made, memory = ctaugment(), cta.init()
    learn = jax.jit(made.learn)
    rotate = NAMES.index("rotate")
    draw = jax.jit(jax.vmap(lambda key: cta.drawn(key, cta.init(), 2, 0.8)))
    for step in range(30):
        choice, layers = draw(jax.random.split(jax.random.key(step), 512))
        hurt = ((choice.number == rotate) & (jnp.abs(layers.magnitude) > 20)).any(-1)
        memory = learn(memory, choice, jnp.where(hurt, 0.0, 1.0))
    choice, layers = drawn(memory, 5000)
    turns = np.abs(layers.magnitude)[np.asarray(choice.number) == rotate]
    assert turns.size > 300 and turns.max() < 24 and turns.max() > 16  # a bin is 5.3 degrees wide
    others = np.asarray(memory["weights"])[np.arange(19) != rotate]
    assert others[others > 0].min() > 0.8


def test_a_policy_whose_every_probe_failed_can_still_be_drawn():
    choice, _ = drawn(cta.init(), 512)
    memory = cta.init()
    learn = jax.jit(ctaugment(decay=1e-4).learn)
    for _ in range(12):  # 1e-48 is 0 in float32
        memory = learn(memory, choice, jnp.zeros(512))
    bins, there = np.asarray(drawn(memory, 2000)[0].bins), np.asarray(cta.init()["weights"]) > 0
    number = np.asarray(drawn(memory, 2000)[0].number)
    assert there[number, 0, bins[..., 0]].all() and there[number, 1, bins[..., 1]].all()


# --- the recipe ---


def test_the_recipe_learns_through_the_views_memory_and_is_one_program():
    """vmap and one by one alike; a memory that has learnt nothing is none; a learnt one shows."""
    made, n = ctaugment(flip=False, shift=0.0, cutout=0.0), 64
    images, keys = jnp.asarray(np.stack([noisy((9, 12, 3))] * n)), jax.random.split(KEY, n)
    weights = made.init()["weights"]
    only = {"weights": jnp.where(jnp.arange(17)[None, None] == 0, weights, 1e-6 * weights)}
    single = jax.jit(lambda memory: recipe.over(made, keys, images, memory))
    together = jax.jit(
        lambda memory: jax.vmap(lambda k, x: made.learned(k, x, memory))(keys, images)
    )
    fresh = single(made.init())
    np.testing.assert_array_equal(fresh, together(made.init()))
    lowest = single(only)
    assert (np.asarray(lowest) != fresh).any((1, 2, 3)).mean() > 0.5
    np.testing.assert_array_equal(lowest, together(only))


def test_views_pass_the_memory_on():
    marks = recipe.Recipe(
        apply=lambda key, image: image,
        describe=lambda key, image: [],
        learned=lambda key, image, memory: image + memory["add"],
    )
    batch = {"labelled": {"image": jnp.zeros((4, 8, 8, 1), jnp.uint8), "label": jnp.arange(4),
                          "index": jnp.arange(4)}}  # fmt: skip
    recipes = {"weak": flip_shift(), "strong": marks}
    names = ["labelled", "labelled_strong"]
    plain = views.make_views(names, batch, recipes, KEY)
    told = views.make_views(names, batch, recipes, KEY, {"strong": {"add": jnp.uint8(255)}})
    assert (plain["labelled_strong"] == -1).all() and (told["labelled_strong"] == 1).all()
    np.testing.assert_array_equal(plain["labelled"], told["labelled"])


def test_probe_and_policy_differ_by_the_cutout_and_describe_agrees():
    made, image = ctaugment(), jnp.full((32, 32, 3), 250, jnp.uint8)
    words = made.describe(KEY, image)
    assert words[-1] == "cutout" and all(w.split()[0] in (*NAMES, "flip", "shift") for w in words)
    shape, choice = jax.eval_shape(made.probe, KEY, image)
    assert (
        shape.shape == (32, 32, 3) and choice.number.shape == (2,) and choice.bins.shape == (2, 2)
    )
    assert "cutout" not in ctaugment(cutout=0.0).describe(jax.random.key(1), image)
