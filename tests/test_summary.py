"""`lowlabel summary`: a network's stages, counted by hand, from papers and by what JAX runs."""

import math
import sys
import xml.etree.ElementTree as ET

import jax
import jax.numpy as jnp
import pytest

from lowlabel_jax import cli
from lowlabel_jax.core import named
from lowlabel_jax.runs.summary import drawing, summary
from lowlabel_jax.runs.summary.summary_stages import look, short

SVG = "{http://www.w3.org/2000/svg}"
PHASES = (
    {"name": "probe", "features": "probe", "train_from": ""},
    {"name": "top", "features": "off", "train_from": "conv_1"},
)


def small(**options):
    return named.build("model", {"name": "small_cnn", **options}, num_classes=5)


def run_cli(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["lowlabel", *map(str, words)])
    return cli.main()


def counted(jaxpr):
    """Products of all convolutions and matrix products of a program, by their operands' shapes."""
    total = 0
    for equation in jaxpr.eqns:
        out, (_, kernel, *_) = equation.outvars[0].aval, (*equation.invars, None, None)
        if equation.primitive.name == "conv_general_dilated":
            total += math.prod(out.shape) * math.prod(kernel.aval.shape[:-1])
        elif equation.primitive.name == "dot_general":
            (summed, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += math.prod(out.shape) * math.prod(left[i] for i in summed)
        for inner in jax.tree.leaves(
            list(equation.params.values()),
            is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr"),
        ):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                total += counted(getattr(inner, "jaxpr", inner))
    return total


def test_a_small_network_by_hand():
    network = look(small(channels=(4, 6), hidden=7), (8, 10, 3))
    assert [tuple(stage)[:4] for stage in network.stages] == [
        ("conv_0", (8, 10, 4), 3 * 3 * 3 * 4, 2 * 80 * 108),
        ("norm_0", (8, 10, 4), 8, 0),
        ("conv_1", (4, 5, 6), 3 * 3 * 4 * 6, 2 * 20 * 216),
        ("norm_1", (4, 5, 6), 12, 0),
        ("head", (5,), 6 * 7 + 7 + 7 * 5 + 5, 2 * (6 * 7 + 7 * 5)),
    ]
    assert network.statistics == 2 * (4 + 6) and network.trained == {}


@pytest.mark.parametrize(
    "text, image, parameters, millions",
    [
        ("mobilenet_v1", "224", 4_231_976, 569),  # arXiv:1704.04861, table 6: multiply-adds
        ("mobilenet_v1:width=0.5", "224", 1_331_592, 149),  # table 6
        ("wide_resnet:depth=28,width=2", "32x32x3", None, None),
        ("small_cnn:channels=(8,8),padding=VALID,head=flatten,hidden=3", "20x16x2", None, None),
    ],
)
def test_counts_are_the_papers_and_what_jax_runs(text, image, parameters, millions):
    network = summary.of_model(text, image, 1000)
    flops = sum(stage.flops for stage in network.stages)
    if millions:
        assert sum(stage.parameters for stage in network.stages) == parameters
        assert round(flops / 2e6) == millions
        return
    model = named.build("model", summary.model_spec(text), num_classes=1000)
    images = jnp.zeros((1, *network.image_shape))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), images, False))
    ran = jax.make_jaxpr(lambda v: model.apply(v, images, False))(variables)
    assert flops == 2 * counted(ran.jaxpr)


def test_frozen_stages_are_those_before_the_one_that_a_phase_trains_from():
    model = small(channels=(4, 6))
    network = look(model, (8, 8, 1), phases=PHASES)
    assert [stage.trained for stage in network.stages] == ["frozen", "frozen", "top", "top", "yes"]
    assert network.trained == {"probe": 35, "top": 35 + 12 + 216}
    assert {stage.trained for stage in look(model, (8, 8, 1)).stages} == {""}
    page = summary.page(network)
    assert "of them trained   35 in phase 'probe', 263 in phase 'top'" in page
    alone = summary.model_table(model, (8, 8, 1), PHASES[1:])
    assert "of them trained   263\n" in alone and "SmallCNN, images 8x8x1" in alone


def test_the_page_has_a_row_for_each_stage_and_the_totals():
    network = summary.of_model("small_cnn:channels=(4,)", "8x8x1", 3)
    assert summary.page(network).splitlines() == [
        "small_cnn(channels=(4,)), images 8x8x1",
        "",
        "stage   shape  parameters   flops",
        "conv_0  8x8x4          36  4.61 k",
        "norm_0  8x8x4           8       0",
        "head    3              15      24",
        "",
        "parameters        59 (0.0 MiB as float32, with 8 of BatchNorm)",
        "FLOPs an image    4.63 k (a product and its sum count two)",
    ]


def test_a_config_with_overrides(monkeypatch, capsys):
    words = ["--config.model.channels=(3,5)", "--config.train_from=head"]
    assert run_cli(monkeypatch, "summary", "tests/tiny_config.py", *words) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0][0].startswith("small_cnn(channels=(3,") and rows[0][-1] == "8x8x1"
    assert rows[3] == ["conv_0", "8x8x3", "27", "3.46", "k", "frozen"]
    assert rows[7] == ["head", "10", "60", "100", "yes"]
    assert ["of", "them", "trained", "60"] in rows


