"""The pages of docs/ say what is there: a page for each method, its options, links, commands."""

import argparse
import ast
import importlib.util
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from lowlabel_jax import cli
from lowlabel_jax.configuration import load
from lowlabel_jax.core import named
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.ops.initialise import initialise
from lowlabel_jax.pretrained import pixels
from lowlabel_jax.pretrained.fitting import fitted
from lowlabel_jax.pretrained.layout import layouts
from tests import test_compare
from tests.tiny_config import RESTORING
from tools import model_tables, results

ROOT = Path(__file__).parent.parent
METHODS = sorted(named.parts("objective"))
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
ARXIV = re.compile(r"\b(\d{4}\.\d{5})\b")
ROW = re.compile(r"^\| `(\w+)` \| `([^`]+)` \|", re.M)  # of a table of options
# methods whose own paper has no arXiv id: its author instead
OTHERS = {"pseudo_label": "Lee", "reconstruction": "Hinton", "denoising": "Vincent"}
CONFIGS = dict.fromkeys(RESTORING, "digits_denoise")  # that a page's command runs


def page(name):
    return (ROOT / "docs" / "methods" / f"{name}.md").read_text(encoding="utf-8")


def said_of_itself(name):
    module = (ROOT / "lowlabel_jax" / "objectives" / f"{name}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(module)) or ""


def section(text, title):
    """The lines of a document below a heading, up to the next one of any depth."""
    found = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##+ |\Z)", text, re.M | re.S)
    assert found, f"no heading {title!r}"
    return found[1]


def sub_commands():
    (commands,) = (
        action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    return set(commands.choices)


def test_every_method_has_a_page_and_every_page_a_method():
    assert sorted(path.stem for path in (ROOT / "docs" / "methods").glob("*.md")) == METHODS


def test_the_index_lists_every_method_once():
    index = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\w+)\]\(methods/(\w+)\.md\) \|(.*)$", index, re.M)
    assert sorted(name for name, _, _ in rows) == METHODS
    for name, link, rest in rows:
        assert name == link and set(ARXIV.findall(rest)) <= set(ARXIV.findall(page(name))), name


@pytest.mark.parametrize("name", METHODS)
def test_a_page_names_the_paper_that_its_module_names(name):
    text, docstring = page(name), said_of_itself(name)
    source = text.partition("**Source**")[2].partition("**Where it differs here**")[0]
    if name in OTHERS:
        assert OTHERS[name] in docstring and OTHERS[name] in source
    else:
        assert ARXIV.findall(docstring)[0] in ARXIV.findall(source)


@pytest.mark.parametrize("name", METHODS)
def test_a_pages_table_is_the_signature(name):
    options = named.options("objective", name)
    wanted = {k: o.default for k, o in options.items() if o.default is not named.REQUIRED}
    said = ROW.findall(page(name))
    assert [option for option, _ in said] == list(wanted)
    assert {option: ast.literal_eval(value) for option, value in said} == wanted


@pytest.mark.parametrize("name", METHODS)
def test_a_pages_command_runs_the_method_with_the_defaults_of_its_table(name):
    config = load.load(
        str(ROOT / f"configs/{CONFIGS.get(name, 'digits_fixmatch')}.py"),
        [f"--config.objective.name={name}"],
    )
    defaults = {k: o.default for k, o in named.options("objective", name).items()}
    chosen = {k: v for k, v in config.objective.items() if k != "name" and v != defaults[k]}
    text = page(name).partition("**Run it**")[2].partition("**When**")[0]
    said = re.search(r"from that config it has(.*?), which", text, re.I | re.S)
    values = re.findall(r"`(\w+)=([^`]+)`", said[1] if said else "")
    assert {k: ast.literal_eval(v) for k, v in values} == chosen
    assert bool(chosen) == (name == "fixmatch"), "the config is FixMatch's own"


@pytest.mark.parametrize("name", METHODS)
def test_a_page_has_its_parts_and_a_place_for_numbers(name):
    text = page(name)
    for part in ("```math", "**BatchNorm**", "**Where it differs here**", "**When"):
        assert part in text, part
    assert f"`lowlabel_jax/objectives/{name}.py`" in text
    file = f"configs/{CONFIGS.get(name, 'digits_fixmatch')}.py"
    assert f"--config={file} --workdir=runs/{name} --config.objective.name={name}" in text
    marked = rf"\n<!-- numbers {name} -->\n.*?<!-- end -->\n\Z"
    assert re.search(marked, section(text, "Numbers"), re.S)


