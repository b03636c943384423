"""Comparisons of fabricated run directories: pairing, grouping, refusals and pages."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.evaluation import statistics
from lowlabel_jax.runs.compare import compare as c
from lowlabel_jax.runs.compare import compare_plot

AWKWARD = "a|b $x$ [red]"  # Markdown, matplotlib and rich each have a meaning for some of it


def run(path, accuracy=0.9, seed=0, objective="fixmatch", state="finished", n=100, **config):
    """A run directory as training leaves it, as far as comparing reads it."""
    option = {"threshold": config.pop("threshold")} if "threshold" in config else {}
    phases = [{"objective": {"name": name, **option}} for name in objective.split("+")]
    whole = {"method": "", "name": path.name, "seed": seed, "phases": phases}
    files.write_json(
        path / "config.json",
        {**whole, "seeds": {"split": seed}, "data_fingerprint": "f00d", **config},
    )
    files.write_json(path / "status.json", {"state": state, "step": 600})
    test = {"accuracy": accuracy, "accuracy_raw": accuracy / 2, "n": n, "ci95": [0, 1]}
    files.write_json(path / "eval/test.json", test)
    return path


def sweep(folder, **methods):
    """A sweep's folder: METHOD-seedS for each accuracy of each method."""
    for method, values in methods.items():
        for seed, value in enumerate(values):
            run(folder / f"{method}-seed{seed}", value, seed, method)
    return folder


def test_methods_pairs_and_metric_are_in_the_layout_that_is_promised(tmp_path):
    fix, base = [0.9, 0.92, 0.89], [0.8, 0.85, 0.8]
    result = c.compare([sweep(tmp_path, fixmatch=fix, supervised=base)])
    assert result["metric"] == "test/accuracy (EMA, last step)"
    method = result["methods"]["fixmatch"]
    assert {k: method[k] for k in ("n", "mean", "sd", "ci95")} == statistics.summary(fix)
    assert method["values"] == fix and method["seeds"] == [0, 1, 2]
    assert method["runs"] == [str(tmp_path / f"fixmatch-seed{s}") for s in range(3)]
    assert method["raw"]["mean"] == pytest.approx(method["mean"] / 2)
    (pair,) = result["pairs"]
    assert (pair["a"], pair["b"], pair["n"]) == ("fixmatch", "supervised", 3)
    wanted = statistics.paired(fix, base)
    assert {k: pair[k] for k in wanted} == wanted
    assert pair["difference"] > 0, "positive: the other is better than the baseline"
    assert pair["holm_p"] == pair["p"] == 0.25
    assert pair["raw"]["difference"] == pytest.approx(pair["difference"] / 2)
    assert result["data"] == {"fingerprint": "f00d", "test_n": 100} and result["skipped"] == []


def with_median(path, accuracy, checkpoints=20):
    """The run with the median of its last checkpoints beside its last step."""
    test = files.read_json(path / "eval/test.json")
    steps = {str(step): accuracy for step in range(checkpoints)}
    test["median"] = {"accuracy": accuracy, "steps": steps}
    files.write_json(path / "eval/test.json", test)


def test_medians_are_compared_where_every_run_has_one_over_as_many(tmp_path):
    folder = sweep(tmp_path, fixmatch=[0.9, 0.8], supervised=[0.5, 0.6])
    for seed, value in enumerate([0.7, 0.71]):
        with_median(folder / f"fixmatch-seed{seed}", value)
    assert c.compare([folder])["metric"] == "test/accuracy (EMA, last step)"
    for seed, value in enumerate([0.41, 0.4]):
        with_median(folder / f"supervised-seed{seed}", value)
    result = c.compare([folder])
    assert result["metric"] == "test/accuracy (EMA, median of the last 20 checkpoints)"
    assert result["methods"]["fixmatch"]["values"] == [0.7, 0.71]
    assert result["methods"]["fixmatch"]["raw"]["values"] == [0.45, 0.4]
    drawn = compare_plot.draw(result).get_suptitle()
    assert drawn == "Test accuracy (EMA, median of the last 20 checkpoints), 2 seeds"
    with_median(folder / "supervised-seed0", 0.4, checkpoints=3)
    assert c.compare([folder])["methods"]["fixmatch"]["values"] == [0.9, 0.8]


@pytest.mark.parametrize(("methods", "pairs"), [(2, 1), (4, 6), (5, 4), (7, 6)])
def test_of_many_methods_each_is_compared_with_the_first_alone(methods, pairs, tmp_path):
    names = ["supervised", *"abcdef"][:methods]
    found = c.compare([sweep(tmp_path, **{name: [0.5, 0.6] for name in names})])["pairs"]
    assert len(found) == pairs
    if methods > 4:
        assert {pair["b"] for pair in found} == {"supervised"}


