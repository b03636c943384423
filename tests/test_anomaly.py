"""Runs that restore images, and those that know normal ones alone: splits, scores, pictures."""

import csv
import io
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from sklearn.covariance import LedoitWolf
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors

import lowlabel_jax
from lowlabel_jax.configuration import check, load
from lowlabel_jax.configuration.keys import base
from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data import normal, splits
from lowlabel_jax.evaluation import anomaly, restoration
from lowlabel_jax.evaluation.similarity import ssim
from lowlabel_jax.objectives.corruption import KINDS
from lowlabel_jax.ops import restoring
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs import evaluate, listing
from lowlabel_jax.runs.compare import compare
from lowlabel_jax.runs.predict import autolabel, predict_rows
from lowlabel_jax.runs.restored import restored_pictures
from lowlabel_jax.runs.train import train
from tests.test_splits import by_class, toy, wanted
from tools import anomaly_table

NORMALS = ("ant", "bee")
SHARED = {"labelled": {"per_class": 1}, "validation": {"per_class": 2}, "normal_classes": NORMALS}


# --- which images are trained on ------------------------------------------------------------------


def test_all_but_the_test_set_are_of_normal_classes():
    data = toy([0, 1, 2, -1] * 6)
    split = splits.split_of(data, wanted(**SHARED, test={"per_class": 2}), 0)
    for name in ("labelled", "unlabelled", "validation"):
        assert set(data.labels["train"][getattr(split, name)]) == {0, 1}, name
    assert by_class(data, split.test) == [2, 2, 2] and by_class(data, split.validation) == [2, 2, 0]
    assert len(split.unlabelled) == 2 * (6 - 2 - 2), "no image of a class that is not known"
    assert splits.info_of(data, split).num_classes == 3, "the classes stay: the test set has them"


def test_a_split_that_was_kept_is_the_same_again(tmp_path):
    data, made = toy([0, 1, 2] * 6), wanted(**SHARED, test={"per_class": 2})
    split = splits.split_of(data, made, 0)
    splits.write(tmp_path / "split.json", split, data)
    again = splits.split_of(data, made, 5, tmp_path / "split.json")
    assert all((a == b).all() for a, b in zip(split, again, strict=True))


def test_a_validation_set_of_the_source_is_of_normals_and_its_test_set_is_whole():
    own = {"validation": ([0, 1, 2, 2], range(40, 44)), "test": ([2, 0, 2], range(60, 63))}
    data = toy([0, 1, 2] * 3, **own)
    known = normal.validated(data, NORMALS)
    assert known.labels["validation"].tolist() == [0, 1]
    kept = known.read("validation", np.arange(2))
    assert (kept == data.read("validation", np.arange(2))).all()
    split = splits.split_of(known, wanted(normal_classes=NORMALS), 0)
    assert [len(splits.rows(known, split, n)[1]) for n in ("validation", "test")] == [2, 3]
    assert known.fingerprint == data.fingerprint, "so that tasks of one data set compare"
    assert normal.validated(data, ()) is data


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"normal_classes": ("ante",)}, "no class 'ante'. Did you mean 'ant'"),
        ({"normal_classes": ("ant", "bee", "cat")}, "has all classes: ant, bee, cat"),
        ({"validation": {"total": 0}}, "no normal image is held out"),
        ({"labelled": {"per_class": 1}, "normal_classes": ("bee",)}, "no training image is of"),
    ],
)
def test_what_cannot_be_a_task_is_refused(changed, message):
    data = toy([0, 0, 0, 2, 2, 2, 0, 2, 1, 1], numbers=range(10))
    made = wanted(**{**SHARED, "validation": {"total": 3}, "allow_fewer": True, **changed})
    if "no training" in message:
        made["validation"] = {"per_class": 2}
    with pytest.raises(UserError, match=message):
        splits.split_of(normal.validated(data, made["normal_classes"]), made, 0)


@pytest.mark.parametrize(("test", "said"), [([0, 1], "are normal"), ([2, 2], "of other classes")])
def test_a_test_set_of_one_kind_is_said(test, said, capsys):
    data = toy([0, 1, 2] * 4, test=(test, range(60, 62)))
    splits.split_of(data, wanted(**SHARED), 0)
    assert f"all test images are {'normal' if 0 in test else 'of other classes'}" in (
        capsys.readouterr().err
    )
    assert said