def test_phases_of_a_config_by_name(monkeypatch):
    config = summary.load.load("tests/tiny_config.py", ["--config.train_from=conv_1"])
    with config.unlocked():
        config.phases = {"a": {"features": "cached"}, "b": {}}
        config.order = ("b", "a")
    assert summary._phases(config) == [
        {"name": "b", "features": "off", "train_from": "conv_1"},
        {"name": "a", "features": "cached", "train_from": "conv_1"},
    ]


@pytest.mark.parametrize(
    "words, message",
    [
        (["wide_resnt"], "neither a config nor a model. Did you mean 'wide_resnet'?"),
        (["wide_resnet:deth=3"], "has no option 'deth'. Did you mean 'depth'?"),
        (["wide_resnet:depth"], "'depth' is no option"),
        (["wide_resnet:depth=x"], "must be a whole number"),
        (["small_cnn", "--image=0"], "--image 0 is no size"),
        (["small_cnn", "--image=8x8"], "--image 8x8 is no size"),
        (["small_cnn", "--image=²"], "--image ² is no size"),
        (["small_cnn", "--classes=0"], "--classes 0 is too few"),
        (["small_cnn", "--config.seed=1"], "--config.seed=1 is for a config"),
        (["small_cnn", "--draw=a.png"], "--draw a.png is no .svg"),
        (["tests/tiny_config.py", "--config.train_from=conv_9"], "no stage of the model"),
    ],
)
def test_mistakes_are_named(words, message, monkeypatch, capsys):
    assert run_cli(monkeypatch, "summary", *words) == 2
    assert message in capsys.readouterr().err


def test_models_are_written_with_their_options():
    spec = summary.model_spec("small_cnn:channels=(8,16),padding=VALID,dropout=0.5")
    assert spec == {"name": "small_cnn", "channels": (8, 16), "padding": "VALID", "dropout": 0.5}
    assert summary.called({**spec, "hidden": 0}) == (
        "small_cnn(channels=(8, 16), padding='VALID', dropout=0.5)"
    )
    assert summary.image_shape("96") == (96, 96, 3) and summary.image_shape("9x8x1") == (9, 8, 1)


@pytest.mark.parametrize(
    "count, said",
    [(0, "0"), (999, "999"), (1000, "1.00 k"), (4_090_000_000, "4.09 G"), (999_960, "1.00 M"),
     (123_456, "123 k"), (45_000_000, "45.0 M")],
)  # fmt: skip
def test_counts_have_three_digits(count, said):
    assert short(count) == said


def drawn(network):
    """The drawing as a tree, and its texts."""
    tree = ET.fromstring(drawing.svg(network))
    return tree, [text.text for text in tree.iter(f"{SVG}text")]


def test_a_drawing_has_the_stages_in_order_and_the_frozen_ones_grey():
    network = look(small(channels=(4, 6)), (8, 8, 1), "small_cnn(channels=(4, 6))", PHASES)
    tree, texts = drawn(network)
    boxes = [box for box in tree.iter(f"{SVG}rect") if box.get("rx")]
    assert [box.get("class") for box in boxes] == [
        "end", "frozen", "frozen", "later", "later", "yes",
    ]  # fmt: skip
    tops = [float(box.get("y")) for box in boxes]
    widths = [float(box.get("width")) for box in boxes]
    assert tops == sorted(tops) and len(set(tops)) == 6
    assert widths == sorted(widths, reverse=True) and widths[0] > widths[3] > widths[5]
    names = [text.text for text in tree.iter(f"{SVG}text") if text.get("class") == "name"]
    assert names == ["image", "conv_0", "norm_0", "conv_1", "norm_1", "head"]
    assert texts[:2] == ["small_cnn", "channels=(4, 6)"]
    assert {"8x8x4", "4x4x6", "216", "6.91 k", "probe, top"} - set(texts) == {"probe, top"}
    assert texts.count("top") == 2 and "grey: frozen, kept as the weights were" in texts
    bottom = max(float(text.get("y")) for text in tree.iter(f"{SVG}text"))
    assert bottom < float(tree.get("height")) and tops[-1] < bottom


def test_a_drawing_without_phases_speaks_of_none():
    _, texts = drawn(look(small(), (8, 8, 1), "small_cnn"))
    assert not any("frozen" in text or "phase" in text or "trained" in text for text in texts)


def test_text_in_a_drawing_is_text():
    title = "a <b>&\"c\" \udc80\x00(d='<i>'" + ", ".join(f"e{i}=1" for i in range(80)) + ")"
    tree, texts = drawn(look(small(), (8, 8, 1), title))
    assert texts[0] == 'a <b>&"c" \ufffd\ufffd' and texts[1].startswith("d='<i>'")
    assert all(len(text) <= 115 for text in texts)
    assert not list(tree.iter(f"{SVG}b")) + list(tree.iter(f"{SVG}i"))


def test_a_drawing_is_written(tmp_path, monkeypatch, capsys):
    place = tmp_path / "new" / "net.svg"
    words = ("summary", "small_cnn", "--image=8x8x1", "--classes=3", "--draw", place)
    assert run_cli(monkeypatch, *words) == 0
    assert capsys.readouterr().out.endswith(f"written: {place}\n")
    assert ET.parse(place).getroot().tag == f"{SVG}svg"