def test_another_teacher_is_not_another_method(tmp_path):
    for seed in range(2):
        run(tmp_path / f"s{seed}", 0.8, seed, "noisy_student", teacher=f"runs/t{seed}")
    assert c.compare([tmp_path])["methods"]["noisy_student"]["n"] == 2


def test_runs_pair_by_split_seed_and_not_by_place(tmp_path):
    for place, seed in enumerate([3, 1, 2]):
        run(tmp_path / f"a{place}", 0.8 + seed / 100, seed, "fixmatch")
    for place, seed in enumerate([1, 2, 3, 4]):
        run(tmp_path / f"b{place}", 0.7 + seed / 100, seed, "supervised")
    result = c.compare([tmp_path])
    assert result["methods"]["fixmatch"]["seeds"] == [1, 2, 3]
    assert result["methods"]["fixmatch"]["values"] == pytest.approx([0.81, 0.82, 0.83])
    (pair,) = result["pairs"]
    assert pair["n"] == 3 and pair["seeds"] == [1, 2, 3]
    assert pair["ci95"] == pytest.approx([0.1, 0.1])


def test_folds_are_draws_of_one_method_and_pair_with_each_other(tmp_path):
    for name, gain in (("fixmatch", 0.1), ("supervised", 0.0)):
        for fold in (0, 1):
            split = {"folds": 2, "fold": fold}
            place = tmp_path / f"{name}{fold}"
            run(place, 0.5 + 0.2 * fold + gain, objective=name, split=split)
    result = c.compare([tmp_path])
    assert result["methods"]["fixmatch"]["seeds"] == ["0, fold 0", "0, fold 1"]
    assert result["pairs"][0]["n"] == 2
    assert abs(result["pairs"][0]["difference"]) == pytest.approx(0.1)


def test_seeds_that_do_not_pair_are_compared_by_welch(tmp_path):
    for seed in range(3):
        run(tmp_path / f"a{seed}", 0.9 + seed / 100, seed, "fixmatch")
        run(tmp_path / f"b{seed}", 0.8 + seed / 100, seed + 2, "supervised")
    (pair,) = c.compare([tmp_path])["pairs"]
    wanted = statistics.unpaired([0.9, 0.91, 0.92], [0.8, 0.81, 0.82])
    assert pair["test"].startswith("Welch") and pair["seeds"] == []
    assert pair["p"] == pytest.approx(wanted["p"]) and pair["n"] == 3


def test_the_baseline_is_first_and_holm_is_over_all_pairs(tmp_path):
    six = [0.9, 0.91, 0.92, 0.93, 0.94, 0.95]
    worse = [v - 0.1 - i / 1000 for i, v in enumerate(six)]
    mixed = [v + (-1) ** i / 100 for i, v in enumerate(six)]
    result = c.compare([sweep(tmp_path, fixmatch=six, supervised=worse, adamatch=mixed)])
    assert list(result["methods"]) == ["supervised", "adamatch", "fixmatch"]
    names = [(pair["a"], pair["b"]) for pair in result["pairs"]]
    assert names == [
        ("adamatch", "supervised"),
        ("fixmatch", "supervised"),
        ("fixmatch", "adamatch"),
    ]
    ps = [pair["p"] for pair in result["pairs"]]
    assert [pair["holm_p"] for pair in result["pairs"]] == statistics.holm(ps)
    assert result["pairs"][1]["holm_p"] == 3 / 32
    assert "at least 7 seeds" in result["pairs"][1]["verdict"]


def test_one_label_with_two_configs_is_two_methods_named_by_what_differs(tmp_path):
    for seed in range(2):
        run(tmp_path / f"a{seed}", seed=seed, threshold=0.8, rate={"peak": 0.1, "warmup": 5})
        run(tmp_path / f"b{seed}", seed=seed, threshold=0.95, rate={"peak": 0.1, "warmup": 5})
        run(tmp_path / f"c{seed}", seed=seed, objective="supervised", rate={"peak": 0.3})
    names = list(c.compare([tmp_path])["methods"])
    assert names == ["supervised", "fixmatch threshold=0.8", "fixmatch threshold=0.95"]