def test_every_augmentation_is_described():
    text = section((ROOT / "docs" / "augmentation.md").read_text(encoding="utf-8"), "Recipes")
    assert sorted(re.findall(r"^\| `(\w+)` \|", text, re.M)) == sorted(named.parts("augment"))


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    for said, number in re.findall(r"\[([^\]]+)\]\(https://arxiv.org/abs/([\d.]+)\)", text):
        assert said.removeprefix("arXiv:") == number, f"{path.name}: [{said}] links to {number}"
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{path.name} links to {link}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M)
            there = {re.sub(r"[^\w\- ]", "", t).lower().replace(" ", "-") for t in titles}
            assert anchor in there, f"{path.name} links to {link}"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_name_what_there_is(path):
    text = path.read_text(encoding="utf-8")
    for config in re.findall(r"--config=([\w./]+\.py)", text):
        assert (ROOT / config).is_file(), f"{path.name} names {config}"
    for command in re.findall(r"(?:^|`)lowlabel ([a-z][a-z-]*)", text, re.M):
        assert command in sub_commands(), f"{path.name} names lowlabel {command}"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_training_commands_would_be_accepted(path):
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^python launch\.py (.*)$", text, re.M):
        words = line.partition("#")[0].split()
        (file,) = (word.partition("=")[2] for word in words if word.startswith("--config="))
        if file.endswith("/config.json"):  # of a run that the reader has
            continue
        overrides = [word for word in words if word.startswith(load.PREFIX)]
        config = load.load(str(ROOT / file), overrides)
        for where, spec in load.parts(config):
            kind = where.rpartition(".")[2] if "augment" not in where else "augment"
            assert not list(named.problems(kind, spec, where)), line


def test_the_tables_are_those_of_the_results_that_are_kept():
    """`python tools/results.py fill` would change nothing: no number is typed by hand."""
    filled = results.filled()
    assert len(filled) == len(METHODS) + 2 and results.results()
    for path, text in filled.items():
        assert path.read_text(encoding="utf-8") == text, path


def test_a_result_says_how_it_came_about(tmp_path, monkeypatch):
    """From fabricated runs to the cell of a table."""
    for method, values in {
        "supervised": [0.5, 0.6],
        "supervised-weak": [0.55, 0.7],
        "fixmatch": [0.9, 0.8],
    }.items():
        for seed, value in enumerate(values):
            test_compare.run(tmp_path / "runs" / f"{method}{seed}", value, seed, method=method)
    monkeypatch.setattr(results, "DOCS", tmp_path)
    (tmp_path / "page.md").write_text("<!-- numbers fixmatch -->\nold\n<!-- end -->\n")
    results.keep(tmp_path / "runs", "digits10", "Digits", "the command")
    results.fill()
    (kept,) = results.results().values()
    assert kept["baseline"] == "supervised-weak" and kept["command"] == "the command"
    assert kept["methods"]["fixmatch"]["against"]["difference"] == pytest.approx(0.225)
    text = (tmp_path / "page.md").read_text()
    assert "| Digits | fixmatch | .850 ± .071 | 2 | +.225 [" in text and "old" not in text
    assert "**.850** ± .071 (2)" in results.everything(results.results())


@pytest.mark.parametrize(
    ("named", "lines"),
    [
        (
            ("b=1", "b=0"),
            ["| b=1 | .550 ± .071 | 2 | – |", "| b=0 | **.850** ± .071 | 2 | +.300 ["],
        ),
        (
            ("supervised-10", "supervised-20", "fixmatch-20"),
            [
                "| supervised-20 | .850 ± .071 | 2 | – |",
                "| fixmatch-20 | **.950** ± .071 | 2 | +.100 [",
            ],
        ),
    ],
)
def test_an_ablation_is_held_against_its_first_value_or_supervised_learning(
    tmp_path, monkeypatch, named, lines
):
    """From fabricated runs to a table, in the order of the sweep and not of the alphabet."""
    runs = {}
    for number, method in enumerate(named):
        for seed, extra in enumerate([0.0, -0.1]):
            value = (0.6, 0.9, 1.0)[number] + extra
            test_compare.run(tmp_path / "runs" / f"{method}{seed}", value, seed, method=method)
            runs[f"{method}{seed}"] = ["--config.batch.mu=2", f"--config.method={method}"]
    (tmp_path / "runs" / "sweep.json").write_text(json.dumps({"runs": runs}))
    monkeypatch.setattr(results, "DOCS", tmp_path)
    (tmp_path / "page.md").write_text("<!-- numbers ablation-b -->\nold\n<!-- end -->\n")
    results.fill()
    assert "Not measured yet." in (tmp_path / "page.md").read_text()
    results.keep(tmp_path / "runs", "ablation-b", "B", "the command")
    results.fill()
    text = (tmp_path / "page.md").read_text()
    assert all(line in text for line in lines) and "`the command` (" in text, text
    rows = re.findall(r"^\| (\S+\d) \|", text, re.M)
    assert rows == list(named) and not results.results()