# --- scores ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows():
    """Rows of forty normals, and of thirty images of which ten are far off."""
    rng = np.random.default_rng(0)

    def made(n, shift):
        code = rng.normal(size=(n, 3)) @ np.array([[2.0, 0.3, 0], [0, 1, 0.5], [0, 0, 0.2]]) + shift
        mse = rng.gamma(2.0, 0.01, n) * (1 + np.abs(shift))
        square = rng.uniform(0.1, 0.3, n)
        kl, bce = rng.uniform(3, 9, n), rng.uniform(0.1, 0.2, n)
        found = {"code": code, "mse": mse, "square": square, "kl": kl, "bce": bce}
        found["ssim"] = rng.uniform(0.2, 0.9, n)
        return {name: np.float32(values) for name, values in found.items()}

    new = [made(20, 0.0), made(10, 4.0)]
    return made(40, 0.0), {name: np.concatenate([one[name] for one in new]) for name in new[0]}


def test_each_score_is_what_it_says(rows):
    known, new = rows
    found = anomaly.scores(anomaly.fit(known), new, values=784)
    np.testing.assert_allclose(found["error"], new["mse"], rtol=1e-6)
    np.testing.assert_allclose(found["relative"], new["mse"] / new["square"], rtol=1e-6)
    np.testing.assert_allclose(found["structural"], 1 - new["ssim"], rtol=1e-6)
    np.testing.assert_allclose(found["elbo"], new["bce"] * 784 + new["kl"], rtol=1e-6)
    theirs = LedoitWolf().fit(known["code"].astype(float))
    squared = theirs.mahalanobis(new["code"].astype(float))
    np.testing.assert_allclose(found["mahalanobis"] ** 2, squared, rtol=1e-6)
    # Distances of white codes are Mahalanobis distances between the codes themselves.
    near = NearestNeighbors(n_neighbors=1, metric="mahalanobis",
                            metric_params={"VI": theirs.precision_})  # fmt: skip
    distance, _ = near.fit(known["code"].astype(float)).kneighbors(new["code"].astype(float))
    np.testing.assert_allclose(found["neighbour"], distance[:, 0], rtol=1e-4)


def test_the_combined_score_counts_each_in_the_normals_spreads(rows):
    known, new = rows
    logs = []
    for these in (known, new):
        theirs = LedoitWolf().fit(known["code"].astype(float))
        far = theirs.mahalanobis(these["code"].astype(float)) ** 0.5
        parts = (these["mse"] / these["square"], 1 - these["ssim"], far)
        logs.append([np.log(part.astype(float)) for part in parts])
    by_hand = sum((logs[1][i] - logs[0][i].mean()) / logs[0][i].std() for i in range(3)) / 3
    found = anomaly.scores(anomaly.fit(known), new, 784)["combined"]
    np.testing.assert_allclose(found, by_hand, rtol=1e-5, atol=1e-6)


def test_codes_that_never_change_and_black_images_have_scores(rows):
    known, new = rows
    flat = {**known, "code": np.zeros((40, 3), np.float32), "square": np.zeros(40, np.float32)}
    for these in (flat, new):
        found = anomaly.scores(anomaly.fit(flat), these, 784)
        assert all(np.isfinite(values).all() for values in found.values())


def test_the_threshold_is_a_held_out_score_that_so_many_do_not_exceed():
    scores = np.random.default_rng(1).permutation(100) / 100
    assert anomaly.threshold(scores, 0.95) == 0.95
    assert (scores <= anomaly.threshold(scores, 0.9)).mean() >= 0.9
    assert anomaly.threshold(np.array([3.0]), 0.95) == 3.0


def test_what_was_found_is_counted(rows):
    score, odd = np.array([0.1, 0.4, 0.35, 0.8, 0.9]), np.array([False, False, True, True, True])
    found = anomaly.judged({"error": score}, {"error": 0.36}, odd)["error"]
    assert found["auroc"] == pytest.approx(roc_auc_score(odd, score))
    assert found["average_precision"] == pytest.approx(average_precision_score(odd, score))
    assert (found["false_alarms"], found["detected"]) == (0.5, 2 / 3)
    low, high = found["detected_ci95"]
    assert low < 2 / 3 < high
    classes = anomaly.by_class(score > 0.36, np.array([0, 0, 2, 2, 2]), ("a", "b", "c"))
    assert [(c["n"], c["flagged"], c["share"]) for c in classes] == [
        (2, 1, 0.5), (0, 0, None), (3, 2, 2 / 3)]  # fmt: skip


