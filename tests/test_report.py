"""The report of a run: every section, what is left out and why, hostile text, a real browser."""

import base64
import csv
import html
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, roc_curve

from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.evaluation.operating_points import operating_points
from lowlabel_jax.evaluation.scores import scores
from lowlabel_jax.runs.compare import compare
from lowlabel_jax.runs.pages import blocks, figures
from lowlabel_jax.runs.report import (
    report,
    report_about,
    report_classes,
    report_course,
    report_first,
    report_pictures,
    report_read,
    report_sight,
    report_trust,
)
from lowlabel_jax.runs.train import train
from tests import tiny_config

EVIL = "<script>alert(1)</script>"
SECTIONS = [  # of a run that has everything but two classes, restored images and learnt settings
    "Learning curves",
    "What the unlabelled images taught",
    "Class by class",
    "What is taken for what",
    "Can its confidence be trusted?",
    "The surest mistakes",
    "Where it looks",
    "A map of the images",
    "What training saw",
    "The model",
    "The data",
    "How to repeat it",
    "Not shown, and why",
]


class Page(HTMLParser):
    """A page's words, tags, images, headings and links; it closes what it opens."""

    VOID = ("meta", "img", "br")

    def __init__(self, path):
        super().__init__()
        self.raw = Path(path).read_text(encoding="utf-8")
        self.open, self.tags, self.ids, self.links = [], set(), [], []
        self.words, self.images, self.headings, self.attributes = [], [], [], set()
        self.feed(self.raw)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        of = dict(attributes)
        self.tags.add(tag)
        self.attributes |= set(of)
        self.ids += [of["id"]] if "id" in of else []
        self.links += [of["href"]] if "href" in of else []
        self.images += [of] if tag == "img" else []
        self.open += [] if tag in self.VOID else [tag]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append((int(self.open[-1][1]), data))

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    @property
    def sections(self):
        return [text for level, text in self.headings if level == 2]


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def written(directory, out=None):
    """(page, its folder) of a run's report."""
    page, *others = report.report(report_read.read(directory), out)
    assert all(path.exists() for path in others)
    return Page(page), page.parent


def parts(directory, *of, out=None):
    """(a page of these parts alone, the folder of their files)."""
    folder = out or directory / "parts"
    found = report_read.read(directory)
    text = blocks.html("parts", [block for part in of for block in part(found, folder)])
    files.write_text(folder / "parts.html", text)
    return Page(folder / "parts.html"), folder


