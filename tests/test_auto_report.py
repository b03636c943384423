"""The report of a self-tuned run, from a directory made up here: numbers, words, pictures."""

import json
import math
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.runs.auto import (
    auto_curves,
    auto_fairness,
    auto_plots,
    auto_read,
    auto_report,
    auto_trials,
    auto_words,
)
from lowlabel_jax.runs.compare import compare
from lowlabel_jax.runs.pages import blocks, figures

AWKWARD = '<b>&"$x|y'
PICTURES = ("comparison", "batch", "rate", "halving", "distance", "regularisation", "semi")
BASES = {"untuned": 0.70, "supervised-weak": 0.74, "supervised-strong": 0.77}
POLICY = "calm-heron-3f2a"
VALUES = [
    {"path": "batch.labelled", "from": 64, "to": 32, "why": "no faster beyond 32", "part": "batch"},
    {"path": "optimizer.rate.peak", "from": 0.03, "to": 0.1, "why": "lower", "part": "rate"},
    {"path": "batch.mu", "from": 7, "to": 7, "why": "no gain", "part": "semi"},
]


def config(seed, method, tuned=None):
    """config.json of one run, as far as a report reads it."""
    names = ["supervised", "fixmatch"] if method == "auto" else ["supervised"]
    rate = {"optimizer": {"rate": {"peak": 0.1 if tuned else 0.03}}}
    found = {
        "method": method,
        "seed": seed,
        "seeds": {"split": seed},
        "split": {"labelled": {"total": 20}},
        "phases": [{"name": n, "steps": 300, "objective": {"name": n}, **rate} for n in names],
        "batch": {"labelled": 32 if tuned else 64, "mu": 7},
        "info": {"sizes": {"labelled": 20, "unlabelled": 1400, "validation": 0, "test": 360}},
        "data_fingerprint": "f00d",
    }
    return {**found, "tuned": tuned} if tuned else found


def run(path, seed, method, accuracy, tuned=None):
    files.write_json(path / "config.json", config(seed, method, tuned))
    files.write_json(path / "status.json", {"state": "finished", "step": 600})
    test = {"accuracy": accuracy, "accuracy_raw": accuracy - 0.01, "n": 360, "ci95": [0.5, 0.9]}
    files.write_json(path / "eval/test.json", test)