@pytest.mark.parametrize("odd", [True, False])
def test_one_kind_alone_has_no_auroc(odd):
    found = anomaly.judged({"error": np.array([1.0, 2.0])}, {"error": 1.5}, np.full(2, odd))
    one = found["error"]
    assert one["auroc"] is one["average_precision"] is None
    assert one["false_alarms" if odd else "detected"] is None
    assert one["detected" if odd else "false_alarms"] == 0.5


# --- how images are restored ----------------------------------------------------------------------


def by_windows(a, b):
    """SSIM of [h, w] images, window by window with numpy's covariances."""
    side, found = min(7, *a.shape), []
    for y in range(a.shape[0] - side + 1):
        for x in range(a.shape[1] - side + 1):
            one, two = (v[y : y + side, x : x + side].ravel() for v in (a, b))
            (var_1, both), (_, var_2) = np.cov(one, two)
            means = one.mean(), two.mean()
            first = (2 * means[0] * means[1] + 1e-4) / (means[0] ** 2 + means[1] ** 2 + 1e-4)
            found.append(first * (2 * both + 9e-4) / (var_1 + var_2 + 9e-4))
    return np.mean(found)


@pytest.mark.parametrize("shape", [(11, 9), (5, 6)])
def test_ssim_is_the_mean_over_windows(shape):
    a, b = np.random.default_rng(0).random((2, 2, *shape, 2)).astype(np.float32)
    wanted = [np.mean([by_windows(x[..., c], y[..., c]) for c in (0, 1)]) for x, y in zip(a, b)]  # noqa: B905
    np.testing.assert_allclose(ssim(a, b), wanted, rtol=1e-4)
    np.testing.assert_allclose(ssim(a, a), 1, rtol=1e-6)


class Dull:
    """A network that restores what it is shown, dimmed; its code is the mean of the image."""

    @staticmethod
    def apply(variables, images, train):
        pixels = (images + 1) / 2
        dimmed = np.float32(0.98) * pixels * variables["params"] + np.float32(0.01)
        ends = {"restored": jax.numpy.log(dimmed / (1 - dimmed)), "features": pixels.mean((1, 2))}
        return None, ends


IMAGES = np.random.default_rng(2).integers(0, 256, (7, 6, 5, 1), np.uint8)
ONE = {"params": np.ones((1, 1, 1, 1), np.float32)}


def dull(corrupt=lambda key, image: image, batch=4, devices=1, **how):
    return restoration.restorer(Dull.apply, corrupt, 3, batch, devices, **how)


def test_rows_are_of_each_image():
    found, clean = dull()(ONE, IMAGES), IMAGES / np.float64(255)
    dimmed = 0.98 * clean + 0.01
    mse = ((dimmed - clean) ** 2).mean((1, 2, 3))
    entropy = -(clean * np.log(dimmed) + (1 - clean) * np.log(1 - dimmed)).mean((1, 2, 3))
    np.testing.assert_allclose(found["mse"], mse, rtol=1e-3)
    np.testing.assert_allclose(found["psnr"], 10 * np.log10(1 / mse), rtol=1e-4)
    np.testing.assert_allclose(found["bce"], entropy, rtol=1e-5)
    np.testing.assert_allclose(found["square"], (clean**2).mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found["code"], clean.mean((1, 2)), rtol=1e-5)
    numbers = restoration.numbers(found)
    assert numbers["psnr"] == pytest.approx(found["psnr"].mean(), rel=1e-6)
    assert "psnr_shown" not in numbers, "nothing was done to the images"