def test_names_stay_clear_where_two_keys_end_alike_or_a_part_is_replaced(tmp_path):
    for i, (x, y) in enumerate([(1, 2), (3, 4)]):
        optimizer = {"name": "adam" if i else "sgd"}
        run(tmp_path / f"{i}", model={"width": x}, second={"width": y}, optimizer=optimizer)
    assert list(c.compare([tmp_path])["methods"]) == [
        'fixmatch model.width=1 optimizer="sgd" second.width=2',
        'fixmatch model.width=3 optimizer="adam" second.width=4',
    ]


def test_a_method_is_called_by_its_label_or_its_phases(tmp_path):
    run(tmp_path / "a", method="mine")
    run(tmp_path / "b", objective="supervised+fixmatch")
    assert list(c.compare([tmp_path])["methods"]) == ["mine", "supervised+fixmatch"]


def test_unfinished_runs_are_left_out_with_the_reason(tmp_path):
    run(tmp_path / "good")
    run(tmp_path / "diverged", state="diverged")
    (run(tmp_path / "untested") / "eval/test.json").unlink()
    (run(tmp_path / "begun") / "status.json").unlink()
    files.write_json(run(tmp_path / "old") / "eval/test.json", {"accuracy": 0.5, "n": 3})
    result = c.compare([tmp_path])
    assert result["methods"]["fixmatch"]["runs"] == [str(tmp_path / "good")]
    assert {s["run"].rsplit("/", 1)[-1]: s["reason"] for s in result["skipped"]} == {
        "begun": "has no status.json",
        "diverged": "is diverged at step 600",
        "old": "has no accuracy_raw in eval/test.json",
        "untested": "has no test numbers (eval/test.json)",
    }
    with pytest.raises(UserError, match="no finished run(.|\n)*diverged at step 600"):
        c.compare([tmp_path / "diverged"])


@pytest.mark.parametrize("change", [{"data_fingerprint": "beef"}, {"n": 99}])
def test_different_data_are_refused_naming_the_runs(tmp_path, change):
    run(tmp_path / "one"), run(tmp_path / "two", seed=1, **change)
    with pytest.raises(UserError, match="different data(.|\n)*/one(.|\n)*/two"):
        c.compare([tmp_path])


def test_a_seed_twice_in_a_method_is_refused_naming_both(tmp_path):
    run(tmp_path / "one"), run(tmp_path / "two")
    with pytest.raises(UserError, match="split seed 0: .*/one and .*/two"):
        c.compare([tmp_path])


def test_a_run_counts_once_however_it_is_named_and_is_not_searched(tmp_path):
    run(tmp_path / "deep/er/a")
    run(tmp_path / "deep/er/a/export/b", seed=1)
    run(tmp_path / "other/c", seed=2)
    (tmp_path / "deep/link").symlink_to(tmp_path / "other")
    for again in ("deep/er/a", "deep/er/../er/a"):
        paths = [tmp_path / "deep", tmp_path / again]
        assert c.compare(paths)["methods"]["fixmatch"]["n"] == 1