def trials(paths, count=6):
    """Trials of which number 3 is the best, and the last one was stopped early."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        loss = (0.8 + 0.05 * abs(number - 3) + rng.normal(0, 0.02, 2)).round(4).tolist()
        values = {path: 0.1 * number for path in paths} if number else {}
        state = "pruned" if number == count - 1 else "complete"
        mean = sum(loss) / 2
        found.append(
            {"number": number, "values": values, "loss": loss, "mean": mean, "state": state}
        )
    return {"trials": found, "chosen": 3, "standard_error": 0.0123, "why": "three is best"}


def tuning(folder):
    names = [f"class {AWKWARD}", *(f"kind {k}" for k in range(1, 4))]
    noise = {"index": 7, "name": None, "label": names[0], "guess": names[1], "confidence": 0.987}
    data = {
        "task": "many-class",
        "image_shape": [8, 8, 1],
        "input_range": [0, 255],
        "num_classes": 4,
        "sizes": config(0, "auto")["info"]["sizes"],
        "label_counts": [8, 5, 4, 3],
        "class_names": names,
        "imbalance": 8 / 3,
        "validation": "2 folds of the labelled images",
        "notes": ["the images are grey <&>"],
        "label_noise": [noise],
    }
    files.write_json(folder / "data.json", data)
    batch = {"sizes": [8, 16, 32, 64], "images_per_second": [900.0, 1700.0, 2500.0, 2600.0]}
    batch |= {"gib": [0.1, 0.15, 0.25, 0.5], "chosen": 32, "why": "no faster beyond 32"}
    files.write_json(
        folder / "batch.json", batch | {"refused": [{"size": 128, "why": "out of memory"}]}
    )
    rates = np.geomspace(1e-4, 10, 60)
    smooth = 2.3 - 1.5 / (1 + (0.05 / rates) ** 1.5) + (rates / 3) ** 2
    noisy = smooth + np.random.default_rng(1).normal(0, 0.1, 60)
    test = {"rate": rates.tolist(), "loss": [*noisy.tolist()[:-1], None]}
    test |= {"smoothed": smooth.tolist(), "steepest": 0.05, "diverges": 3.0, "suggested": 0.05}
    halving = [
        {"rate": rate, "state": state, "rungs": [{"step": s, "loss": 2 - i / 5} for i, s in steps]}
        for rate, state, steps in (
            (0.03, "kept", [(0, 10), (2, 20), (3, 40)]),
            (0.1, "kept", [(1, 10), (4, 20), (6, 40)]),
            (1.0, "stopped", [(0, 10)]),
        )
    ]
    rate = {"range": test, "halving": halving, "chosen": 0.1, "why": "lowest after 40 steps"}
    files.write_json(folder / "rate.json", rate)
    levels = np.linspace(0, 1, 6).tolist()
    kinds = {
        k: {"magnitude": levels, "loss": [0.5 + s * m * m for m in levels], "levels": levels}
        for k, s in (("spatial", 2), ("hsv", 0.3), ("contrast", 0.5), ("blur", 1))
    }
    paths = [f"augment.strong.{kind}" for kind in kinds]
    found = {**trials(paths), "distance": kinds, "preset": None}
    files.write_json(folder / "regularisation.json", found)
    files.write_json(folder / "semi.json", trials(["objective.threshold", "batch.mu"]))
    parts = [{"part": "batch", "steps": 40, "images": 4000, "seconds": 2.5}]
    parts += [{"part": "rate", "steps": 120, "images": 8000, "seconds": None}]
    training = {"steps": 600, "images": 48000, "seconds": 10.0}
    files.write_json(folder / "cost.json", {"parts": parts, "training": training})


def metrics(path):
    """Two phases, each after a warm-up that is short; a last line that was cut."""
    lines, step = [], 0
    for phase, steps in (("statistics", 10), ("supervised", 300), ("both", 290)):
        for _ in range(steps // 10):
            step += 10
            loss = math.exp(-step / 200)
            row = {"step": step, "phase": phase, "loss": loss, "mask_rate": None}
            if phase == "both":
                kept = {"pseudo_label/accuracy_kept": 0.9, "pseudo_label/accuracy": 0.8}
                row |= {"mask_rate": step / 700, **kept}
            lines.append(json.dumps(row))
            if step % 50 == 0:
                looked = {"step": step, "phase": phase, "validation/loss": loss + 0.1}
                lines.append(json.dumps(looked | {"validation/accuracy": 1 - loss / 2}))
    files.write_text(path, "\n".join(lines) + '\n{"step": 610, "pha')


def made(folder, seeds=6, gain=0.1):
    """A self-tuned run that has finished, with its comparison over some seeds."""
    tuned = {"policy": POLICY, "values": VALUES}
    for seed in range(seeds):
        place = folder / f"comparison/auto-seed{seed}" if seed else folder
        run(place, seed, "auto", 0.77 + gain + seed / 100, tuned)
        for method, base in BASES.items():
            run(folder / f"comparison/{method}-seed{seed}", seed, method, base + seed / 200)
    result = compare.compare([folder, folder / "comparison"])
    files.write_json(folder / "comparison/compare.json", result)
    tuning(folder / "tuning")
    metrics(folder / "metrics.jsonl")
    files.write_text(folder / "command.sh", "#!/bin/sh\nlowlabel auto <data> && echo done\n")
    environment = {"jax": "0.10.2", "device_count": 1, "commit": "abc", "dirty": False}
    files.write_json(folder / "environment.json", environment)
    return folder


class Page(HTMLParser):
    """A page's text, its tags and whether they close as they open."""

    VOID = ("meta", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.images, self.loose = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == [], "all that was opened is closed"

    def handle_starttag(self, tag, attributes):
        of = dict(attributes)
        if tag in ("table", "img") and not any("scroll" in (c or "") for _, c in self.open):
            self.loose.append(tag)
        if tag == "img":
            self.images.append(of)
        if tag not in self.VOID:
            self.open.append((tag, of.get("class")))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One report for the tests that only look: (directory, page, Markdown, files written)."""
    folder = made(tmp_path_factory.mktemp("auto") / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "DPI", 60)  # a quarter of the time
        written = auto_report.report(folder)
        page = Page((folder / "report/report.html").read_text())
        yield folder, page, (folder / "report/report.md").read_text(), written


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run with one seed, for tests that put back what they take away."""
    return made(tmp_path_factory.mktemp("small") / "run", seeds=1)


def content(folder):
    """What a report says, without drawing it: Markdown."""
    found = auto_read.read(folder)
    return blocks.markdown(auto_report.content(found, {}), folder / "report")


def test_everything_is_written_and_in_the_page(whole):
    folder, page, _, written = whole
    names = ["report.html", "report.md", *(f"{name}.png" for name in (*PICTURES, "training"))]
    assert [path.name for path in written] == names
    assert sorted(path.name for path in (folder / "report").iterdir()) == sorted(names)
    assert len(page.images) == 8
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.images)
    assert all(image["alt"] for image in page.images)


