"""Which images to label next: the rules against brute force, the list and the picture whole."""

import csv
import itertools

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import cdist
from scipy.stats import entropy

from lowlabel_jax.configuration import load
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data import splits
from lowlabel_jax.data.opened import open_data
from lowlabel_jax.evaluation import next_labels
from lowlabel_jax.runs import evaluate
from lowlabel_jax.runs.predict import label_next, looked
from lowlabel_jax.runs.predict.predict import Run
from lowlabel_jax.runs.train import train
from tests.test_own_images import measured, on, photos, run_cli
from tests.tiny import DIGITS, config

# --- the rules ------------------------------------------------------------------------------------


def points(seed, n=10, m=2, f=3):
    """Random features [n, f], and m of what is known."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, f)), rng.normal(size=(m, f))


def radius(features, centres):
    """How far the worst covered of features lies from the nearest centre."""
    return cdist(features, centres).min(1).max()


@pytest.mark.parametrize("m", [0, 1, 3])
@pytest.mark.parametrize("seed", range(6))
def test_k_centre_greedy_is_within_twice_the_best_cover(seed, m):
    """arXiv:1708.00489: against every choice of three of ten points."""
    features, known = points(seed, n=12 if seed else 10, m=m)
    places, distances = next_labels.farthest_first(features, 3, known)
    assert len(set(places.tolist())) == 3 and (np.diff(distances) <= 0).all()
    choices = itertools.combinations(range(len(features)), 3)
    best = min(radius(features, [*known, *features[list(c)]]) for c in choices)
    greedy = radius(features, [*known, *features[places]])
    assert best <= greedy + 1e-12 and greedy <= 2 * best + 1e-12


def test_k_centre_takes_the_farthest_each_time():
    """Written out with scipy's distances, from the labels on."""
    features, known = points(7, n=40, m=4)
    places, distances = next_labels.farthest_first(features, 10, known)
    centres = list(known)
    for place, distance in zip(places, distances, strict=True):
        gaps = cdist(features, centres).min(1)
        assert place == gaps.argmax() and distance == pytest.approx(gaps.max(), rel=1e-12)
        centres.append(features[place])


def test_k_centre_among_copies_takes_no_image_twice():
    features = np.repeat([[0.0, 0.0], [3.0, 4.0]], 3, axis=0)
    places, distances = next_labels.farthest_first(features, 9, features[:1])
    assert places.tolist() == [3, 0, 1, 2, 4, 5]
    assert distances.tolist() == [5.0, 0, 0, 0, 0, 0]
    alone, first = next_labels.farthest_first(features, 2, features[:0])
    assert alone.tolist() == [0, 3] and first.tolist() == [np.inf, 5.0]


def probabilities(n=200, k=5, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(k, 0.3), n).astype(np.float32)


def test_entropy_is_scipys_and_margin_that_of_the_two_largest():
    p = np.concatenate([probabilities(), np.eye(5, dtype=np.float32), np.full((1, 5), 0.2)])
    np.testing.assert_allclose(next_labels.entropy(p), entropy(p, axis=1), rtol=1e-5, atol=1e-7)
    by_hand = [sorted(row)[-1] - sorted(row)[-2] for row in p.tolist()]
    np.testing.assert_allclose(next_labels.margin(p), by_hand, atol=1e-12)


def test_the_least_certain_come_first():
    p = probabilities()
    none = np.zeros((0, 0))
    places, scores = next_labels.choose("entropy", 7, p, none, none)
    assert set(places) == set(np.argsort(entropy(p, axis=1))[-7:])
    assert (np.diff(scores) <= 0).all()
    places, scores = next_labels.choose("margin", 7, p, none, none)
    assert set(places) == set(np.argsort(next_labels.margin(p))[:7])
    assert (np.diff(scores) >= 0).all() and scores[0] == next_labels.margin(p).min()


@pytest.mark.parametrize("n, pool", [(200, 40), (30, 15), (6, 4)])
def test_mixed_is_k_centre_among_the_least_certain(n, pool):
    """Ten times as many as are wanted, half of all at most; the farthest of all is too certain."""
    p, (features, known) = probabilities(n), points(3, n=n)
    order = np.argsort(-entropy(p.astype(float), axis=1), kind="stable")
    features[order[pool - 1]], features[order[pool]] = 100.0, 1000.0
    places, distances = next_labels.choose("mixed", 4, p, features, known)
    own, gaps = next_labels.farthest_first(features[order[:pool]], 4, known)
    assert places.tolist() == order[own].tolist() and distances.tolist() == gaps.tolist()
    assert places[0] == order[pool - 1]
    assert next_labels.choose("kcentre", 4, p, features, known)[0][0] == order[pool]


@pytest.mark.parametrize("by", next_labels.RULES)
def test_no_more_than_there_are_and_none_twice(by):
    p, (features, known) = probabilities(6), points(1, n=6)
    places, scores = next_labels.choose(by, 20, p, features, known)
    assert sorted(places.tolist()) == list(range(6)) and len(scores) == 6


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """The directory of a finished run with two labels a class."""
    run = tmp_path_factory.mktemp("runs") / "mine"
    few = ("--config.split.labelled.fraction=0.17", "--config.length.steps=2")
    train(on(folder, *few), run)
    return run


