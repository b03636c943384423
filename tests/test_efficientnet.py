"""EfficientNet: published counts, Keras' outputs, other libraries' names, drop-connect, Lite0."""

import functools
import importlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowlabel_jax.core import named, parallel, tree
from lowlabel_jax.models import efficientnet, mobilenet_v1, mobilenet_v2
from lowlabel_jax.ops.initialise import initialise
from lowlabel_jax.pretrained import reading
from lowlabel_jax.pretrained.layout import layout_of
from tests import keras_reference
from tests.mobile import (
    NORM,
    WEIGHTS,
    close,
    count,
    equal,
    filled,
    images,
    needs_weights,
    ours,
    photos,
    shapes_of,
    shown,
)

COUNTS = {  # blocks of each group
    "b0": (1, 2, 2, 3, 3, 4, 1),
    "b1": (2, 3, 3, 4, 4, 5, 2),
    "b2": (2, 3, 3, 4, 4, 5, 2),
    "b3": (2, 3, 3, 5, 5, 6, 2),
    "lite0": (1, 2, 2, 3, 3, 4, 1),
}
SHAPE = (41, 38)  # odd maps on the way: 41 21 11 6 3 2, 38 19 10 5 3 2


@functools.cache
def published(size):
    """(a network of 1,000 classes, the shapes of its variables)."""
    model = efficientnet.efficientnet(num_classes=1000, size=size)
    return model, shapes_of(model)


@pytest.mark.parametrize(
    "size, trained",
    [("b0", 5_288_548), ("b1", 7_794_184), ("b2", 9_109_994), ("b3", 12_233_232),
     ("lite0", 4_652_008)],
)  # fmt: skip
def test_parameters_are_as_many_as_published(size, trained):
    model, shapes = published(size)
    assert count(shapes["params"]) == trained
    assert set(model.stages) == set(shapes["params"]) and model.stages[-1] == "head"
    assert tuple(len(group) for group in model.groups) == COUNTS[size]


@functools.cache
def keras_network(size):
    """(Keras' network of 7 classes with random weights, its tensors)."""
    keras = importlib.import_module("keras")
    keras.utils.clear_session()  # or the second network's layer is called normalization_1
    name = f"EfficientNet{size.upper()}"
    model = keras_reference.application(name, input_shape=(*SHAPE, 3), classes=7)
    keras_reference.randomise(model, 1)
    model.get_layer("normalization").finalize_state()  # it looks at its weights only then
    return model, keras_reference.tensors(model)


def raw_and_seen(tensors):
    """(images in 0..255, the same as Keras' first layers hand them on)."""
    raw = 127.5 * (images(2, *SHAPE, 3) + 1)
    mean, variance = (tensors[f"normalization/{name}"] for name in ("mean", "variance"))
    return raw, (raw / 255 - mean) / np.sqrt(variance)


@pytest.mark.parametrize(
    "size", ["b0", *(pytest.param(size, marks=pytest.mark.slow) for size in ("b1", "b2", "b3"))]
)
def test_outputs_are_keras_own(size):
    theirs, tensors = keras_network(size)
    raw, seen = raw_and_seen(tensors)
    expected = keras_reference.outputs(theirs, raw)
    logits, account = ours("efficientnet", tensors, seen, size=size)
    assert account.head_kept and not account.unmatched
    assert {name.split("/")[0] for name in account.left_out} <= {"normalization"}
    close(logits, expected)


def blocks(size):
    """(group, place in it, whether it widens) of each block, in order."""
    return [(i, j, i > 0) for i, n in enumerate(COUNTS[size]) for j in range(n)]