def test_the_page_needs_no_network_and_nothing_in_it_is_wider_than_a_phone(whole):
    folder, page, _, _ = whole
    text = (folder / "report/report.html").read_text()
    assert "<script" not in text and "http" not in text.replace("http-equiv", "")
    assert "url(" not in text and "default-src 'none'" in text
    assert page.loose == [], "tables and pictures scroll in a box of their own"
    assert 'name="viewport"' in text and "prefers-color-scheme: dark" in text


def test_the_parts_stand_in_their_order(whole):
    _, page, markdown, _ = whole
    parts = ["The data", "What was learnt", "The evidence", "Training", "What it cost"]
    parts += ["What this comparison does and does not say", "How to repeat it"]
    for text in (page.text, markdown):
        places = [text.index(part) for part in (f"Self-tuned run: {POLICY}", *parts)]
        assert places == sorted(places)
    assert re.findall(r"^## (.+)$", markdown, re.MULTILINE) == parts


def test_the_headline_has_the_numbers_of_the_comparison(whole):
    folder, page, markdown, _ = whole
    result = files.read_json(folder / "comparison/compare.json")
    auto, untuned = result["methods"]["auto"], result["methods"]["untuned"]
    gain = auto["mean"] - untuned["mean"]
    line = f"auto - untuned: {gain:+.4f} "
    for text in (page.text, markdown, auto_words.words(folder)):
        assert line in text and "p = 0.0312, n = 6 paired seeds" in text
        assert "auto is significantly better" in text
    assert f"{auto['mean']:.4f} ± {auto['sd']:.4f}" in page.text
    for method in BASES:
        assert f"auto - {method}:" in page.text
    assert "nothing can be significant" not in page.text


@pytest.mark.parametrize(("seeds", "least"), [(2, "0.5"), (5, "0.0625")])
def test_fewer_than_six_seeds_are_said_to_be_too_few(seeds, least, tmp_path):
    text = content(made(tmp_path / "run", seeds=seeds))
    assert f"({seeds} pairs cannot give p below {least})" in text
    assert "With n \\< 6 no difference can be significant here" in text
    assert "significantly" not in text


def test_one_seed_has_no_interval_and_no_claim(small):
    text = content(small)
    assert "n = 1 " in text and "significantly" not in text


def test_what_is_worse_is_called_worse(tmp_path):
    folder = made(tmp_path / "run", gain=-0.3)
    assert "auto is significantly worse" in content(folder)
    assert "auto is significantly worse" in auto_words.words(folder)
    found = auto_read.read(folder)
    verdict = list(auto_report.content(found, {}))[1]
    assert verdict.kind == "verdict wrong"


