"""A file's tensors into a model: each leaf filled, each tensor accounted for."""

import re

import jax
import numpy as np
import pytest

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.pretrained import fitting, layout, pixels, turns
from lowlabel_jax.pretrained.layout import Layout, Rule


def model(classes=3):
    """A toy's variables: a convolution, a depthwise one, BatchNorm and a head."""
    return {
        "params": {
            "stem": {"kernel": np.zeros((3, 2, 4, 5), np.float32), "bias": np.zeros(5, np.float32)},
            "deep": {"kernel": np.zeros((3, 3, 1, 5), np.float32)},
            "norm": {"scale": np.ones(5, np.float32), "bias": np.zeros(5, np.float32)},
            "head": {
                "kernel": np.full((5, classes), 7, np.float32),
                "bias": np.full(classes, 8, np.float32),
            },
        },
        "batch_stats": {"norm": {"mean": np.zeros(5, np.float32), "var": np.ones(5, np.float32)}},
    }


TOY = Layout(
    family="toys",
    mark=r"stem\.weight",
    rules=(
        Rule(r"stem\.weight", "params/stem/kernel", turns.conv),
        Rule(r"(stem)\.bias", r"params/\1/bias"),
        Rule(r"deep\.weight", "params/deep/kernel", turns.conv),
        Rule(r"bn\.weight", "params/norm/scale"),
        Rule(r"bn\.bias", "params/norm/bias"),
        Rule(r"bn\.running_(mean|var)", r"batch_stats/norm/\1"),
        Rule(r"fc\.weight", "params/head/kernel", turns.dense),
        Rule(r"fc\.bias", "params/head/bias"),
        Rule(r"bn\.num_batches_tracked", ""),
        Rule(r"block\.(\d+)\.w", lambda match: f"params/block_{int(match[1]) + 1}/kernel"),
    ),
    options={"epsilon": 1e-5},
    pixels="imagenet",
)


def tensors(classes=3):
    """A file of the toy, as PyTorch would name and order it."""
    rng = np.random.default_rng(0)
    shapes = {
        "stem.weight": (5, 4, 3, 2), "stem.bias": (5,), "deep.weight": (5, 1, 3, 3),
        "bn.weight": (5,), "bn.bias": (5,), "bn.running_mean": (5,), "bn.running_var": (5,),
        "fc.weight": (classes, 5), "fc.bias": (classes,),
    }  # fmt: skip
    made = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return made | {"bn.num_batches_tracked": np.array(9)}


def test_every_leaf_is_the_files():
    given = tensors()
    filled, account = fitting.fitted(model(), given, TOY)
    params, stats = filled["params"], filled["batch_stats"]
    for o, i, h, w in [(0, 0, 0, 0), (4, 3, 2, 1), (1, 2, 0, 1)]:
        assert params["stem"]["kernel"][h, w, i, o] == given["stem.weight"][o, i, h, w]
    assert params["deep"]["kernel"][2, 1, 0, 4] == given["deep.weight"][4, 0, 2, 1]
    assert params["head"]["kernel"][4, 2] == given["fc.weight"][2, 4]
    np.testing.assert_array_equal(params["head"]["bias"], given["fc.bias"])
    np.testing.assert_array_equal(params["norm"]["scale"], given["bn.weight"])
    np.testing.assert_array_equal(stats["norm"]["var"], given["bn.running_var"])
    assert jax.tree.structure(filled) == jax.tree.structure(model())
    assert {leaf.dtype for leaf in jax.tree.leaves(filled)} == {np.dtype(np.float32)}
    assert len(account.matched) == 9 and account.head_kept and not account.unmatched
    assert account.left_out == ("bn.num_batches_tracked",)
    assert str(account) == (
        "9 leaves from the file; head from the file; 1 tensors of no use here left out"
    )


def test_the_variables_given_stay_as_they_are():
    before = model()
    fitting.fitted(before, tensors(), TOY)
    assert jax.tree.all(jax.tree.map(np.array_equal, before, model()))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.update(tensors(classes=4)),
        lambda t: t.pop("fc.bias"),
        lambda t: [t.pop("fc.bias"), t.pop("fc.weight")],
        lambda t: t.update({"fc.weight": np.zeros((5, 3), np.float32)}),
    ],
)
def test_a_head_that_does_not_fit_stays_new_all_of_it(change):
    given = tensors()
    change(given)
    filled, account = fitting.fitted(model(), given, TOY)
    assert (filled["params"]["head"]["kernel"] == 7).all()
    assert (filled["params"]["head"]["bias"] == 8).all()
    assert filled["params"]["stem"]["kernel"].any()
    assert not account.head_kept and len(account.matched) == 7


def test_a_head_that_is_dropped_is_accounted_for():
    _, account = fitting.fitted(model(), tensors(classes=4), TOY)
    assert account.head_dropped == ("params/head/kernel", "params/head/bias")
    assert "head new (2 tensors of the file's dropped)" in str(account)
    given = {name: array for name, array in tensors().items() if not name.startswith("fc")}
    _, account = fitting.fitted(model(), given, TOY)
    assert account.head_dropped == () and "head new;" in str(account)


def test_every_tensor_is_in_one_part_of_the_account():
    given = tensors(classes=4) | {f"more.{i}": np.ones(1) for i in range(5)}
    _, account = fitting.fitted(model(), given, TOY)
    counted = len(account.matched) + len(account.left_out)
    assert counted + len(account.head_dropped) + len(account.unmatched) == len(given)
    assert account.unmatched == tuple(f"more.{i}" for i in range(5))
    assert "5 tensors without a place: more.0, more.1, more.2, .." in str(account)


