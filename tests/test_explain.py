"""Grad-CAM on images whose answer is known, maps, neighbours, confusions; the command whole."""

import csv
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image
from scipy.stats import spearmanr
from sklearn.manifold import TSNE
from sklearn.metrics import confusion_matrix
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_info

from lowlabel_jax.core import parallel
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data.source import open_source
from lowlabel_jax.evaluation import confusions, grad_cam, maps, neighbours
from lowlabel_jax.models.small_cnn import small_cnn
from lowlabel_jax.models.vit import vit
from lowlabel_jax.models.wide_resnet import wide_resnet
from lowlabel_jax.ops.initialise import initialise
from lowlabel_jax.runs.explain import explain, explain_read, explained, inside
from lowlabel_jax.runs.predict.predict import Run
from lowlabel_jax.runs.train import train
from lowlabel_jax.training import build
from tests.test_own_images import run_cli
from tests.tiny import config

# --- Grad-CAM -------------------------------------------------------------------------------------

WEIGHTS = jnp.array([[1.0, 0.0, -1.0, 2.0], [0.0, 1.0, 0.0, 1.0]])  # [channels, classes]


def reader(images):
    """A network whose last map is the image, and whose logits are weighted means of channels."""
    return images.mean((1, 2)) @ WEIGHTS, {"last_conv": images}


def test_a_linear_read_out_of_channels_is_explained_by_these_channels():
    image = np.random.default_rng(0).uniform(size=(6, 5, 2)).astype(np.float32)
    batch = jnp.asarray(np.stack([image] * 4))
    found = np.asarray(grad_cam.heat(reader, batch, jnp.arange(4)))
    first, second = image[..., 0], image[..., 1]
    both = 2 * first + second
    np.testing.assert_allclose(found[0], first / first.max(), rtol=1e-6)
    np.testing.assert_allclose(found[1], second / second.max(), rtol=1e-6)
    np.testing.assert_array_equal(found[2], 0)  # all of it speaks against the class
    np.testing.assert_allclose(found[3], both / both.max(), rtol=1e-6)


def test_a_channel_weighs_the_mean_of_its_gradient():
    rng = np.random.default_rng(2)
    value, gradient = rng.normal(size=(2, 3, 4, 5, 6)).astype(np.float32)
    wanted = np.maximum(np.einsum("bijc,bc->bij", value, gradient.mean((1, 2))), 0)
    found = grad_cam.weighed(grad_cam.Slope(jnp.asarray(value), jnp.asarray(gradient)))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert (wanted > 0).any() and (wanted == 0).any()


def test_a_small_map_is_enlarged_as_pillow_does():
    cam = np.random.default_rng(1).uniform(size=(1, 3, 4)).astype(np.float32)
    large = np.asarray(grad_cam.scaled(jnp.asarray(cam), (12, 20)))[0]
    theirs = np.asarray(Image.fromarray(cam[0]).resize((20, 12), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(large, theirs / theirs.max(), atol=2e-6)


def dense(layer, x):
    return x @ layer["kernel"] + layer["bias"][None]


def mean_then_head(model, params, value):
    """What these networks do behind their last map, written out."""
    return dense(params["head"], value.mean((1, 2)))


def pool_then_head(model, params, value):
    b, h, w, c = value.shape
    pooled = value.reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))
    return mean_then_head(model, params, pooled)


def norm_then_head(model, params, value):
    """Of a vision transformer that averages its patches, from the last block on."""
    x = value.mean((1, 2))
    x = x - x.mean(-1, keepdims=True)
    x = x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)
    x = x * params["norm"]["scale"][None] + params["norm"]["bias"][None]
    return dense(params["head"], x)