def test_a_pair_is_turned_so_that_positive_means_auto_is_better(tmp_path):
    folder = made(tmp_path / "run")
    given = files.read_json(folder / "comparison/compare.json")
    sides = {tuple(sorted((p["a"], p["b"]))): p for p in given["pairs"]}
    found = auto_words.against(auto_read.read(folder))
    assert [pair["b"] for pair in found] == ["untuned", "supervised-strong", "supervised-weak"]
    for pair in found:
        assert pair["a"] == "auto" and pair["difference"] > 0
        assert pair["ci95"][0] < pair["difference"] < pair["ci95"][1]
        kept = sides[tuple(sorted((pair["a"], pair["b"])))]
        sign = 1 if kept["a"] == "auto" else -1
        assert pair["difference"] == sign * kept["difference"]
    assert {pair["a"] for pair in given["pairs"]} != {"auto"}, "one of them had to be turned"


def test_the_data_is_counted_and_its_oddities_are_told(whole):
    _, page, _, _ = whole
    line = (
        "labelled 20 / validation 0 (2 folds of the labelled images) / unlabelled 1,400 / test 360"
    )
    assert line in page.text
    assert "the images are grey <&>" in page.text and "0.987" in page.text
    assert "The smallest class has 3 labelled images." in page.text


def test_names_of_classes_are_text_and_nothing_else(whole):
    folder, page, markdown, _ = whole
    raw = (folder / "report/report.html").read_text()
    assert "<b>" not in raw and f"class {AWKWARD}" in page.text
    assert "<b>" not in markdown.replace("\\<b\\>", "") and "class \\<b\\>&amp;" in markdown
    assert "\\|y" in markdown, "a bar ends no cell"


def test_each_learnt_value_stands_with_its_reason(whole):
    _, page, markdown, _ = whole
    assert "| batch | batch.labelled | labelled images in a batch | 64 | 32 | no faster" in markdown
    assert "| rate | optimizer.rate.peak | learning rate | 0.03 | 0.1 | lower |" in markdown
    assert "128 was refused: out of memory" in page.text
    assert "10: 1.8, 20: 1.2, 40: 0.8" in page.text, "each rung of the halving"


def test_trials_are_in_order_with_all_their_numbers(whole):
    folder, _, markdown, _ = whole
    given = files.read_json(folder / "tuning/semi.json")["trials"]
    whole_ones = sorted((t for t in given if t["state"] == "complete"), key=lambda t: t["mean"])
    wanted = [t["number"] for t in whole_ones] + [5]
    table = markdown.split("### Semi-supervised learning")[1].split("## Training")[0]
    assert [int(n) for n in re.findall(r"^\| (\d+)", table, re.MULTILINE)] == wanted
    assert "| 3, chosen |" in table and "| 0, default |" in table and "| 5, pruned |" in table
    best = whole_ones[0]
    error = abs(best["loss"][0] - best["loss"][1]) / 2  # of two values: half their distance
    assert f"| {best['mean']:.4g} | {error:.4g} |" in table


def test_what_it_cost_is_a_multiple_of_the_training_run(whole):
    _, _, markdown, _ = whole
    assert "| batch | 40 | 4,000 | 2.5 | 0.08 times | 0.25 times |" in markdown
    assert "| rate | 120 | 8,000 | – | 0.17 times | – |" in markdown
    assert "| all of the learning | 160 | 12,000 | 2.5 | 0.25 times | 0.25 times |" in markdown


def test_the_fairness_of_the_baselines_is_read_from_their_files(tmp_path):
    folder = made(tmp_path / "run", seeds=2)
    text = content(folder)
    assert "| auto | supervised+fixmatch | 20 | 0 | 32 | 600 | batch, rate |" in text
    assert "| untuned | supervised | 20 | 0 | 64 | 600 | none |" in text
    assert "Every run was trained for 600 steps." in text and "do not all have" not in text
    assert f"use the one policy {POLICY}" in text and "spared" not in text
    status = folder / "comparison/untuned-seed1/status.json"
    files.write_json(status, {"state": "finished", "step": 450})
    other = folder / "comparison/supervised-weak-seed0/config.json"
    files.write_json(other, config(0, "supervised-weak") | {"split": {"labelled": 9}})
    text = content(folder)
    assert "The runs differ in their steps: untuned 450 to 600; " in text
    assert "do not all have the same data and division" in text