def guesses(label, k, right=0.8, seed=0):
    """Probabilities [n, k] whose likeliest class is the label in about so many cases."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(k, 0.3), len(label))
    hit = rng.random(len(label)) < right
    p[hit, label[hit]] += 1
    return (p / p.sum(1, keepdims=True)).astype(np.float32)


def made(folder, names, label, p, rows=(), **more):
    """A run directory as a finished run leaves it, its data nowhere to be found."""
    sizes = {"labelled": 9, "unlabelled": 90, "validation": 0, "test": len(label)}
    info = {"num_classes": len(names), "class_names": list(names), "image_shape": [8, 8, 1]}
    phase = {"name": "train", "objective": {"name": "fixmatch"}, "steps": 20}
    config = {
        "method": "",
        "seed": 0,
        "seeds": {"split": 0, "augment": 0},
        "source": {"name": "folder", "path": "/nowhere/gone"},
        "image": {},
        "pretrained": {},
        "model": {"name": "small_cnn", "channels": [4], "pool": [True]},
        "phases": [phase],
        "info": {**info, "sizes": sizes},
        "data_fingerprint": "f00d",
    }
    files.write_json(folder / "config.json", {**config, **more})
    status = {"state": "finished", "step": 20, "time": "2026-01-02T03:04:05+00:00"}
    files.write_json(folder / "status.json", status)
    numbers = {"split": "test", "step": 20, **scores(p, label, names)}
    files.write_json(folder / "eval/test.json", numbers)
    files.write_npz(folder / "predictions/test.npz", label=label, step=np.int64(20), ema=p)
    lines = "".join(json.dumps(row) + "\n" for row in rows or curve(len(names)))
    files.write_text(folder / "metrics.jsonl", lines + '{"step": 30, "los')
    return folder


def curve(k, kept=0.9):
    """Rows of metrics.jsonl of a method with pseudo-labels; of class 0 more and more of them."""
    for step in (5, 10, 15, 20):
        share = np.full(k, (1 - step / 40) / (k - 1))
        share[0] = step / 40
        yield {
            "step": step, "phase": "train", "loss": 1 / step, "mask_rate": 0.05 * step - 0.25,
            "accuracy/labelled": 1.0, "pseudo_label/accuracy": 0.7,
            "pseudo_label/accuracy_kept": kept, "pseudo_label/histogram": share.tolist(),
        }  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def coarse():
    """Figures of few pixels: they are drawn as always, and written in a tenth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "DPI", 50)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(run directory, page, folder) of a tiny FixMatch run on the digits, and its report."""
    folder = tmp_path_factory.mktemp("report") / "run"
    config = tiny_config.get_config("fixmatch")
    config.objective = {"name": "fixmatch", "threshold": 0.12}
    config.source = {"name": "digits", "test": 60}
    config.log_every = 4
    train(config, folder, command=["python", "launch.py", "--config=it's"])
    return folder, *written(folder)


@pytest.fixture(scope="module")
def simple(tmp_path_factory):
    """(page, folder, label, p, run) of a made-up run of three classes whose data is gone."""
    folder = tmp_path_factory.mktemp("simple") / "run"
    label = np.repeat([0, 1, 2], [30, 20, 10])
    p = guesses(label, 3, right=0.6)
    made(folder, ("a", "b", "c"), label, p)
    return *written(folder), label, p, folder


def test_every_section_of_a_trained_run_is_there_with_its_content(trained):
    _, page, folder = trained
    assert page.sections == SECTIONS
    left_out = page.text.split("Not shown, and why")[-1]
    for reason in ("restores none", "more than two classes", "given, not learnt"):
        assert reason in left_out
    assert left_out.count(":") == 3, "nothing else is left out"
    names = ("curves", "pseudo_labels", "classes", "confusion", "calibration", "map")
    for name in (*names, "mistakes"):
        assert table(folder / f"{name}.csv"), name
    for name in (*names, "mistakes", "heat", "views"):
        with Image.open(folder / f"{name}.png") as image:
            assert image.width > 300 and np.ptp(np.asarray(image.convert("L"))) > 150, name


def test_a_page_is_one_file_that_asks_for_nothing_and_runs_nothing(trained):
    _, page, folder = trained
    assert not {"script", "link", "iframe", "object", "base", "form"} & page.tags
    assert not any(name.startswith("on") for name in page.attributes)
    assert "src=" not in page.raw.replace('src="data:image/', "")
    assert "http:" not in page.raw and "https:" not in page.raw and "url(" not in page.raw
    assert "default-src 'none'" in page.raw
    assert (folder / "report.html").stat().st_size < 3e6


def test_every_image_is_whole_and_said_in_words(trained):
    _, page, _ = trained
    assert len(page.images) > 30
    for of in page.images:
        kind, _, content = of["src"].partition(";base64,")
        with Image.open(io.BytesIO(base64.b64decode(content))) as image:
            image.load()
        assert kind in ("data:image/png", "data:image/jpeg")
    silent = [of for of in page.images if not of["alt"]]
    shots = page.raw.count('<div class="row">')
    assert len(page.images) - len(silent) == shots + 6, "one text a group of images, six figures"


def test_headings_are_in_order_and_the_contents_lead_to_each(trained):
    _, page, _ = trained
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    assert len(set(page.ids)) == len(page.ids)
    assert page.links == [f"#{name}" for name in page.ids if f'<h2 id="{name}"' in page.raw]
    assert len(page.links) == len(SECTIONS)


def test_the_same_run_gives_the_same_bytes_and_nothing_old_is_left(trained):
    run, page, folder = trained
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    files.write_text(folder / "roc.csv", "of an earlier report")
    files.write_text(folder / "notes.txt", "somebody's own")
    again, _ = written(run)
    (folder / "notes.txt").unlink()
    assert again.raw == page.raw
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_repeats_the_run_is_on_the_page(trained):
    run, page, _ = trained
    config = files.read_json(run / "config.json")
    assert """python launch.py '--config=it'"'"'s'""" in page.text
    assert config["data_fingerprint"] in page.text
    assert "phases.train.objective.threshold 0.12" in page.text
    assert f"jaxlib {files.read_json(run / 'environment.json')['jaxlib']}" in page.text


def test_what_the_pictures_show_is_what_the_files_say(trained):
    run, page, folder = trained
    with np.load(run / "predictions/test.npz") as kept:
        label, p = kept["label"], kept["ema"]
    wrong = np.flatnonzero(p.argmax(1) != label)
    rows = table(folder / "mistakes.csv")
    assert sorted(int(row["place"]) for row in rows) == wrong.tolist()
    sure = [float(row["confidence"]) for row in rows]
    assert sure == sorted(sure, reverse=True)
    assert sure[0] == pytest.approx(p[wrong].max())
    assert rows[0]["image"] == f"test[{rows[0]['place']}]", "the digits have no files"
    points = table(folder / "map.csv")
    assert [int(row["true"]) for row in points] == label.tolist()
    assert [int(row["guess"]) for row in points] == p.argmax(1).tolist()
    given = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    curves = table(folder / "curves.csv")
    assert [float(row["loss"]) for row in curves if row["loss"]] == [
        row["loss"] for row in given if "loss" in row
    ]


def test_recall_has_wilsons_interval_and_confusion_is_that_of_the_guesses(simple):
    page, folder, label, p, _ = simple
    rows = table(folder / "classes.csv")
    assert [row["class"] for row in rows] == ["a", "b", "c"]
    for k, row in enumerate(rows):
        hits = int(((p.argmax(1) == k) & (label == k)).sum())
        low, high = binomtest(hits, int((label == k).sum())).proportion_ci(method="wilson")
        ends = float(row["recall_low"]), float(row["recall_high"])
        assert ends == pytest.approx((low, high), abs=1e-9)
        assert f"{hits} of {(label == k).sum()}" in page.images[2]["alt"]
    lines = (folder / "confusion.csv").read_text().splitlines()[1:]
    counts = [[int(cell) for cell in line.split(",")[1:]] for line in lines]
    assert counts == confusion_matrix(label, p.argmax(1)).tolist()


def test_calibration_is_counted_bin_by_bin(simple):
    page, folder, label, p, _ = simple
    sure, right = p.max(1), p.argmax(1) == label
    for row in table(folder / "calibration.csv"):
        mine = (sure > float(row["low"])) & (sure <= float(row["high"]))
        assert int(row["n"]) == mine.sum()
        if mine.any():
            assert float(row["accuracy"]) == pytest.approx(right[mine].mean())
            assert float(row["confidence"]) == pytest.approx(sure[mine].mean(), abs=1e-6)
    assert f"{100 * sure.mean():.0f} % sure on average" in page.text


def test_a_run_whose_data_is_gone_shows_all_but_images_and_says_why(simple):
    page, folder, label, p, _ = simple
    gone = ("Where it looks", "A map of the images", "What training saw")
    assert [s for s in SECTIONS if s not in gone] == page.sections
    left_out = page.text.split("Not shown, and why")[-1]
    assert all(f"{title}:" in left_out for title in gone)
    assert "Without pictures: " in page.text and "gone" in page.text
    wrong = int((p.argmax(1) != label).sum())
    assert len(table(folder / "mistakes.csv")) == wrong
    assert not (folder / "mistakes.png").exists()


def test_data_that_has_changed_is_not_shown(trained, tmp_path):
    run, _, _ = trained
    copy = shutil.copytree(run, tmp_path / "run")
    config = files.read_json(copy / "config.json")
    files.write_json(copy / "config.json", {**config, "data_fingerprint": "other"})
    found = report_read.read(copy)
    sight = report_sight.see(found)
    with pytest.raises(UserError, match="the data has changed since the run was trained"):
        report_pictures.views(found, sight, tmp_path)
    with pytest.raises(UserError, match="the data has changed"):
        report_pictures.heat(found, sight, tmp_path)
    assert not isinstance(sight.run, UserError), "the weights are as they were"


def test_a_run_of_an_older_version_and_one_without_weights_are_read_as_far_as_they_go(tmp_path):
    label = np.repeat([0, 1, 2], 20)
    folder = made(tmp_path, ("a", "b", "c"), label, guesses(label, 3))
    config = files.read_json(folder / "config.json")
    for key in ("pretrained", "image", "model", "source"):
        config.pop(key)
    files.write_json(folder / "config.json", config)
    numbers = files.read_json(folder / "eval/test.json")
    for key in ("reliability", "auroc"):
        numbers.pop(key)
    files.write_json(folder / "eval/test.json", numbers)
    page, _ = written(folder)
    assert "of an older version: its config has no 'image'" in page.text
    assert "config.json names no model" in page.text and "unknown data" in page.headings[0][1]
    assert "Can its confidence be trusted?" in page.sections, "counted anew from the guesses"


def test_an_unfinished_run_says_so_and_has_its_curves_alone(tmp_path):
    label = np.repeat([0, 1, 2], 20)
    folder = made(tmp_path, ("a", "b", "c"), label, guesses(label, 3))
    shutil.rmtree(folder / "eval")
    files.write_json(folder / "status.json", {"state": "interrupted", "step": 12})
    page, out = written(folder)
    assert "There is no score yet. The run is interrupted, at step 12:" in page.text
    assert page.sections[:2] == SECTIONS[:2] and "Class by class" not in page.sections
    assert not (out / "classes.csv").exists()
    shutil.rmtree(out)
    (folder / "metrics.jsonl").write_text('{"step": 5, "lo')
    page, out = written(folder)
    assert "metrics.jsonl holds no loss yet" in page.text and "curves.png" not in page.raw


def test_hostile_names_are_text_and_nothing_else(tmp_path):
    names = (
        EVIL,
        '"><img src=x onerror=alert(1)>',
        "=cmd|' /C calc'!A0",
        "$x_{$ \n\x1b[31m",
        "日本語",
    )
    label = np.repeat(np.arange(5), 12)
    p = guesses(label, 5, right=0.5)
    more = {"method": EVIL, "source": {"name": "folder", "path": f"/nowhere/{EVIL}"}}
    page, folder = written(made(tmp_path / "run", names, label, p, **more))
    assert not {"script", "link", "iframe"} & page.tags
    assert not any(name.startswith("on") for name in page.attributes)
    assert "<script" not in page.raw.lower() and page.headings[0][1].startswith(EVIL)
    assert "\x1b" not in page.raw and "日本語" in page.text
    assert "\\x1b[31m" in page.text, "said, not done"
    assert table(folder / "classes.csv")[2]["class"] == f"./{names[2]}", "no spreadsheet runs it"


def test_of_hundreds_of_classes_the_worst_are_drawn_and_all_are_counted(tmp_path):
    names = [f"class {k} with a rather long name" for k in range(150)]
    label = np.tile(np.arange(149), 8)  # the last class has no image
    rng = np.random.default_rng(1)
    p = guesses(label, 150, right=0.9)
    swapped = np.flatnonzero((label < 30) & (rng.random(len(label)) < 0.9))
    p[swapped] = np.roll(p[swapped], 1, axis=1)
    of = (report_classes.classes, report_classes.confusions, report_course.taught)
    page, folder = parts(made(tmp_path, names, label, p), *of)
    rows = table(folder / "classes.csv")
    assert len(rows) == 150 and rows[-1]["recall"] == ""
    recall = np.array([float(row["recall"]) for row in rows[:-1]])
    worst = np.argsort(recall, kind="stable")[:20]
    alt = next(of["alt"] for of in page.images if of["alt"].startswith("Recall of the 20"))
    assert all(f"{names[k]} " in alt for k in worst) and alt.count(" of ") == 20 + 2
    assert "1 classes have no image" in page.text and "All 150 classes as numbers" in page.text
    for name in ("classes", "confusion", "pseudo_labels"):
        with Image.open(folder / f"{name}.png") as image:
            assert image.height < 1.3 * image.width, name
    assert len((folder / "confusion.csv").read_text().splitlines()) == 151


def test_of_two_classes_the_curve_and_its_thresholds_are_shown(tmp_path):
    label = np.repeat([0, 1], [40, 30])
    p, known = guesses(label, 2, 0.5), guesses(label, 2, 0.7, seed=3)
    folder = made(tmp_path, ("ham", "spam"), label, p)
    numbers = files.read_json(folder / "eval/test.json")
    numbers["operating_points"] = operating_points(
        (label == 1, known[:, 1]), (label == 1, p[:, 1]), (0.6, 1.01)
    )
    numbers["temperature_scaling"] = {
        "temperature": 1.5, "fitted_n": 40, "nll_scaled": 0.5, "ece_scaled": 0.03,
    }  # fmt: skip
    files.write_json(folder / "eval/test.json", numbers)
    page, out = parts(folder, report_trust.lines, report_trust.calibration)
    false, true, thresholds = roc_curve(label, p[:, 1].astype(float), drop_intermediate=False)
    rows = table(out / "roc.csv")
    kept = [[float(row[key]) for row in rows] for key in rows[0]]
    np.testing.assert_allclose(kept, [thresholds[1:], false[1:], true[1:]], rtol=0, atol=1e-12)
    found = numbers["operating_points"][0]["test"]
    assert f"60 % {found['threshold']:.4f} {100 * found['precision']:.1f} %" in page.text
    assert "101 % none reaches it" in page.text
    assert "by 40 validation images 1.500 0.5000 3.0 %" in page.text


def test_the_first_screen_warns_of_what_matters_most(tmp_path):
    label = np.repeat([0, 1, 2], 20)
    sure = np.eye(3, dtype=np.float32)[np.where(label == 2, 1, label)] * 0.94 + 0.02
    few = report_read.read(made(tmp_path / "few", ("a", "b", "c"), label, sure))
    first = blocks.html("", report_first.first(few))
    assert "about 67 correctly (55 to 78); always naming the largest class would get 33." in first
    rough, swallowed, unsure = (
        first.index(said)
        for said in ("With 60 images the number is rough", "Class c is mostly called b (20 of 20",
                     "Its confidence is not to be trusted: 96 % on average, and 67 % right")
    )  # fmt: skip
    assert rough < swallowed < unsure
    many = np.repeat(label, 100)
    good = np.eye(3, dtype=np.float32)[many] * 0.97 + 0.01
    fine = report_read.read(made(tmp_path / "good", ("a", "b", "c"), many, good))
    first = blocks.html("", report_first.first(fine))
    assert "100 correctly" in first and 'class="verdict"' in first
    assert not any(said in first for said in ("rough", "mostly called", "not to be trusted"))


def test_wrong_pseudo_labels_are_called_wrong(simple, tmp_path):
    page, folder, _, _, run = simple
    assert "75 % of the unlabelled images taught; 90 % of these were named correctly" in page.text
    assert "Much of what was taught is wrong" not in page.text
    rows = table(folder / "pseudo_labels.csv")
    assert [float(row["share"]) for row in rows if row["class"] == "a"] == [0.125, 0.25, 0.375, 0.5]
    copy = shutil.copytree(run, tmp_path / "run")
    lines = "".join(json.dumps(row) + "\n" for row in curve(3, kept=0.6))
    files.write_text(copy / "metrics.jsonl", lines)
    page, _ = parts(copy, report_course.taught)
    assert "Much of what was taught is wrong" in page.text
    lines = "".join(json.dumps({"step": s, "phase": "t", "loss": 1.0}) + "\n" for s in (1, 2))
    files.write_text(copy / "metrics.jsonl", lines)
    with pytest.raises(UserError, match="no pseudo-label taught"):
        parts(copy, report_course.taught)


def test_a_run_that_restores_shows_its_pictures_and_no_accuracy(tmp_path):
    label = np.repeat([0, 1], 30)
    folder = made(tmp_path, ("a", "b"), label, guesses(label, 2), rows=[{"step": 5, "loss": 0.5}])
    scores_of = {"auroc": 0.97, "average_precision": 0.9, "threshold": 2.0, "detected": 0.8,
                 "false_alarms": None}  # fmt: skip
    classes = [{"name": "a", "n": 30, "share": 0.05}, {"name": "b", "n": 30, "share": 0.8}]
    about = {"score": "error", "normal_classes": ["a"], "scores": {"error": scores_of}}
    numbers = {"split": "test", "step": 20, "headline": "auroc", "auroc": 0.97, "psnr": 20.0,
               "n": 60, "anomaly": {**about, "per_class": classes}}  # fmt: skip
    files.write_json(folder / "eval/test.json", numbers)
    errors = {"mse": np.arange(60.0), "code": np.zeros((60, 3)), "label": label}
    files.write_npz(folder / "predictions/test.npz", step=np.int64(20), **errors)
    (folder / "pictures").mkdir()
    Image.new("RGB", (40, 30), "red").save(folder / "pictures/errors.png")
    Image.new("RGB", (40, 30), "blue").save(folder / "pictures/restored.png")
    page, out = written(folder)
    assert page.sections[:2] == ["Learning curves", "Restored images"]
    assert "test AUROC 0.97 n = 60" in page.text and "accuracy" not in page.text.split("All ")[0]
    assert "finds the anomaly odder in 97.0 % of all pairs" in page.text
    assert "error, decides 0.97 0.9 2 0.8 –" in page.text and "a normal 30 5.0 %" in page.text
    assert [of["alt"] for of in page.images[1:]] == ["restored", "errors"]
    assert [float(row["mse"]) for row in table(out / "restored.csv")] == list(range(60))
    assert "Class by class: the run restores images and names no class." in page.text


def test_the_report_of_a_self_tuned_run_is_beside_that_on_its_tuning(tmp_path):
    label = np.repeat([0, 1, 2], 20)
    value = {"path": "batch.mu", "from": 7, "to": 3, "why": f"less loss {EVIL}"}
    tuned = {"tuned": {"policy": "calm-heron", "values": [value]}}
    folder = made(tmp_path / "run", ("a", "b", "c"), label, guesses(label, 3), **tuned)
    files.write_text(folder / "report/report.html", "on its tuning")
    page, out = written(folder)
    assert (out / "report.html").read_text() == "on its tuning" and (out / "run.html").exists()
    assert "What was learnt by trials" in page.sections and "report.html" in page.links
    assert f"batch.mu 7 3 less loss {EVIL}" in page.text
    page, _ = parts(folder, report_about.learnt, out=tmp_path / "elsewhere")
    assert "../run/report/report.html" in page.links


def test_images_are_taken_from_each_kind_in_turn():
    places, kinds = np.array([9, 4, 7, 1, 3]), np.array([0, 0, 1, 0, 1])
    assert report_pictures.in_turn(places, kinds).tolist() == [9, 7, 4, 3, 1]


def test_the_command_says_what_is_wrong_before_jax_is_imported(tmp_path):
    def lowlabel(*arguments):
        said = "import sys; from lowlabel_jax import cli; code = cli.main(); "
        said += "assert 'jax' not in sys.modules; sys.exit(code)"
        command = [sys.executable, "-c", said, "report", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = lowlabel(tmp_path / "nowhere")
    assert done.returncode == 2 and "holds no run" in done.stderr
    files.write_json(tmp_path / "config.json", {})
    done = lowlabel(tmp_path, "--out", tmp_path / "config.json")
    assert done.returncode == 2 and "is no folder" in done.stderr


def test_a_run_is_asked_for_where_there_is_none(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        report_read.read(tmp_path)


def test_a_comparison_has_a_page_in_the_same_style(tmp_path):
    label = np.repeat([0, 1, 2], 20)
    for seed in range(3):
        for method, right in ((EVIL, 0.9), ("supervised", 0.5)):
            folder = tmp_path / f"{method[1:6]}-{seed}"
            p = guesses(label, 3, right, seed)
            more = {"method": method, "seeds": {"split": seed}, "seed": seed}
            made(folder, ("a", "b", "c"), label, p, **more)
            numbers = files.read_json(folder / "eval/test.json")
            files.write_json(folder / "eval/test.json", {**numbers, "accuracy_raw": 0.5})
    result = compare.compare([tmp_path])
    paths = compare.write(result, tmp_path / "out")
    page = Page(tmp_path / "out/compare.html")
    assert tmp_path / "out/compare.html" in paths
    assert page.sections == ["Methods", "Differences", "Single seeds"]
    assert "script" not in page.tags and "<script" not in page.raw
    (picture,) = page.images
    content = base64.b64decode(picture["src"].partition(",")[2])
    assert content == (tmp_path / "out/compare.png").read_bytes()
    mean = result["methods"]["supervised"]["mean"]
    assert f"supervised: {mean:.3f} [" in picture["alt"] and f"{mean:.4f}" in page.text
    (pair,) = result["pairs"]
    assert f"{EVIL} – supervised: {pair['difference']:+.4f}; {pair['verdict']}." in page.text


def test_a_gallery_in_markdown_is_its_sheet(tmp_path):
    shot = blocks.Shot([np.zeros((8, 8, 1), np.uint8)], ["a"], "a *")
    shown = [blocks.Gallery([shot], tmp_path / "x/g.png"), blocks.Numbers([("acc", "1", "")])]
    text = blocks.markdown([*shown, blocks.Link("there", "a b.html")], tmp_path)
    assert text == "![a \\*](x/g.png)\n\n- acc: 1\n\n[there](a%20b.html)\n"


MEASURE = """
<body><iframe id="f" style="width:390px;height:3000px;border:0" srcdoc="{page}"></iframe>
<pre id="out">waiting</pre>
<script>
onload = () => {{
  const w = document.getElementById("f").contentWindow, d = w.document;
  const broken = [...d.images].filter(i => !i.complete || !i.naturalWidth).length;
  const boxes = [...d.querySelectorAll("main > *")].filter(
    e => e.getBoundingClientRect().right > 390.5).length;
  const asked = w.performance.getEntriesByType("resource").filter(
    e => !e.name.startsWith("data:")).length;
  document.getElementById("out").textContent = "measured " + JSON.stringify(
    {{wide: d.documentElement.scrollWidth, images: d.images.length, broken, boxes, asked}});
}};
</script>
"""


@pytest.mark.skipif(not shutil.which("chromium"), reason="there is no Chromium here")
def test_in_a_browser_on_a_phone_nothing_is_missing_and_nothing_sticks_out(trained, tmp_path):
    _, page, _ = trained
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(MEASURE.format(page=html.escape(page.raw)), encoding="utf-8")
    quiet = ("no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync")
    quiet += ("disable-background-networking", "disable-component-update", "hide-scrollbars")
    command = ["chromium", "--headless", *(f"--{name}" for name in quiet), "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=4000"]
    done = subprocess.run(
        [*command, wrapper.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    found = json.loads(re.findall(r"measured (\{.*?\})", done.stdout)[-1])
    assert found == {"wide": 390, "images": len(page.images), "broken": 0, "boxes": 0, "asked": 0}