def models_page():
    return (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


def test_the_tables_of_weights_are_the_catalogues():
    """`python tools/model_tables.py` would change nothing."""
    text = models_page()
    assert sorted(name for _, name, _ in model_tables.MARKED.findall(text)) == sorted(
        model_tables.HEADS
    )
    for name in ("tried", "untried"):
        assert f"<!-- table {name} -->\n\n{model_tables.table(name)}\n\n<!-- end -->" in text
    checked = section(text, "Weights that are known").partition("| what was checked")[2]
    for one in model_tables.catalogue.TRIED:
        assert re.search(rf"^\| .*`{one.name}`.* \|", checked, re.M), one.name


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=row[0], marks=() if i < 3 else pytest.mark.slow)
        for i, row in enumerate(model_tables.MODELS)
    ],
)
def test_the_table_of_models_is_what_summary_says(row):
    assert f"\n| {' | '.join(model_tables.model_row(*row))} |\n" in models_page()


def test_the_page_of_models_has_them_all_with_their_options():
    text = models_page()
    listed = {text.partition(":")[0] for text, _, _ in model_tables.MODELS}
    assert listed == set(named.parts("model"))
    shared = {"num_classes", "hidden", "dropout", "dtype", "momentum", "epsilon"}
    rows = dict(re.findall(r"^\| `(\w+)` \| (`.*) \|$", section(text, "The models"), re.M))
    rows = {name: said for name, said in rows.items() if name in listed}
    assert rows.keys() == listed
    for name, said in rows.items():
        missing = set(named.options("model", name)) - shared - set(re.findall(r"`(\w+)`", said))
        assert not missing, f"{name} has {missing}"


def test_the_pages_pixels_are_all_there_are():
    said = re.findall(r"^\| `(\w+)` \|", section(models_page(), "Bringing weights in"), re.M)
    assert sorted(name for name in said if name in pixels.PIXELS) == sorted(pixels.PIXELS)


def test_the_drawing_has_the_stages_of_its_network():
    svg = (ROOT / "docs" / "finetune.svg").read_text(encoding="utf-8")
    model = named.build("model", {"name": "efficientnet", "size": "lite0"}, num_classes=2)
    drawn = re.findall(r'<text class="name"[^>]*>(\w+)<', svg)
    assert drawn == ["image", *model.stages] and len(svg) < 20_000


def module(code, name, folder):
    """A block of a document as a module."""
    (folder / f"{name}.py").write_text(code)
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_the_model_and_the_weights_of_contributing_fit(tmp_path):
    """Every tensor, as its layout names it, ends where the model has a leaf for it."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code, rules = re.findall(r"```py\n(.*?)```", text, re.S)
    model = module(code, "my_model", tmp_path).my_model(num_classes=3, width=4)
    variables = initialise(model, (8, 8, 3), seed=0)
    assert set(variables["params"]) == set(model.stages) and model.stages[-1] == "head"
    (layout,) = module(rules, "my_layout", tmp_path).LAYOUTS
    pixels.find(layout.pixels)
    shapes = {"classifier.weight": (3, 8), "classifier.bias": (3,)}
    for i, (given, made) in enumerate([(3, 4), (4, 8)], 1):
        shapes[f"features.{i}.conv.weight"] = (made, given, 3, 3)
        shapes[f"features.{i}.norm.num_batches_tracked"] = ()
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"features.{i}.norm.{leaf}"] = (made,)
    rng = np.random.default_rng(0)
    tensors = {name: rng.uniform(1, 2, shape) for name, shape in shapes.items()}
    filled, account = fitted(variables, tensors, layout)
    assert account.head_kept and not account.unmatched and len(account.left_out) == 2
    assert len(account.matched) == len(jax.tree.leaves(variables))
    kernel = filled["params"]["block_1"]["conv"]["kernel"]
    np.testing.assert_array_equal(
        kernel[0, 2, 1, 3], np.float32(tensors["features.1.conv.weight"][3, 1, 0, 2])
    )
    mean = filled["batch_stats"]["block_2"]["norm"]["mean"]
    np.testing.assert_array_equal(mean, np.float32(tensors["features.2.norm.running_mean"]))
    logits, ends = model.apply(filled, np.zeros((2, 8, 8, 3), np.float32), False)
    assert logits.shape == (2, 3) and {"stage_0", "last_conv", "features"} <= set(ends)


def test_models_that_take_weights_are_those_the_documents_say():
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| `no pretrained weights are known.*", text, re.M)
    for name in named.parts("model"):
        if f"`{name}`" in row:
            with pytest.raises(UserError):
                layouts(name)
        else:
            assert layouts(name)


def test_troubleshooting_quotes_messages_that_there_are():
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `([^`]+)` \|", text, re.M)
    assert len(quoted) > 20
    source = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "lowlabel_jax").rglob("*.py"))
    joined = re.sub(r'"\s*\n\s*f?"', "", source)  # a message that is written over several lines
    assert [message for message in quoted if message not in joined] == []