def test_labels_that_are_spared_to_validate_are_told_and_not_called_unfair(tmp_path):
    folder = made(tmp_path / "run", seeds=2)
    for place in (folder, folder / "comparison/auto-seed1"):
        kept = files.read_json(place / "config.json")
        kept["info"]["sizes"] |= {"labelled": 18, "validation": 2}
        kept["split"] |= {"folds": 10, "fold": 0}
        files.write_json(place / "config.json", kept)
    text = content(folder)
    assert "All runs have the same data" in text
    assert "not trained on: untuned 0, supervised-strong 0, supervised-weak 0, auto 2." in text


@pytest.mark.parametrize(
    ("objective", "wanted"),
    [
        ({"name": "supervised", "strong": False}, "rate, regularisation 1 of 2"),
        ({"name": "supervised", "strong": True}, "rate, regularisation"),
        ({"name": "fixmatch"}, "rate, regularisation, semi 1 of 2"),
        ({"name": "softmatch"}, "rate, regularisation, semi"),
    ],
)
def test_a_learnt_value_counts_where_a_run_looks_at_it(objective, wanted):
    values = [
        {"part": "rate", "path": "optimizer.rate.peak", "from": 1.0, "to": 0.1},
        {"part": "regularisation", "path": "augment.strong.blur", "from": 0, "to": 0.4},
        {"part": "regularisation", "path": "model.dropout", "from": 0, "to": 0.3},
        {"part": "semi", "path": "batch.mu", "from": 7, "to": 3},
        {"part": "semi", "path": "objective.name", "from": "fixmatch", "to": "softmatch"},
        {"part": "semi", "path": "batch.labelled", "from": 8, "to": 8},
    ]
    phase = {"objective": objective, "optimizer": {"rate": {"peak": 0.1}}}
    run = {"batch": {"mu": 3, "labelled": 8}, "augment": {"strong": {"blur": 0.4}}}
    run |= {"phases": [phase], "model": {"dropout": 0.3}}
    assert auto_fairness.in_use(run, values) == wanted
    other = run | {"phases": [{"objective": {"name": "supervised"}}], "model": {}}
    assert auto_fairness.in_use(other, values) == "none"


def test_what_the_parts_cost_is_told_though_nothing_tells_the_whole(small, tmp_path):
    for name in auto_read.TUNING[:-1]:
        (tmp_path / f"run/tuning/{name}.json").parent.mkdir(parents=True, exist_ok=True)
        found = files.read_json(small / f"tuning/{name}.json")
        found["cost"] = {"steps": 10, "images": 100, "seconds": 1.5}
        files.write_json(tmp_path / f"run/tuning/{name}.json", found)
    text = content(tmp_path / "run")
    assert "| all of the learning | 50 | 500 | 7.5 | – | – |" in text


FILES = {
    "config.json": "config.json has no learnt values",
    "status.json": "without a status.json",
    "metrics.jsonl": "There is no metrics.jsonl",
    "command.sh": "There is no command.sh",
    "environment.json": "There is no environment.json",
    "comparison/compare.json": "there are no baselines to compare with",
    **{f"tuning/{n}.json": f"There is no tuning/{n}.json" for n in auto_read.TUNING},
}


@pytest.mark.parametrize("name", FILES)
def test_a_part_without_its_file_is_left_out_with_a_sentence(name, small, tmp_path):
    assert FILES[name] not in content(small)
    (small / name).rename(tmp_path / "away")
    try:
        assert FILES[name] in content(small)
        assert auto_words.words(small)
        drawn = dict(auto_report.plots(auto_read.read(small)))
    finally:
        (tmp_path / "away").rename(small / name)
    gone = {
        "metrics": ["training"],
        "compare": ["comparison"],
        "batch": ["batch"],
        "semi": ["semi"],
    }
    gone |= {"rate": ["rate", "halving"], "regularisation": ["distance", "regularisation"]}
    missing = gone.get(name.split("/")[-1].split(".")[0], [])
    assert [picture for picture, plot in drawn.items() if not plot] == missing