def test_layers_that_the_model_lacks_are_an_error_unless_it_may_lack_them():
    given = tensors() | {"block.3.w": np.ones(2)}
    with pytest.raises(
        UserError, match="1 weights for layers that the model lacks: params/block_4"
    ):
        fitting.fitted(model(), given, TOY)
    spare = TOY._replace(optional=r"params/block_4/kernel")
    _, account = fitting.fitted(model(), given, spare)
    assert account.left_out == ("bn.num_batches_tracked", "block.3.w")


def test_a_missing_leaf_is_an_error():
    given = tensors()
    for name in ("bn.running_mean", "deep.weight"):
        del given[name]
    with pytest.raises(UserError, match="no weights for 2 of the model's 9 leaves") as caught:
        fitting.fitted(model(), given, TOY)
    assert "batch_stats/norm/mean" in caught.value.message
    assert "params/deep/kernel" in caught.value.message and "model." in caught.value.hint


def test_another_shape_is_an_error_that_says_both():
    given = tensors() | {"stem.weight": np.zeros((6, 4, 3, 2), np.float32)}
    with pytest.raises(UserError, match=re.escape("(3, 2, 4, 6) there, (3, 2, 4, 5) here")):
        fitting.fitted(model(), given, TOY)
    given["stem.weight"] = np.zeros((5, 4), np.float32)  # cannot even be turned
    with pytest.raises(UserError, match=re.escape("(5, 4) there, (3, 2, 4, 5) here")):
        fitting.fitted(model(), given, TOY)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(wrong):
    given = tensors()
    given["bn.running_var"][3] = wrong
    with pytest.raises(UserError, match="bn.running_var in the file holds numbers that are not"):
        fitting.fitted(model(), given, TOY)


def test_numbers_beyond_float32_are_refused():
    given = tensors() | {"bn.bias": np.full(5, 1e300)}
    with pytest.raises(UserError, match="bn.bias in the file holds numbers that are not finite"):
        fitting.fitted(model(), given, TOY)


def test_two_tensors_for_one_leaf_are_refused():
    rules = (*TOY.rules, Rule("again", "params/stem/bias"))
    given = tensors() | {"again": np.ones(5)}
    with pytest.raises(UserError, match="two tensors of the file are params/stem/bias: again"):
        fitting.fitted(model(), given, TOY._replace(rules=rules))


def test_the_first_rule_that_fits_the_whole_name_counts():
    rules = (Rule(r"bn\.bia", "params/stem/bias"), *TOY.rules, Rule(r".*", "params/stem/bias"))
    filled, account = fitting.fitted(model(), tensors(), TOY._replace(rules=rules))
    np.testing.assert_array_equal(filled["params"]["norm"]["bias"], tensors()["bn.bias"])
    assert len(account.matched) == 9


def test_a_path_may_be_counted():
    before = model()
    before["params"]["block_4"] = {"kernel": np.zeros(2, np.float32)}
    filled, _ = fitting.fitted(before, tensors() | {"block.3.w": np.array([1, 2])}, TOY)
    np.testing.assert_array_equal(filled["params"]["block_4"]["kernel"], [1, 2])


def test_single_numbers_keep_their_shape():
    before = model()
    before["params"]["temperature"] = np.zeros((), np.float32)
    rules = (*TOY.rules, Rule("t", "params/temperature"))
    given = tensors() | {"t": np.array(2.5)}
    filled, _ = fitting.fitted(before, given, TOY._replace(rules=rules))
    assert filled["params"]["temperature"].shape == () and filled["params"]["temperature"] == 2.5


def test_turns():
    rng = np.random.default_rng(0)
    keras = rng.normal(size=(3, 2, 5, 1))
    assert turns.depthwise(keras, ())[2, 1, 0, 4] == keras[2, 1, 4, 0]
    assert turns.depthwise(keras, ()).shape == (3, 2, 1, 5)
    assert turns.flat(np.arange(6).reshape(1, 1, 2, 3), (2, 3))[1, 0] == 3
    assert turns.as_it_is(keras, ()) is keras


def test_a_layout_is_known_by_its_mark(monkeypatch):
    other = TOY._replace(family="others", mark=r"stem/kernel")
    monkeypatch.setattr(layout, "layouts", lambda model: (TOY, other))
    assert layout.layout_of("toy", ["x", "stem.weight"]) is TOY
    assert layout.layout_of("toy", ["stem/kernel"]) is other
    with pytest.raises(UserError, match="not named like a toy of toys or others") as caught:
        layout.layout_of("toy", ["module.stem.weight", "b", "c", "d"])
    assert "4: b, c, d, .." in caught.value.message


def test_a_model_without_layouts_says_which_have_some():
    with pytest.raises(UserError, match="no pretrained weights are known for .* 'small_cnn'") as e:
        layout.layouts("small_cnn")
    assert "resnet" in e.value.hint and "_mobile" not in e.value.hint


def test_pixels_in_their_own_words():
    """x in [-1, 1] times scale plus shift is (x in 0..255 - mean) / std."""
    levels = np.arange(256)[:, None] * np.ones(3)
    for name, one in pixels.PIXELS.items():
        scale, shift = pixels.affine(pixels.find(name))
        ours = (levels / 127.5 - 1) * scale + shift
        np.testing.assert_allclose(ours, (levels - one.mean) / one.std, rtol=0, atol=2e-5 * 255)
    np.testing.assert_allclose(
        pixels.affine(pixels.PIXELS["imagenet"])[1] * [0.229, 0.224, 0.225],
        0.5 - np.array([0.485, 0.456, 0.406]), atol=1e-6,
    )  # fmt: skip
    assert pixels.PIXELS["caffe"].bgr and not pixels.PIXELS["imagenet"].bgr
    with pytest.raises(UserError, match="no pixels called 'imagnet'. Did you mean 'imagenet'"):
        pixels.find("imagnet")