NETWORKS = {
    "small_cnn": (small_cnn(num_classes=3, channels=(4, 8)), "last_conv", pool_then_head),
    "wide_resnet": (
        wide_resnet(num_classes=3, depth=10, width=1), "last_conv", mean_then_head
    ),
    "vit": (
        vit(num_classes=3, size="tiny", patch=4, depth=1, pool="average"), "block_1", norm_then_head
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_at_a_map_is_that_of_the_network_in_two_parts(name):
    model, layer, rest = NETWORKS[name]
    variables = initialise(model, (16, 16, 3), 0)
    images = jax.random.normal(jax.random.key(1), (2, 16, 16, 3))
    classes = jnp.array([2, 0])

    def network(x):
        return model.apply(variables, x, train=False)

    @jax.jit
    def both(images):
        at = grad_cam.slope(network, images, classes, layer)

        def logit(value):
            return rest(model, variables["params"], value)[jnp.arange(2), classes].sum()

        return at, jax.grad(logit)(at.value), rest(model, variables["params"], at.value)

    at, wanted, logits = both(images)
    if layer == "last_conv":
        np.testing.assert_allclose(at.value, network(images)[1][layer], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, network(images)[0], rtol=1e-4, atol=1e-5)
    assert np.abs(wanted).max() > 1e-4
    np.testing.assert_allclose(at.gradient, wanted, rtol=1e-4, atol=1e-7)


def test_layers_lead_to_the_logits_in_the_order_in_which_they_are_made():
    model, *_ = NETWORKS["vit"]
    variables = initialise(model, (16, 16, 3), 0)
    images = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    found = grad_cam.layers(lambda x: model.apply(variables, x, train=False), images)
    assert found == ("embed", "block_1")  # its norm is of one vector; "last_conv" leads nowhere


SIDE, BRIGHT = 16, 6
STRIPES = np.tile([1.0, -1.0], BRIGHT // 2)
PATTERNS = np.stack([np.outer(STRIPES, abs(STRIPES)), np.outer(abs(STRIPES), STRIPES)])


def squares(n, seed):
    """(images [n, 16, 16, 1] of noise with a square anywhere, whether its stripes stand, int [n],
    its corner [n, 2]).
    """
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 0.2, (n, SIDE, SIDE, 1)).astype(np.float32)
    label, corner = rng.integers(0, 2, n), rng.integers(0, SIDE - BRIGHT + 1, (n, 2))
    for image, k, (y, x) in zip(images, label, corner, strict=True):
        image[y : y + BRIGHT, x : x + BRIGHT, 0] += 1.5 * PATTERNS[k]
    return images, label, corner


@pytest.fixture(scope="module")
def trained():
    """A small network that has learnt which way the stripes run, and was told no place."""
    model = small_cnn(num_classes=2, channels=(8, 16), pool=(True, False))
    variables = initialise(model, (SIDE, SIDE, 1), 0)
    images, label, _ = squares(256, 0)
    tx = optax.adam(1e-2)

    def loss(params, variables):
        given = {**variables, "params": params}
        (logits, _), moved = model.apply(given, images, train=True, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean(), moved

    @jax.jit
    def run(variables):
        def step(carry, _):
            variables, memory = carry
            gradient, moved = jax.grad(loss, has_aux=True)(variables["params"], variables)
            update, memory = tx.update(gradient, memory)
            return (
                {"params": optax.apply_updates(variables["params"], update), **moved},
                memory,
            ), 0

        return jax.lax.scan(step, (variables, tx.init(variables["params"])), None, 60)[0][0]

    return model, run(variables)


def network_of(trained):
    model, variables = trained
    return lambda x: model.apply(variables, x, train=False)


def test_the_heat_lies_on_the_square_that_decides(trained):
    images, label, corner = squares(100, 1)
    network = network_of(trained)
    logits, _ = network(images)
    assert (logits.argmax(1) == label).mean() > 0.97
    found = np.asarray(jax.jit(lambda x, k: grad_cam.heat(network, x, k))(images, label))
    places = np.arange(SIDE) + 0.5
    total = found.sum((1, 2))
    centre = np.stack([found.sum(2) @ places / total, found.sum(1) @ places / total], 1)
    inside_it = (np.abs(centre - (corner + BRIGHT / 2)) <= BRIGHT / 2).all(1)
    assert inside_it.mean() >= 0.95


def test_the_heat_is_large_where_hiding_a_place_costs_the_logit(trained):
    """Finite differences of the network itself: a window of two pixels set to the noise's mean."""
    images, label, _ = squares(24, 2)
    network = network_of(trained)
    found = np.asarray(jax.jit(lambda x, k: grad_cam.heat(network, x, k))(images, label))
    window, cells = 2, SIDE // 2
    hidden = np.repeat(images[:, None], cells * cells, 1)
    for cell in range(cells * cells):
        y, x = window * (cell // cells), window * (cell % cells)
        hidden[:, cell, y : y + window, x : x + window, 0] = 0
    logits = jax.jit(lambda x: network(x)[0])(np.concatenate([images, *hidden]))
    before = np.take_along_axis(np.asarray(logits[:24]), label[:, None], 1)
    after = np.asarray(logits[24:]).reshape(24, cells * cells, 2)[np.arange(24), :, label]
    pooled = found.reshape(24, cells, window, cells, window).mean((2, 4)).reshape(24, -1)
    ranks = [spearmanr(*pair).statistic for pair in zip(pooled, before - after, strict=True)]
    assert np.median(ranks) > 0.4


# --- maps, neighbours, confusions -----------------------------------------------------------------


def blobs(n=60, f=8, seed=0):
    """(float32 [n, f] around two far centres, which of them)."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, 2, n)
    return (rng.normal(size=(n, f)) + 12 * which[:, None]).astype(np.float32), which


def test_pca_is_numpys_singular_value_decomposition():
    x, _ = blobs()
    centred = x.astype(np.float64) - x.mean(0, dtype=np.float64)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    wanted = u[:, :2] * s[:2]
    found = maps.embedded(x, "pca")
    turned = wanted * np.sign((wanted * found).sum(0))
    np.testing.assert_allclose(found, turned, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("by", maps.WAYS)
def test_a_map_is_the_same_each_time_and_keeps_groups_apart(by):
    x, which = blobs()
    found = maps.embedded(x, by)
    assert found.dtype == np.float32 and found.shape == (60, 2)
    np.testing.assert_array_equal(found, maps.embedded(x, by))
    _, order = NearestNeighbors(n_neighbors=4).fit(found).kneighbors(found)
    assert (which[order] == which[:, None]).all()


def test_t_sne_adds_up_on_one_thread(monkeypatch):
    """On several the order of its sums, and so its bits, may change from run to run."""
    real, seen = TSNE.fit_transform, []

    def noted(self, x):
        seen.extend(pool["num_threads"] for pool in threadpool_info())
        return real(self, x)

    monkeypatch.setattr(TSNE, "fit_transform", noted)
    maps.embedded(blobs(10)[0], "tsne")
    assert seen and set(seen) == {1}


@pytest.mark.parametrize("by", maps.WAYS)
@pytest.mark.parametrize("n, f", [(1, 5), (2, 5), (3, 1), (5, 1), (6, 3), (4, 0), (0, 3)])
def test_few_points_have_a_map(n, f, by):
    x = np.random.default_rng(n).normal(size=(n, f)).astype(np.float32)
    found = maps.embedded(x, by)
    assert found.shape == (n, 2) and np.isfinite(found).all()
    same = maps.embedded(np.ones((n, f), np.float32), by)
    assert same.shape == (n, 2) and not same.any()


def test_another_map_is_refused_and_many_points_are_drawn_by_seed():
    with pytest.raises(UserError, match="no map 'umap'"):
        maps.embedded(np.zeros((3, 2)), "umap")
    some = maps.sample(5000, seed=3)
    assert len(np.unique(some)) == maps.MOST and (np.diff(some) > 0).all() and some.max() > 4000
    np.testing.assert_array_equal(some, maps.sample(5000, seed=3))
    assert maps.sample(7).tolist() == list(range(7))


def test_neighbours_are_scikit_learns_by_cosine(monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", 16)
    rng = np.random.default_rng(0)
    features, known = rng.normal(size=(50, 6)), rng.normal(size=(30, 6)).astype(np.float32)
    places, cosines = neighbours.nearest(features.astype(np.float32), known, 4)
    theirs = NearestNeighbors(n_neighbors=4, metric="cosine").fit(known)
    distances, order = theirs.kneighbors(features.astype(np.float32))
    np.testing.assert_array_equal(places, order)
    np.testing.assert_allclose(cosines, 1 - distances, atol=1e-6)


def test_neighbours_of_nothing_and_of_few():
    places, cosines = neighbours.nearest(np.zeros((1, 2)), np.eye(2), 5)
    assert places.tolist() == [[0, 1]] and cosines.tolist() == [[0, 0]]


def test_confused_pairs_are_those_of_scikit_learns_matrix():
    rng = np.random.default_rng(0)
    label, guess = rng.integers(0, 5, (2, 300))
    names = list("abcde")
    matrix = confusion_matrix(label, guess)
    label, guess = np.append(label, -1), np.append(guess, 3)  # one that is not known
    found = confusions.most_confused(label, guess, names, 100)
    assert len(found) == 20
    for pair in found:
        i, j = names.index(pair.true), names.index(pair.guessed)
        assert pair.count == matrix[i, j] and pair.share == matrix[i, j] / matrix[i].sum()
    counts = [pair.count for pair in found]
    assert counts == sorted(counts, reverse=True)
    assert confusions.most_confused(label, guess, names, 3) == found[:3]
    assert confusions.most_confused(label, label, names) == []


# --- the command ----------------------------------------------------------------------------------


DIGITS = open_source({"name": "digits", "test": 80})  # few, for maps are slow


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The directory of a tiny run on the digits, after twelve steps wrong of most of them."""
    directory = tmp_path_factory.mktemp("runs") / "digits"
    train(config("supervised", "--config.source.test=80"), directory)
    return directory


@pytest.fixture(scope="module")
def run(digits):
    return Run(digits)


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(digits):
    """What the command writes of six of the run's own images."""
    assert explain.explain(digits, (), None, explain.Asked(count=6)) == 0
    return digits / "explain"


def test_a_runs_own_images_are_explained(digits, folder):
    with np.load(digits / "predictions" / "test.npz") as kept:
        probs, label = kept["ema"], kept["label"]
    guess, wrong = probs.argmax(1), probs.argmax(1) != label
    rows = table(folder / "explained.csv")
    places = [int(row["image"].removeprefix("test[").rstrip("]")) for row in rows]
    assert len(set(places)) == 6
    surest = np.sort(probs[wrong].max(1))[::-1][:4]
    np.testing.assert_allclose([float(r["confidence"]) for r in rows[:4]], surest, atol=2e-6)
    assert [row["guess"] != row["truth"] for row in rows] == [True] * 4 + [False] * 2
    matrix = confusion_matrix(label, guess, labels=np.arange(10))
    pairs = table(folder / "confused.csv")
    assert sum(int(row["count"]) for row in pairs) == wrong.sum()
    for row in pairs:
        i, j = int(row["true"]), int(row["guessed"])
        assert (int(row["count"]), int(row["other_way"])) == (matrix[i, j], matrix[j, i])
        assert int(row["of"]) == matrix[i].sum()
    near = table(folder / "neighbours.csv")
    assert len(near) == 18 and {row["rank"] for row in near} == {"1", "2", "3"}
    for name in ("explained.png", "map.png", "confused.png"):
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 200 and np.ptp(np.asarray(picture.convert("L"))) > 100


def test_neighbours_are_labelled_images_and_their_cosines_are_of_embeddings(run):
    own = explain_read.own_of(run, True)
    subjects = explain_read.own_subjects(run, own, 5, True)
    near = explain_read.near(run, own, subjects)
    features = run.embeddings(subjects.images)
    known = run.embeddings(DIGITS.read("train", own.split.labelled))
    cosines = neighbours.unit(features) @ neighbours.unit(known).T
    np.testing.assert_allclose(near.cosines[:, 0], cosines.max(1), atol=1e-5)
    best = own.split.labelled[cosines.argmax(1)]
    np.testing.assert_array_equal(near.images[:, 0], DIGITS.read("train", best))
    np.testing.assert_array_equal(near.labels[:, 0], DIGITS.labels["train"][best])
    assert [names[0] for names in near.names] == [f"train[{i}]" for i in best]


def digit_files(folder, n=3):
    """Digits as PNG files, with a broken one in the midst."""
    paths = [folder / f"{i}.png" for i in range(n)]
    for path, image in zip(paths, DIGITS.read("train", np.arange(n)), strict=True):
        Image.fromarray(image[..., 0]).save(path)
    paths[1].write_bytes(b"<html>")
    return paths


def test_files_are_explained_and_a_broken_one_has_a_row(digits, tmp_path, monkeypatch, capsys):
    paths, out = digit_files(tmp_path), tmp_path / "out"
    (out).mkdir()
    (out / "explained-7.png").write_bytes(b"of an earlier command")
    (out / "mine.csv").write_text("stays")
    words = ("explain", digits, *paths, "--out", out, "--class", "3", "--map", "pca")
    assert run_cli(monkeypatch, *words, "--map_of", "stage_0") == 2
    said = capsys.readouterr().out
    rows = table(out / "explained.csv")
    assert [row["image"] for row in rows] == [str(paths[i]) for i in (0, 2, 1)]
    assert [bool(row["error"]) for row in rows] == [False, False, True]
    assert not rows[2]["guess"] and "2 of 3 files" in said and "cannot be read" in said
    assert not (out / "explained-7.png").exists() and (out / "mine.csv").exists()
    assert {p.name for p in out.glob("*.png")} == {"explained.png", "map.png", "confused.png"}


def test_the_same_command_writes_the_same_bytes_and_says_what_they_are(
    digits, folder, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    assert run_cli(monkeypatch, "explain", digits, "--out", out, "--count", 6) == 0
    assert {path.name for path in folder.iterdir()} == {path.name for path in out.iterdir()}
    for path in folder.iterdir():
        assert path.read_bytes() == (out / path.name).read_bytes(), path.name
    said = capsys.readouterr().out
    assert "the 4 surest of" in said and str(out) in said and "next: " in said
    assert "Grad-CAM at last_conv" in said and "most confused" in said


def test_where_the_data_has_changed_the_heat_remains(digits, tmp_path, monkeypatch, capsys):
    changed, out = tmp_path / "run", tmp_path / "out"
    shutil.copytree(digits, changed)
    kept = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps({**kept, "data_fingerprint": "other"}))
    paths = digit_files(tmp_path)
    assert run_cli(monkeypatch, "explain", changed, paths[0], "--out", out) == 0
    assert "no neighbours, no map, no confusions: the data has changed" in capsys.readouterr().out
    assert {p.name for p in out.iterdir()} == {"explained.png", "explained.csv"}
    assert run_cli(monkeypatch, "explain", changed, "--out", out) == 2
    assert "name files" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, says",
    [
        (("--layer", "last_con"), "Did you mean 'last_conv'"),
        (("--layer", "features"), "no map of places"),
        (("--class", "zero"), "knows no class 'zero'"),
        (("--map", "tnse"), "Did you mean 'tsne'"),
        (("--map_of", "stage_9"), "no endpoint 'stage_9'"),
        (("--count", "-1"), "explains no image"),
        (("0.png", "1.png", "2.png", "--count", "2"), "--count 3"),
        (("nothing.png",), "no file 'nothing.png'"),
        (("1.png",), "none of 1 files can be read"),
        (("--out", "0.png"), "is no folder"),
    ],
)
def test_mistakes_are_said_and_nothing_is_written(
    words, says, digits, tmp_path, monkeypatch, capsys
):
    digit_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = sorted(p.name for p in tmp_path.iterdir())
    out = () if "--out" in words else ("--out", "out")
    assert run_cli(monkeypatch, "explain", digits, *words, *out) == 2
    printed = capsys.readouterr()
    assert says in printed.err and not printed.out
    assert sorted(p.name for p in tmp_path.iterdir()) == before


# --- what others call -----------------------------------------------------------------------------


def test_the_heat_of_a_run_is_that_of_its_network_whatever_the_batch(run):
    images, classes = DIGITS.read("train", np.arange(20)), np.arange(20) % 10
    found = explained.heat(run, images, classes)
    assert found.shape == (20, 8, 8) and found.dtype == np.float32
    shown = jnp.asarray((images.astype(np.float32) - 127.5) / 127.5)

    def network(x):
        return run._apply(run._variables, x, train=False)

    whole = jax.jit(lambda x, k: grad_cam.heat(network, x, k))(shown, classes)
    np.testing.assert_allclose(found, whole, atol=1e-4)
    np.testing.assert_allclose(
        explained.heat(run, images[18:], classes[18:]), found[18:], atol=1e-5
    )
    assert explained.heat(run, images[:0], classes[:0]).shape == (0, 8, 8)


def test_two_devices_find_what_one_does(digits, run, tmp_path):
    shutil.copytree(digits, tmp_path / "two")
    kept = json.loads((digits / "config.json").read_text())
    (tmp_path / "two" / "config.json").write_text(json.dumps({**kept, "devices": 2}))
    images, classes = DIGITS.read("train", np.arange(3)), np.arange(3)
    two = Run(tmp_path / "two")
    found = explained.heat(two, images, classes)
    np.testing.assert_allclose(found, explained.heat(run, images, classes), atol=1e-5)
    ends = inside.vectors(two, images, "last_conv")
    np.testing.assert_allclose(ends, inside.vectors(run, images, "last_conv"), atol=1e-5)


def test_an_endpoint_is_the_mean_of_its_map(run):
    images = DIGITS.read("train", np.arange(4))
    np.testing.assert_allclose(
        inside.vectors(run, images, "features"), run.embeddings(images), atol=1e-5
    )
    shown = jnp.asarray((images.astype(np.float32) - 127.5) / 127.5)
    _, ends = run._apply(run._variables, shown, train=False)
    wanted = np.asarray(ends["stage_0"]).mean((1, 2))
    np.testing.assert_allclose(inside.vectors(run, images, "stage_0"), wanted, atol=1e-5)


def test_a_cold_image_is_grey_and_a_hot_place_has_a_colour():
    image = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    cold = explained.overlay(image, np.zeros((6, 6), np.float32))
    np.testing.assert_allclose(cold, image.mean(-1, keepdims=True).repeat(3, -1), atol=0.5)
    heat = np.zeros((6, 6), np.float32)
    heat[2, 3] = 1
    hot = explained.overlay(image[..., :1], heat)
    assert hot.dtype == np.uint8 and hot.shape == (6, 6, 3)
    assert int(hot[2, 3, 0]) - int(hot[2, 3, 2]) > 30  # yellow: more red than blue
    lightness = [explained.overlay(image[:1, :1], np.full((1, 1), v)).sum() for v in (0.5, 1.0)]
    assert np.ptp(cold, axis=-1).max() == 0 and lightness[0] != lightness[1]


def test_a_map_is_drawn_with_unknown_and_without_guesses(tmp_path):
    points, _ = blobs(30, 2)
    label = np.arange(30) % 12 - 1
    names = [f"class ${i}$" for i in range(11)]
    explained.draw_map(tmp_path / "a.png", points, label, None, names, "a map")
    explained.draw_map(tmp_path / "b.png", points, label, label + 1, names, "a map", points[:3])
    with Image.open(tmp_path / "b.png") as picture:
        assert f"{(label >= 0).sum()} mistakes ringed" in picture.text["Description"]
    with Image.open(tmp_path / "a.png") as picture:
        assert "ringed" not in picture.text["Description"]


class OfWeights:
    """What the programs need of a Run, with first weights."""

    def __init__(self, model, shape):
        self.config = {"info": {"image_shape": shape}, "batch": {"evaluation": 8}, "devices": 1}
        self._variables = parallel.replicate(initialise(model, shape, 0), 1)
        self._apply = model.apply


def test_a_transformer_is_looked_at_below_the_layer_that_its_class_token_leaves():
    run = OfWeights(vit(num_classes=3, size="tiny", patch=4, depth=2), (8, 8, 3))
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    layer, found = inside.heat_at(run, images, np.array([0, 1]))
    assert layer == "block_1" and found.max() > 0
    assert inside.layers(run) == ("embed", "block_1", "block_2", "norm")
    with pytest.raises(UserError, match="the logits do not come from layer 'stage_0'"):
        explained.heat(run, images, np.array([0, 1]), "stage_0")


def assert_map_and_neighbours_only(directory, out, monkeypatch, capsys):
    words = ("explain", directory, "--out", out, "--map", "pca")
    assert run_cli(monkeypatch, *words, "--count", 3) == 0
    names = {p.name for p in out.iterdir()}
    assert names == {"explained.png", "explained.csv", "neighbours.csv", "map.png"}
    rows = table(out / "explained.csv")
    assert len(rows) == 3 and not any(row["guess"] for row in rows)
    said = capsys.readouterr().out
    assert "heat" not in said and "confused" not in said and "mistakes" not in said
    assert run_cli(monkeypatch, *words, "--class", "3") == 2
    assert "restores images" in capsys.readouterr().err


def test_where_guesses_mean_nothing_there_are_a_map_and_neighbours(
    digits, tmp_path, monkeypatch, capsys
):
    restoring = build.last_objective(Run(digits).config)._replace(task="restoration")
    monkeypatch.setattr(build, "last_objective", lambda config: restoring)
    assert_map_and_neighbours_only(digits, tmp_path / "out", monkeypatch, capsys)


@pytest.mark.slow
def test_an_autoencoder_has_a_map_and_neighbours(tmp_path, monkeypatch, capsys):
    train(config("reconstruction", "--config.length.steps=2"), tmp_path / "run")
    assert_map_and_neighbours_only(tmp_path / "run", tmp_path / "out", monkeypatch, capsys)