def timm_names(size):
    """{Keras' layer: timm's}, without the leaves."""
    made = {"stem_conv": "conv_stem", "stem_bn": "bn1", "top_conv": "conv_head", "top_bn": "bn2",
            "predictions": "classifier"}  # fmt: skip
    for i, j, wide in blocks(size):
        keras, timm = f"block{i + 1}{chr(ord('a') + j)}_", f"blocks.{i}.{j}."
        parts = {"expand_conv": "conv_pw", "expand_bn": "bn1"} if wide else {}
        parts |= {"dwconv": "conv_dw", "bn": f"bn{1 + wide}", "project_bn": f"bn{2 + wide}",
                  "project_conv": "conv_pwl" if wide else "conv_pw",
                  "se_reduce": "se.conv_reduce", "se_expand": "se.conv_expand"}  # fmt: skip
        made |= {keras + a: timm + b for a, b in parts.items()}
    return made


def flat_names(size):
    """{Keras' layer: efficientnet-pytorch's}, without the leaves."""
    made = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head",
            "top_bn": "_bn1", "predictions": "_fc"}  # fmt: skip
    parts = {"expand_conv": "_expand_conv", "expand_bn": "_bn0", "dwconv": "_depthwise_conv",
             "bn": "_bn1", "se_reduce": "_se_reduce", "se_expand": "_se_expand",
             "project_conv": "_project_conv", "project_bn": "_bn2"}  # fmt: skip
    for n, (i, j, _) in enumerate(blocks(size)):
        keras = f"block{i + 1}{chr(ord('a') + j)}_"
        made |= {keras + a: f"_blocks.{n}.{b}" for a, b in parts.items()}
    return made


def in_torch_form(names, keras):
    """A Keras file's tensors under PyTorch's names, turned as PyTorch has them."""
    leaves = {theirs: torch for torch, theirs in NORM.items()} | {"kernel": "weight"}
    made = {}
    for name, array in keras.items():
        layer, leaf = name.split("/")
        if layer == "normalization":
            continue
        if array.ndim == 4:
            order = (2, 3, 0, 1) if "dwconv" in layer else (3, 2, 0, 1)
            array = array.transpose(order)
        array = array.T if array.ndim == 2 else array
        made[f"{names[layer]}.{leaves.get(leaf, leaf)}"] = array
        if leaf == "gamma":
            made[f"{names[layer]}.num_batches_tracked"] = np.array(5)
    return made


@pytest.mark.parametrize(
    "namer, family, options",
    [
        (timm_names, "timm", {"padding": "torch", "epsilon": 1e-5}),
        (flat_names, "efficientnet-pytorch", {"padding": "same", "epsilon": 1e-3}),
    ],
)
def test_pytorchs_names_are_the_same_network(namer, family, options):
    _, keras = keras_network("b0")
    tensors = in_torch_form(namer("b0"), keras)
    layout = layout_of("efficientnet", list(tensors))
    assert (layout.family, layout.options) == (family, options | {"size": "b0"})
    assert layout.pixels == "imagenet"
    _, variables, account = filled("efficientnet", tensors)
    assert account.head_kept and not account.unmatched and len(account.left_out) == 49
    _, same, _ = filled("efficientnet", keras)
    equal(variables, same)


def keras_names(size):
    """The layers of a Keras file by themselves."""
    return {name: name for name in timm_names(size)}


@pytest.mark.parametrize("namer", [timm_names, flat_names, keras_names])
@pytest.mark.parametrize("size", ["b0", "b1", "b2", "b3", "lite0"])
def test_files_tell_their_size_and_name_every_leaf(size, namer):
    if size == "lite0" and namer is keras_names:
        pytest.skip("Keras has no Lite networks")
    names = list(namer(size).values())
    if size == "lite0":
        names = [name for name in names if "se" not in re.split(r"[._]", name)]
    keras = [f"/{leaf}" for leaf in ("kernel", "bias", *NORM.values())]
    leaves = keras if namer is keras_names else [f".{leaf}" for leaf in NORM]
    tensors = [name + leaf for name in names for leaf in leaves]
    layout = layout_of("efficientnet", tensors)
    # b1 and b2 have the same blocks.
    assert layout.options.get("size") == (None if size in ("b1", "b2") else size)
    placed = set()
    for name in tensors:
        for rule in layout.rules:
            if match := re.fullmatch(rule.name, name):
                path = rule.path(match) if callable(rule.path) else match.expand(rule.path)
                placed.add(path)
                break
    assert tree.named_leaves(published(size)[1]).keys() <= placed