@pytest.mark.parametrize(("batch", "devices"), [(3, 1), (8, 2)])
def test_noise_is_of_the_image_whatever_the_batch(batch, devices):
    noisy = KINDS["gaussian"](0.5)
    one = dull(noisy, pictures=True)(ONE, IMAGES)
    other = dull(noisy, batch, devices, pictures=True)(ONE, IMAGES)
    for name in one:
        np.testing.assert_allclose(other[name], one[name], rtol=1e-5, atol=1e-6, err_msg=name)
    last = dull(noisy, pictures=True)(ONE, IMAGES[5:], np.array([5, 6]))
    np.testing.assert_allclose(last["shown"], one["shown"][5:], atol=1e-6)
    numbers, clean = restoration.numbers(one), IMAGES / 255
    mse = ((one["shown"] - clean) ** 2).mean((1, 2, 3))
    assert numbers["psnr_shown"] == pytest.approx((10 * np.log10(1 / mse)).mean(), rel=1e-4)
    assert numbers["psnr_gain"] == pytest.approx(numbers["psnr"] - numbers["psnr_shown"])


def test_weights_that_are_not_finite_are_said():
    broken = {"params": np.full((1, 1, 1, 1), np.nan, np.float32)}
    with pytest.raises(UserError, match="7 of 7 restored images are not finite"):
        restoration.numbers(dull()(broken, IMAGES))


# --- whole runs -----------------------------------------------------------------------------------


def tiny(objective="reconstruction", **model):
    """A run on the digits that takes a second once it is compiled."""
    config = base()
    config.split.labelled = {"per_class": 1}
    config.batch.labelled, config.batch.mu = 4, 4
    config.augment.weak = {"name": "identity"}
    config.model = model
    config.objective = {"name": objective}
    config.optimizer = {"name": "adam", "rate": {"name": "constant", "peak": 0.01}}
    config.ema.decay = 0.9
    config.length = {"steps": 40}
    config.log_every, config.devices = 20, 1
    config.checkpoint.every = 20
    return config


def one_class():
    """Threes are normal."""
    config = tiny("vae", name="vae", latent=2, channels=(4,), units=8)
    config.split.normal_classes = ("3",)
    config.split.validation = {"per_class": 20}
    config.evaluate_every, config.anomaly.quantile = 20, 0.9
    return load.override(config, {})


def denoising():
    """Noise taken away by a network of a few hundred weights."""
    config = tiny("denoising", name="conv_autoencoder", channels=(4, 8))
    config.source = {"name": "digits", "test": 50}
    return load.override(config, {})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """name -> the directory of a finished run."""
    folder = tmp_path_factory.mktemp("runs")
    for make in (one_class, denoising):
        train(make(), folder / make.__name__)
    return folder


def numbers_of(run, name="test"):
    return files.read_json(run / "eval" / f"{name}.json")


def rows_of(run, name="test"):
    with np.load(run / "predictions" / f"{name}.npz", allow_pickle=False) as kept:
        return dict(kept)


def test_a_one_class_run_reports_every_score(finished):
    run = finished / "one_class"
    numbers, found = numbers_of(run), rows_of(run)
    odd = found["label"] != 3
    assert numbers["headline"] == "auroc" and numbers["auroc"] > 0.5
    assert (numbers["anomaly"]["normals"], numbers["anomaly"]["anomalies"]) == (51, 449)
    names = ["error", "relative", "structural", "mahalanobis", "combined", "neighbour", "elbo"]
    assert list(numbers["anomaly"]["scores"]) == names
    held_out = rows_of(run, "validation")
    for name, one in numbers["anomaly"]["scores"].items():
        score = found[f"score_{name}"]
        assert one["auroc"] == pytest.approx(roc_auc_score(odd, score))
        assert one["threshold"] == np.quantile(held_out[f"score_{name}"], 0.9, method="higher")
        assert one["false_alarms"] == (score[~odd] > one["threshold"]).mean()
        assert one["detected"] == (score[odd] > one["threshold"]).mean()
    assert numbers["auroc"] == numbers["anomaly"]["scores"]["combined"]["auroc"]
    assert (found["anomaly"] == (found["score_combined"] > numbers["threshold"])).all()
    assert numbers_of(run, "validation")["headline"] == "psnr"
    assert numbers_of(run, "validation")["anomaly"]["scores"]["error"]["auroc"] is None


def test_a_look_at_the_validation_set_is_the_objectives_loss(finished):
    lines = (finished / "one_class" / "metrics.jsonl").read_text().splitlines()
    last = [row for row in map(json.loads, lines) if "validation/loss" in row][-1]
    kept = numbers_of(finished / "one_class", "validation")
    assert last["step"] == kept["step"]
    assert last["validation/loss"] == pytest.approx(64 * kept["bce"] + kept["kl"])
    assert last["validation/psnr"] == pytest.approx(kept["psnr"])