def test_an_empty_directory_is_reported_as_that_and_none_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    written = auto_report.report(tmp_path / "empty")
    assert [path.name for path in written] == ["report.html", "report.md"]
    Page(written[0].read_text())
    assert "There are no test numbers yet" in auto_report.words(tmp_path / "empty")
    with pytest.raises(UserError, match="there is no directory"):
        auto_report.report(tmp_path / "nowhere")


def test_an_unfinished_run_and_a_search_that_gave_nothing_have_a_report(tmp_path):
    folder = made(tmp_path / "run", seeds=1)
    files.write_json(folder / "status.json", {"state": "interrupted", "step": 310})
    preset = {"trials": [], "preset": "CIFAR10_SMALL", "why": "not searched"}
    files.write_json(folder / "tuning/regularisation.json", preset)
    failed = {"number": 0, "values": {}, "loss": [None, None], "mean": None, "state": "failed"}
    files.write_json(folder / "tuning/semi.json", {**trials([]), "trials": [failed]})
    text = content(folder)
    assert "The run is interrupted, at step 310." in text
    assert "Chosen: preset CIFAR10_SMALL. Why: not searched." in text
    assert "| 0, default, failed | – | – | –, – |" in text
    drawn = dict(auto_report.plots(auto_read.read(folder)))
    assert not drawn["distance"] and not drawn["regularisation"] and not drawn["semi"]


def test_the_same_files_give_the_same_bytes(whole):
    folder, _, _, written = whole
    before = [path.read_bytes() for path in written]
    assert auto_report.report(folder) == written
    assert [path.read_bytes() for path in written] == before


def test_a_picture_of_an_earlier_report_does_not_stay(tmp_path):
    tuning(tmp_path / "tuning")
    for path in (tmp_path / "tuning").glob("[!b]*.json"):
        path.unlink()
    stale = tmp_path / "report/halving.png"
    files.write_text(stale, "of another time")
    assert [path.name for path in auto_report.report(tmp_path)[2:]] == ["batch.png"]
    assert not stale.exists()


def pixels(plot, path):
    figures.save(plot.figure, path, "x", plot.words)
    with Image.open(path) as picture:
        assert picture.text["Description"] == plot.words and "Creation Time" not in picture.text
        return np.asarray(picture.convert("RGB"))


def changed_batch(found):
    found["batch"]["images_per_second"][0] = 500.0
    return auto_plots.batch(found["batch"])


def changed_range(found):
    found["rate"]["range"]["smoothed"][20] += 0.4
    return auto_plots.rate_range(found["rate"])


def changed_halving(found):
    found["rate"]["halving"][0]["rungs"][1]["loss"] += 0.2
    return auto_plots.halving(found["rate"])


def changed_distance(found):
    found["regularisation"]["distance"]["blur"]["levels"][2] += 0.1
    return auto_trials.distance(found["regularisation"])


def changed_trials(found):
    found["regularisation"]["chosen"] = 2
    return auto_trials.trials(found["regularisation"])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("batch", changed_batch),
        ("rate", changed_range),
        ("halving", changed_halving),
        ("distance", changed_distance),
        ("regularisation", changed_trials),
    ],
)
def test_a_picture_shows_its_data(name, change, whole, tmp_path):
    folder = whole[0]
    with Image.open(folder / f"report/{name}.png") as picture:
        before = np.asarray(picture.convert("RGB"))
    after = pixels(change(auto_read.read(folder).learnt), tmp_path / "after.png")
    assert before.shape != after.shape or (before != after).any()