def test_paths_without_runs_say_so(tmp_path):
    with pytest.raises(UserError, match="no directory .*nowhere"):
        c.compare([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="no runs in "):
        c.compare([tmp_path])


def test_a_config_of_something_else_is_named(tmp_path):
    files.write_json(run(tmp_path / "a") / "config.json", {"method": "x"})
    with pytest.raises(UserError, match="a/config.json is not the config of a run: no 'seeds'"):
        c.compare([tmp_path])


def test_labels_are_told_where_the_config_knows_them(tmp_path):
    sizes = {"labelled": 40, "unlabelled": 1000}
    run(tmp_path / "a", info={"sizes": sizes})
    result = c.compare([tmp_path])
    assert result["methods"]["fixmatch"]["sizes"] == sizes
    c.write(result, tmp_path)
    assert "| fixmatch | 1 | 0.9000 | – | 0.4500 | 40 |" in (tmp_path / "compare.md").read_text()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A comparison of three methods with a gap, a lone seed and an awkward name, as written."""
    folder = tmp_path_factory.mktemp("sweep")
    sweep(folder, supervised=[0.74, 0.76, 0.75], fixmatch=[0.86, 0.88])
    run(folder / "lone", 0.5, 1, method=AWKWARD)
    run(folder / "lost", state="interrupted")
    result = c.compare([folder])
    return result, folder / "out", c.write(result, folder / "out")


def test_the_json_is_the_result(written):
    result, out, paths = written
    assert json.loads((out / "compare.json").read_text()) == result
    assert sorted(out.iterdir()) == sorted(paths), "nothing temporary is left behind"


def test_the_markdown_tells_means_seeds_differences_and_what_is_left_out(written):
    text = (written[1] / "compare.md").read_text()
    assert "| supervised | 3 | 0.7500 ± 0.0100 | [0.7252, 0.7748] | 0.3750 ± 0.0050 | – |" in text
    assert "| fixmatch | 0.8600 | 0.8800 | – |" in text
    assert "| fixmatch – supervised | 2 | +0.1200 | [+0.1200, +0.1200] | +0.0600 | 0.5 |" in text
    assert "| a\\|b $x$ [red] | 1 | 0.5000 | – | 0.2500 | – |" in text
    assert "lost` is interrupted at step 600" in text
    assert "significant" not in text, "three seeds cannot earn the word"
    tables = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} == {7, 9, 5}


def test_the_csv_has_what_the_picture_shows(written):
    result, out, _ = written
    rows = list(csv.DictReader((out / "compare.csv").read_text().splitlines()))
    assert [row["method"] for row in rows] == [*3 * ["supervised"], *2 * ["fixmatch"], AWKWARD]
    for row, value in zip(rows, result["methods"]["supervised"]["values"], strict=False):
        assert float(row["accuracy"]) == value
        assert float(row["accuracy_raw"]) == pytest.approx(value / 2)
        assert float(row["ci95_high"]) == result["methods"]["supervised"]["ci95"][1]
    assert rows[5]["sd"] == rows[5]["ci95_low"] == ""


def test_the_picture_has_a_picture_in_it_and_words_beside(written):
    with Image.open(written[1] / "compare.png") as image:
        assert image.width >= 1000 and "0.750 [0.725, 0.775], n = 3" in image.info["Description"]
        blue = np.asarray(image.convert("RGB")).astype(int) @ [-1, 0, 1] > 80
    assert blue.mean() > 0.01, "the second method's bar"


def test_bars_dots_and_whiskers_lie_at_the_values(written):
    axes = compare_plot.draw(written[0]).axes[0]
    assert axes.get_xlim() == (0, 1)
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.75, 0.87, 0.5])
    whiskers = [c.lines[2][0].get_segments()[0][:, 0] for c in axes.containers if len(c) == 3]
    wanted = [m["ci95"] for m in written[0]["methods"].values() if m["ci95"]]
    np.testing.assert_allclose(whiskers, wanted)
    dots = np.concatenate([d.get_offsets().filled(np.nan) for d in axes.collections[-3:]])[:, 0]
    assert sorted(dots[~np.isnan(dots)]) == [0.5, 0.74, 0.75, 0.76, 0.86, 0.88]


def test_the_title_counts_the_seeds(written):
    figure = compare_plot.draw(written[0])
    assert figure.get_suptitle() == "Test accuracy (EMA, last step), 1 to 3 seeds"
    assert "95 % confidence interval" in figure.axes[0].get_title()
    assert compare_plot.seeds({"a": {"n": 1}}) == "1 seed"


def test_the_table_is_plain_text_in_a_pipe(written):
    console = Console(width=100, force_terminal=False)
    with console.capture() as caught:
        console.print(c.table(written[0]))
    lines = caught.get().splitlines()
    cells = [cell.strip() for cell in lines[1].split("  ") if cell.strip()]
    assert cells == ["supervised", "0.7500 ± 0.0100", "[0.7252, 0.7748]", "0.3750 ± 0.0050", "3"]
    assert lines[3].startswith(AWKWARD) and len(lines) == 4
    assert "\x1b" not in caught.get()


def test_showing_prints_the_table_the_verdicts_and_what_is_left_out(written, capsys):
    c.show(written[0])
    out, err = capsys.readouterr()
    assert out.startswith("method ") and "\x1b" not in out
    line = next(line for line in out.splitlines() if line.startswith("fixmatch – supervised"))
    assert "+0.1200, p = 0.5; undecided: 2 seeds cannot" in line  # no interval of two values
    assert "left out: " in err and "lost is interrupted at step 600" in err


def imported(code, *names):
    """Which of the named modules a fresh Python has loaded after some code."""
    code = f"import sys\n{code}\nprint(sorted({set(names)} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_comparing_never_imports_jax_and_the_slow_libraries_when_needed(tmp_path):
    run(tmp_path / "a"), run(tmp_path / "b", seed=1)
    only = "import lowlabel_jax.runs.compare.compare as c, lowlabel_jax.evaluation.scores"
    assert imported(only, "jax", "flax", "scipy", "matplotlib", "rich") == "[]"
    whole = f"{only}\nr = c.compare([{str(tmp_path)!r}])\nc.write(r, {str(tmp_path)!r}), c.table(r)"
    assert imported(whole, "jax", "flax", "matplotlib.pyplot") == "[]"