HOW = mobilenet_v1.How("same", "swish", 0.9, 1e-3, "float32")


def dropping(drop):
    """(a residual block, its variables) whose residual is left out so often."""
    part = mobilenet_v2.Part(4, 2, 3, 1, squeezed=2, drop=drop)
    block = mobilenet_v2.Block(part, HOW)
    return block, initialise(block, (3, 3, 4), 0)


@functools.partial(jax.jit, static_argnums=0)
def trained(block, variables, x):
    """What a block makes of images in training."""
    rngs = {"dropout": jax.random.key(4)}
    return block.apply(variables, x, True, mutable=["batch_stats"], rngs=rngs)[0]


def test_drop_connect_leaves_out_whole_residuals_and_keeps_their_mean():
    x = images(16, 3, 3, 4)
    whole, variables = dropping(0.0)
    block, _ = dropping(0.4)
    residual, some = (np.asarray(trained(net, variables, x) - x) for net in (whole, block))
    kept = np.abs(some).max((1, 2, 3)) > 0
    assert 0 < kept.sum() < 16
    np.testing.assert_allclose(some[kept], residual[kept] / 0.6, atol=1e-5)
    look = jax.jit(lambda net: net.apply(variables, x, False), static_argnums=0)
    np.testing.assert_array_equal(look(block), look(whole))


def test_drop_connect_is_the_same_on_any_number_of_devices():
    x = images(16, 3, 3, 4)
    block, variables = dropping(0.5)

    def step(variables, x):
        return parallel.gather(trained(block, variables, x))

    one, four = (parallel.mapped(step, d)(variables, parallel.shard(x, d)) for d in (1, 4))
    np.testing.assert_allclose(four, one, atol=1e-5)


def test_drop_connect_grows_from_block_to_block_as_in_the_paper():
    model = named.build("model", {"name": "efficientnet", "drop_connect": 0.3}, num_classes=3)
    drops = [part.drop for group in model.groups for part in group]
    np.testing.assert_allclose(drops, 0.3 * np.arange(16) / 16)
    squeezed = [part.squeezed for group in model.groups for part in group]
    assert squeezed == [8, 4, 6, 6, 10, 10, 20, 20, 20, 28, 28, 28, 48, 48, 48, 48]


def test_lite0_is_b0_with_relu6_and_nothing_squeezed():
    lite, b0 = (efficientnet.efficientnet(num_classes=3, size=s) for s in ("lite0", "b0"))
    assert (lite.how.activation, b0.how.activation) == ("relu6", "swish")
    parts = [part for group in lite.groups for part in group]
    assert not any(part.squeezed for part in parts)
    assert [p.channels for p in parts] == [p.channels for group in b0.groups for p in group]


def test_endpoints_are_a_map_of_each_size_and_the_features():
    model, _ = published("b0")
    _, ends = jax.eval_shape(
        lambda: model.init_with_output(jax.random.key(0), jnp.zeros((2, 64, 64, 3)), False)[0]
    )
    stages = [ends[f"stage_{i}"].shape[1:] for i in range(5)]
    assert stages == [(32, 32, 16), (16, 16, 24), (8, 8, 40), (4, 4, 112), (2, 2, 320)]
    assert ends["last_conv"].shape == (2, 2, 2, 1280) and ends["features"].shape == (2, 1280)


@needs_weights
def test_real_weights_of_lite0_know_imagenet():
    squares, labels = photos()
    tensors = reading.read(WEIGHTS / "efficientnet_lite0_imagenet.safetensors").tensors
    assert layout_of("efficientnet", list(tensors)).pixels == "lite"
    logits, account = ours("efficientnet", tensors, shown(squares, "lite"), num_classes=1000)
    assert account.head_kept and not account.unmatched
    assert (logits.argmax(1) == labels).sum() >= 18