def test_phases_begin_where_the_one_before_ended_and_the_curve_names_them(whole):
    rows = auto_read.read(whole[0]).rows
    assert auto_curves.phases(rows) == [
        ("statistics", 0, 10),
        ("supervised", 10, 310),
        ("both", 310, 600),
    ]
    above, below = auto_curves.curves(rows).figure.axes
    names = {text.get_text(): text for text in above.texts}
    assert list(names) == ["statistics", "supervised", "both"]
    heights = [text.get_position()[1] for text in names.values()]
    assert heights[0] != heights[1], "names of short phases do not lie on each other"
    for axes in (above, below):
        borders = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "-."]
        assert borders == [10, 310]
    labels = {line.get_label(): line for line in (*above.lines, *below.lines)}
    assert labels["training"].get_ydata()[-1] == pytest.approx(math.exp(-3))
    assert labels["mask rate"].get_xdata()[0] == 320
    assert labels["lowest of its phase"].get_xdata() == [300]
    assert "pseudo-label accuracy 0.9" not in whole[1].text


def test_the_choice_and_the_divergence_are_marked_on_a_logarithmic_axis(whole):
    found = auto_read.read(whole[0]).learnt["rate"]
    (axes,) = auto_plots.rate_range(found).figure.axes
    marks = {line.get_label(): line.get_xdata()[0] for line in axes.lines}
    assert marks["chosen: 0.1"] == 0.1 and marks["diverges: 3"] == 3
    assert axes.get_xscale() == "log" and axes.get_ylim()[1] < 5, "what diverged leaves the plot"


def test_levels_lie_on_the_curve_of_their_cluster(whole):
    found = auto_read.read(whole[0]).learnt["regularisation"]
    for axes, name in zip(auto_trials.distance(found).figure.axes, found["distance"], strict=True):
        assert axes.get_title("left") == name
        points = axes.lines[1]
        wanted = found["distance"][name]
        assert points.get_xdata().tolist() == wanted["levels"]
        np.testing.assert_allclose(points.get_ydata(), wanted["loss"])
        assert [text.get_text() for text in axes.texts] == list("012345")


def test_of_many_trials_the_best_are_drawn_and_the_marked_ones_always(whole):
    found = auto_read.read(whole[0]).learnt["semi"]
    found = {**found, **trials(["batch.mu"], count=60), "chosen": 58}
    (axes,) = auto_trials.trials(found).figure.axes
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert len(shown) == auto_trials.MOST + 1 and "58, chosen" in shown and "0, default" in shown
    assert axes.get_title("left") == "Trials (41 of 60)"


def test_a_run_that_is_its_own_draw_is_found_though_the_folder_was_moved(tmp_path):
    folder = made(tmp_path / "run", seeds=2)
    found = auto_read.read(folder)
    methods = found.comparison["methods"]
    assert list(methods) == ["untuned", "supervised-strong", "supervised-weak", "auto"]
    assert [c["seed"] for c in auto_read.runs_of(found, methods["auto"])] == [0, 1]
    (tmp_path / "there").mkdir()
    moved = folder.rename(tmp_path / "there/run")
    found = auto_read.read(moved)
    assert [c["seed"] for c in auto_read.runs_of(found, methods["auto"])] == [0, 1]


def test_the_last_words_are_few_and_have_the_numbers(whole):
    folder = whole[0]
    lines = auto_report.words(folder).splitlines()
    assert len([line for line in lines if line]) <= 13
    assert lines[0].startswith("labelled 20 / validation 0")
    assert lines[1] == f"policy: {POLICY}"
    assert lines[2] == "learnt: batch.labelled 64 -> 32, optimizer.rate.peak 0.03 -> 0.1"
    assert lines[3] == "tried and left as they were: 1 setting"
    accuracies = {line.split(":")[0] for line in lines if "test accuracy" in line}
    assert accuracies == {"auto", *BASES}
    assert f"report: {folder}/report/report.html" in lines
    assert lines[-1].startswith("next: ") and f"predict {folder}" in lines[-1]


def test_a_report_needs_neither_jax_nor_a_window(whole):
    code = (
        "import sys, pathlib; from lowlabel_jax.runs.auto import auto_report as a; "
        "a.words(pathlib.Path(sys.argv[1])); "
        "assert not {'jax', 'flax', 'matplotlib', 'optuna'} & set(sys.modules), 'heavy'"
    )
    environment = {**os.environ, "DISPLAY": ""}
    command = [sys.executable, "-c", code, str(whole[0])]
    subprocess.run(command, check=True, env=environment)