def test_what_a_vae_calls_its_loss():
    rows = {"bce": np.array([0.1, 0.3]), "kl": np.array([2.0, 4.0])}
    assert restoration.loss(rows, {"loss": "bce", "beta": 2.0}, 10) == pytest.approx(2.0 + 6.0)
    assert restoration.loss(rows, {"loss": "bce"}, 10) == pytest.approx(0.2)


def test_pictures_are_drawn_and_show_what_they_say(finished):
    def drawn(name):
        found = sorted((finished / name / "pictures").glob("*.png"))
        for path in found:
            with Image.open(path) as picture:
                picture.load()
                assert picture.info["Description"] and len(np.unique(np.asarray(picture))) > 20
        return {path.stem for path in found}

    always = {"restored", "errors", "roc", "samples", "latent"}
    assert always <= drawn("one_class") <= always | {"false_alarms", "missed"}
    assert drawn("denoising") == {"restored", "errors"}


def test_the_first_of_each_class_are_shown():
    label = np.array([2, 2, 0, 1, 0, 2])
    assert restored_pictures.of_each(label, 4).tolist() == [2, 4, 3, 0]
    assert restored_pictures.of_each(label, 10).tolist() == [2, 4, 3, 0, 1, 5]


def test_a_code_that_is_given_is_what_is_decoded(finished):
    _, state = evaluate.load(finished / "one_class")
    codes = np.array([[0.0, 1.0], [2.0, -1.0], [0.0, 1.0]])
    found = restoration.decoded(state.apply_fn, state.ema, codes, (8, 8, 1))
    decoder = restoring.Decoder((8, 8, 1), 4, (4,))
    params = {"params": state.ema["params"]["decoder"]}
    np.testing.assert_allclose(
        found, jax.nn.sigmoid(decoder.apply(params, codes.astype(np.float32))), rtol=1e-5
    )
    assert (found[0] == found[2]).all() and (found[0] != found[1]).any()


def test_a_denoiser_is_scored_on_noisy_images(finished):
    numbers, found = numbers_of(finished / "denoising"), rows_of(finished / "denoising")
    assert numbers["headline"] == "psnr" and numbers["n"] == 50
    assert numbers["psnr"] == pytest.approx(found["psnr"].mean(), rel=1e-6)
    assert numbers["psnr_gain"] == pytest.approx(numbers["psnr"] - numbers["psnr_shown"])
    assert 5 < numbers["psnr_shown"] < 12, "half of white, clipped"
    status = rundir.status(finished / "denoising")
    assert status["psnr"] == {"test": numbers["psnr"]} and "accuracy" not in status
    assert rundir.headline(status) == f"test psnr {numbers['psnr']:.2f}"


def test_runs_are_listed_and_evaluated_by_their_main_number(finished, capsys):
    shown = listing.page(listing.listing(finished))
    auroc = numbers_of(finished / "one_class")["auroc"]
    assert f"test auroc {auroc:.4f}" in shown and "test psnr" in shown
    before = (finished / "one_class" / "eval" / "test.json").read_bytes()
    numbers = evaluate.evaluate(finished / "one_class", "test")
    assert (finished / "one_class" / "eval" / "test.json").read_bytes() == before
    page = evaluate.page(numbers)
    assert f"test AUROC {auroc:.4f} by combined" in page and "false alarms" in page
    assert "PSNR" in evaluate.page(evaluate.evaluate(finished / "denoising", "test"))
    train(one_class(), finished / "one_class")
    assert "already complete (step 40, validation psnr" in capsys.readouterr().out


@pytest.mark.parametrize("done", [pytest.param(0, marks=pytest.mark.slow), 20])
def test_killed_and_repeated_it_ends_in_the_same_bytes(finished, tmp_path, done):
    """done: steps whose checkpoint is left; 0: killed after the last, before it was scored."""
    whole, again = finished / "one_class", tmp_path / "run"
    shutil.copytree(whole, again)
    for name in ("eval", "predictions", "pictures"):
        shutil.rmtree(again / name)
    (again / "anomaly.npz").unlink()
    if done:
        shutil.rmtree(next((again / "checkpoints").glob("*40")))
    files.write_json(again / "status.json", {"state": "running", "step": done})
    train(one_class(), again)
    ends = ("eval/*.json", "predictions/*.npz", "pictures/*.png", "anomaly.npz", "metrics.jsonl")
    places = [path.relative_to(whole) for end in ends for path in whole.glob(end)]
    assert len(places) > 10
    assert all((again / place).read_bytes() == (whole / place).read_bytes() for place in places)