def read(place):
    with open(place / "next.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_list_and_a_sheet_of_files(folder, finished, tmp_path, monkeypatch, capsys):
    """By entropy: what predict says of each file, in the right order."""
    given = sorted(map(str, folder.rglob("*.png")))
    words = ("label-next", finished, folder, given[3], "--count=6", "--by=entropy", "--out")
    assert run_cli(monkeypatch, *words, tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "6 of 32 images, by entropy" in said and "contact_sheet.png" in said
    p = Run(finished).probabilities(given)
    order = np.argsort(-entropy(p.astype(float), axis=1), kind="stable")[:6]
    found = read(tmp_path / "out")
    assert [row["rank"] for row in found] == list("123456")
    assert [folder / row["path"] for row in found] == [folder / given[i] for i in order]
    names = np.array(["cats", "dogs"])
    assert [row["guess"] for row in found] == names[p[order].argmax(1)].tolist()
    sure = [float(row["confidence"]) for row in found]
    np.testing.assert_allclose(sure, p[order].max(1), atol=1e-6)
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        assert sheet.width > 5 * 168 and 2 * 168 < sheet.height < 600
        pixels = np.asarray(sheet).astype(int)
        assert (np.ptp(pixels, axis=-1) > 9).mean() > 0.1  # photos in colour, no empty page


def test_labels_that_are_filled_in_open_as_a_table(folder, finished, tmp_path, monkeypatch):
    run_cli(monkeypatch, "label-next", finished, folder, "--count=9", "--out", tmp_path)
    found = read(tmp_path)
    lines = [f"{row['path']},{row['path'].split('/')[0]}" for row in found]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["path,label", *lines]))
    spec = {"name": "table", "path": str(table), "images": str(folder), "id": "path"}
    with (made := config()).unlocked():
        made.source = spec
    source = open_data(load.override(made, {"image.size": "16"}).to_dict())
    assert sorted(source.names["train"]) == sorted(row["path"] for row in found)
    assert source.class_names == ("cats", "dogs")


def test_of_its_own_unlabelled_images_those_far_from_its_labels(folder, finished, tmp_path):
    """By kcentre: written out from predict's own features of the files."""
    assert label_next.label_next(finished, [], 5, "kcentre", tmp_path, True) == 0
    run = Run(finished)
    source, split = looked.data_of(run)
    names = source.names["train"]
    own = np.setdiff1d(split.unlabelled, split.labelled)
    assert len(split.labelled) == 4 and len(own) == 20
    features, known = (
        run.embeddings([str(folder / names[i]) for i in of]) for of in (own, split.labelled)
    )
    places, gaps = next_labels.farthest_first(features, 5, known)
    found = read(tmp_path)
    assert [row["path"] for row in found] == [names[i] for i in own[places]]
    np.testing.assert_allclose([float(row["score"]) for row in found], gaps, rtol=1e-4, atol=1e-5)
    label_next.label_next(finished, [], 99, "margin", tmp_path / "all", True)
    assert sorted(row["path"] for row in read(tmp_path / "all")) == [names[i] for i in own]
    tested = {path.removeprefix(f"{folder}/") for path in measured(folder, finished)}
    assert not tested & {row["path"] for row in read(tmp_path / "all")}


def test_of_arrays_the_index_is_said(tmp_path):
    train(config("supervised", "--config.length.steps=2"), tmp_path / "run")
    assert label_next.label_next(tmp_path / "run", [], 12, "mixed", tmp_path / "out", True) == 0
    found = read(tmp_path / "out")
    index = np.array([int(row["index"]) for row in found])
    split = splits.read(evaluate.kept_split(tmp_path / "run"), DIGITS)
    assert len(set(index)) == 12 and set(index) <= set(split.unlabelled) - set(split.labelled)
    run = Run(tmp_path / "run")
    probs = run.probabilities(DIGITS.read("train", index))
    assert [row["guess"] for row in found] == [str(k) for k in probs.argmax(1)]


def test_a_file_that_cannot_be_read_is_said_and_not_chosen(folder, finished, tmp_path, capsys):
    (tmp_path / "half.png").write_bytes(b"\x89PNG")
    given = [str(tmp_path / "half.png"), str(folder / "dogs")]
    assert label_next.label_next(finished, given, 99, "margin", tmp_path / "out", False) == 2
    assert "half.png cannot be read" in capsys.readouterr().out
    assert len(read(tmp_path / "out")) == 16
    with pytest.raises(UserError, match="none of 1 files can be read"):
        label_next.label_next(finished, given[:1], 1, "margin", tmp_path / "out", False)


@pytest.mark.parametrize(
    "words, message",
    [
        (["x", "--by=entrpy"], "no rule 'entrpy'. Did you mean 'entropy'?"),
        (["x", "--count=0"], "--count 0 chooses no image"),
        ([], "name images, or say --unlabelled"),
        (["x", "--unlabelled"], "name images, or say --unlabelled"),
        (["x", "--out=README.md"], "--out README.md is no folder"),
    ],
)
def test_a_mistake_is_said_before_any_work(words, message, finished, monkeypatch, capsys):
    monkeypatch.setattr(label_next, "Run", None)  # not reached
    assert run_cli(monkeypatch, "label-next", finished, *words) == 2
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 2


def test_data_that_has_changed_is_refused(finished, monkeypatch):
    run = Run(finished)
    run.config["data_fingerprint"] = "another"
    with pytest.raises(UserError, match="the data has changed"):
        looked.data_of(run)