def test_new_images_are_judged_as_the_test_set_was(finished):
    run, found = lowlabel_jax.load(finished / "one_class"), rows_of(finished / "one_class")
    from lowlabel_jax.data.source import open_source

    images = open_source({"name": "digits"}).read("test", np.arange(20))
    rows = run.predict(images)
    scores = [row["score"] for row in rows]  # logarithms: some are near 0
    np.testing.assert_allclose(scores, found["score_combined"][:20], rtol=1e-4, atol=1e-5)
    assert [r["anomaly"] for r in rows] == found["anomaly"][:20].tolist()
    numbers = numbers_of(finished / "one_class")
    assert rows[0]["threshold"] == numbers["threshold"]
    assert rows[0]["scores"].keys() == numbers["anomaly"]["scores"].keys()
    assert run.embeddings(images).shape == (20, 2)
    assert run.restored(images).shape == images.shape and run.restored(images).dtype == np.uint8
    with pytest.raises(UserError, match="has learnt no classes"):
        run.probabilities(images)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three digits as files, two of one name, and a broken one."""
    from lowlabel_jax.data.source import open_source

    folder = tmp_path_factory.mktemp("new")
    images = open_source({"name": "digits"}).read("test", np.arange(3))
    for image, name in zip(images, ("a/one.png", "b/one.png", "two.png"), strict=True):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image[..., 0]).save(folder / name)
    (folder / "z.png").write_bytes(b"no")
    return folder


def test_the_command_says_which_are_anomalies(finished, pictures, capsys, tmp_path):
    run, said = finished / "one_class", {}
    for form in predict_rows.FORMATS:
        assert predict_rows.label(run, [str(pictures)], form=form) == 2, "one file is broken"
        said[form] = capsys.readouterr().out
    rows = json.loads(said["json"])
    assert [json.loads(line) for line in said["jsonl"].splitlines()] == rows
    scores = rows_of(run)["score_combined"][:3]
    np.testing.assert_allclose([row["score"] for row in rows[:3]], scores, rtol=1e-4, atol=1e-5)
    assert rows[3]["score"] is rows[3]["anomaly"] is None and "it begins with" in rows[3]["error"]
    table = list(csv.reader(io.StringIO(said["csv"])))
    assert table[0] == ["path", "anomaly", "score", "threshold", "error"]
    assert [line[1] for line in table[1:]] == [str(row["anomaly"]) for row in rows[:3]] + [""]
    kinds = ["anomaly" if row["anomaly"] else "normal" for row in rows[:3]]
    lines = said["table"].splitlines()
    assert all(kind in line for kind, line in zip(kinds, lines, strict=False))
    assert "error" in lines[3]


def test_restored_images_are_written(finished, pictures, capsys, tmp_path):
    run = finished / "denoising"
    with pytest.raises(UserError, match="restores images, and has learnt no classes") as caught:
        predict_rows.label(run, [str(pictures)])
    assert "--restored DIR" in caught.value.hint
    out = tmp_path / "out"
    assert predict_rows.label(run, [str(pictures)], restored=out) == 2
    assert {path.name for path in out.iterdir()} == {"one-1.png", "one-2.png", "two.png"}
    with Image.open(out / "two.png") as image:
        mine = np.asarray(image)
    assert (mine == lowlabel_jax.load(run).restored([str(pictures / "two.png")])[0, ..., 0]).all()
    assert "1 of them could not be read" in capsys.readouterr().err
    with pytest.raises(UserError, match="has learnt no classes"):
        autolabel.autolabel(run, [str(pictures)], tmp_path / "labels.csv")
    with pytest.raises(UserError, match="has learnt no classes"):
        lowlabel_jax.load(run).predict([str(pictures / "two.png")])


@pytest.mark.parametrize(
    ("make", "override", "message"),
    [
        (one_class, "objective.name=supervised", "is for runs that end restoring images"),
        (denoising, "median_of=2", "is of accuracies"),
        (one_class, "anomaly.score=elbo", "is of objective 'vae', and the run's is 'denoising'"),
    ],
)
def test_settings_that_contradict_each_other_begin_no_run(make, override, message, tmp_path):
    made = make()
    if "elbo" in override:
        made.objective = denoising().objective
    made = load.override(made, load.parse([f"--config.{override}"]))
    with pytest.raises(UserError, match=message):
        train(made, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_score_and_a_class_are_checked_before_the_data_is_read():
    made = one_class()
    made.anomaly.score, made.split.normal_classes = "joint", (3,)
    with pytest.raises(UserError) as caught:
        check.check(made)
    assert "anomaly.score = 'joint' must be one of error, relative" in str(caught.value)
    assert "split.normal_classes = (3,) must be names" in str(caught.value)
    made = one_class()
    made.tune.budget = "smoke"
    with pytest.raises(UserError, match="goes without tuning"):
        check.check(made)


def test_a_run_that_restores_images_teaches_nobody(finished, tmp_path):
    made = load.override(tiny("noisy_student", name="small_cnn", channels=(4,)), {})
    made.source, made.teacher = {"name": "digits", "test": 50}, str(finished / "denoising")
    with pytest.raises(UserError, match="restores images and has learnt no classes"):
        train(made, tmp_path / "run")


# --- tasks side by side ---------------------------------------------------------------------------


def fabricated(folder, auroc, normal_class, seed=0, score="combined", metric="auroc"):
    """A one-class run as comparing reads it."""
    split = {"normal_classes": [normal_class]}
    about = {"method": "", "phases": [{"objective": {"name": "reconstruction"}}], "split": split}
    info = {"sizes": {"unlabelled": 100 + ord(normal_class)}}
    about |= {"seeds": {"split": seed}, "data_fingerprint": "f00d", "info": info}
    files.write_json(folder / "config.json", {**about, "anomaly": {"score": score}})
    files.write_json(folder / "status.json", {"state": "finished", "step": 1})
    scores = {"error": {"auroc": auroc - 0.1}, "combined": {"auroc": auroc}}
    test = {"headline": metric, metric: auroc, f"{metric}_raw": auroc, "n": 9, "detected": 0.8}
    test |= {"anomaly": {"scores": scores, "score": score, "normal_classes": [normal_class]}}
    files.write_json(folder / "eval" / "test.json", {**test, "false_alarms": 0.05})
    return folder


def test_the_tasks_of_a_method_are_averaged(tmp_path):
    values = [0.9, 0.96, 0.93]
    for name, value in zip("abc", values, strict=True):
        fabricated(tmp_path / name, value, name)
    result = compare.compare([tmp_path])
    assert result["metric"] == "test/auroc (EMA, last step)"
    (method,) = result["methods"].values()
    assert method["mean"] == pytest.approx(np.mean(values)) and method["n"] == 3
    assert method["seeds"] == ["0, normal a", "0, normal b", "0, normal c"]
    written = compare.write(result, tmp_path / "out")
    assert "auroc_raw" in (tmp_path / "out" / "compare.csv").read_text() and len(written) > 3
    shown = anomaly_table.table([str(tmp_path)])
    assert "| mean | 0.8300 | 0.9300 | 0.8000 | 0.0500 |" in shown and "combined *" in shown


def test_different_numbers_do_not_compare(tmp_path):
    fabricated(tmp_path / "a", 0.9, "a")
    fabricated(tmp_path / "b", 19.0, "b", metric="psnr")
    with pytest.raises(UserError, match="scored by different numbers") as caught:
        compare.compare([tmp_path])
    assert f"auroc: {tmp_path / 'a'}" in str(caught.value)
    other = fabricated(tmp_path / "c", 20.0, "c", metric="psnr")
    result = compare.compare([tmp_path / "b", other])
    (method,) = result["methods"].values()
    assert result["metric"].startswith("test/psnr") and method["ci95"][1] > 20, "no share ends at 1"
    compare.write(result, tmp_path / "out")
    with Image.open(tmp_path / "out" / "compare.png") as picture:
        assert "19.500" in picture.info["Description"]
