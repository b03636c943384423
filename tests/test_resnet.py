"""Residual networks: published counts, outputs of independent implementations, real weights."""

import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from lowlabel_jax import optimizers
from lowlabel_jax.core import named, parallel
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.models.cifar_resnet import cifar_resnet
from lowlabel_jax.models.resnet import How, Part, ResNet, resnet
from lowlabel_jax.ops import layers
from lowlabel_jax.ops.initialise import initialise
from lowlabel_jax.pretrained import pixels
from lowlabel_jax.pretrained.fitting import fitted
from lowlabel_jax.pretrained.layout import layout_of
from tests import keras_reference
from tools import make_npz

ROOT = Path(__file__).parent.parent
REAL = Path(os.environ.get("LOWLABEL_TEST_DATA", ROOT.parent / "shared" / "data"))
MAKERS = {"resnet": resnet, "cifar_resnet": cifar_resnet}
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}  # the paper's table 1


def count(tree):
    """How many numbers a tree holds."""
    return sum(x.size for x in jax.tree.leaves(tree))


def images(shape, n=2, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, *shape)).astype(np.float32)


def applied(model, variables, batch):
    """(logits, endpoints) as they are outside of training."""
    return jax.jit(lambda v, x: model.apply(v, x, False))(variables, batch)


def tiny(momentum=0.9, dtype="float32"):
    """Two groups of one block: what both functions make, as small as it can be."""
    return ResNet(
        head=layers.Head(3, 8, 0.5, dtype),
        stem=Part(4, 3, 1),
        pooled=True,
        groups=(((Part(4, 3, 1), Part(4, 3, 1)),), ((Part(8, 3, 2), Part(8, 3, 1)),)),
        projected=True,
        how=How("torch", False, momentum, 1e-5, dtype),
    )


def trained(model, variables, batch):
    """((logits, endpoints), new running statistics) of a forward in training."""
    rngs = {"dropout": jax.random.key(1)}
    run = jax.jit(lambda v, x: model.apply(v, x, True, mutable=["batch_stats"], rngs=rngs))
    return run(variables, batch)


def shapes_of(model, shape):
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *shape)), False))


@pytest.mark.parametrize(
    "model, parameters",
    [
        (resnet(num_classes=1000, depth=18), 11_689_512),
        (resnet(num_classes=1000, depth=34), 21_797_672),
        (resnet(num_classes=1000, depth=50), 25_557_032),
        (resnet(num_classes=1000, depth=50, conv_bias=True), 25_583_592),  # Keras' ResNet50
        (resnet(num_classes=10, depth=18, stem="small"), 11_173_962),
        (cifar_resnet(num_classes=10, depth=20), 269_722),  # the table of akamaster's README
        (cifar_resnet(num_classes=10, depth=56), 853_018),
    ],
)
def test_parameters_are_as_many_as_published(model, parameters):
    assert count(shapes_of(model, (64, 64, 3))["params"]) == parameters


def torch_tensors(groups, width, classes, stem, deep=False, option_a=False, head="fc", seed=1):
    """Random tensors named and shaped as PyTorch's, statistics and counters too."""
    rng, made = np.random.default_rng(seed), {}

    def conv(name, o, i, size):
        scale = np.sqrt(2 / (i * size * size))
        made[f"{name}.weight"] = rng.normal(0, scale, (o, i, size, size)).astype(np.float32)

    def norm(name, c):
        for leaf, (low, high) in {
            "weight": (0.5, 1.5), "bias": (-0.3, 0.3),
            "running_mean": (-0.3, 0.3), "running_var": (0.5, 1.5),
        }.items():  # fmt: skip
            made[f"{name}.{leaf}"] = rng.uniform(low, high, c).astype(np.float32)
        made[f"{name}.num_batches_tracked"] = np.array(7)

    conv("conv1", width, 3, stem)
    norm("bn1", width)
    into = width
    for g, blocks in enumerate(groups):
        waist = width * 2**g
        out = 4 * waist if deep else waist
        for b in range(blocks):
            at = f"layer{g + 1}.{b}"
            kinds = ((waist, 1), (waist, 3), (out, 1)) if deep else ((waist, 3), (out, 3))
            channels = into
            for k, (c, size) in enumerate(kinds, 1):
                conv(f"{at}.conv{k}", c, channels, size)
                norm(f"{at}.bn{k}", c)
                channels = c
            if into != out and not option_a:
                conv(f"{at}.downsample.0", out, into, 1)
                norm(f"{at}.downsample.1", out)
            into = out
    made[f"{head}.weight"] = rng.normal(0, 0.1, (classes, into)).astype(np.float32)
    made[f"{head}.bias"] = rng.normal(0, 0.1, classes).astype(np.float32)
    return made


def padded(x, size, stride, same, fill):
    """x [b, c, h, w] with PyTorch's size // 2 on all sides, or with TensorFlow's SAME."""
    pads = []
    for side in x.shape[2:]:
        all_of_it = max((-(-side // stride) - 1) * stride + size - side, 0)
        pads.append((all_of_it // 2, all_of_it - all_of_it // 2) if same else (size // 2,) * 2)
    return np.pad(x, [(0, 0), (0, 0), *pads], constant_values=fill)


def windows(x, size, stride):
    """[b, c, h, w] -> [b, c, h', w', size, size]."""
    return sliding_window_view(x, (size, size), (2, 3))[:, :, ::stride, ::stride]


def reference(tensors, x, groups, stem, strided=1, same=False, epsilon=1e-5, head="fc"):
    """Logits of images [b, h, w, c], in float64 and PyTorch's order of axes.

    strided: which convolution of a block halves the image, from 1. A shortcut for which there are
    no tensors is option A.
    """
    t = {name: np.asarray(value, np.float64) for name, value in tensors.items()}

    def conv(x, name, stride):
        kernel = t[f"{name}.weight"]
        seen = windows(padded(x, kernel.shape[-1], stride, same, 0), kernel.shape[-1], stride)
        return np.einsum("bchwij,ocij->bohw", seen, kernel, optimize=True)

    def norm(x, name):
        scale, shift, mean, var = (
            t[f"{name}.{leaf}"][:, None, None]
            for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(var + epsilon) * scale + shift

    x = np.asarray(x, np.float64).transpose(0, 3, 1, 2)
    x = np.maximum(norm(conv(x, "conv1", 1 if stem == "small" else 2), "bn1"), 0)
    if stem == "imagenet":
        x = windows(padded(x, 3, 2, same, -np.inf), 3, 2).max((4, 5))
    for g, blocks in enumerate(groups):
        for b in range(blocks):
            at, stride, y = f"layer{g + 1}.{b}", 2 if g > 0 and b == 0 else 1, x
            parts = [k for k in (1, 2, 3) if f"{at}.conv{k}.weight" in t]
            for k in parts:
                y = norm(conv(y, f"{at}.conv{k}", stride if k == strided else 1), f"{at}.bn{k}")
                y = np.maximum(y, 0) if k < parts[-1] else y
            if f"{at}.downsample.0.weight" in t:
                x = norm(conv(x, f"{at}.downsample.0", stride), f"{at}.downsample.1")
            elif stride == 2:
                x, more = x[:, :, ::2, ::2], (y.shape[1] - x.shape[1]) // 2
                x = np.pad(x, [(0, 0), (more, more), (0, 0), (0, 0)])
            x = np.maximum(x + y, 0)
    return x.mean((2, 3)) @ t[f"{head}.weight"].T + t[f"{head}.bias"]


def transplanted(name, tensors, shape, classes, **options):
    """(model with what travels with the tensors, variables with all of them inside)."""
    layout = layout_of(name, list(tensors))
    model = MAKERS[name](num_classes=classes, **{**layout.options, **options})
    variables, account = fitted(initialise(model, shape, 0), tensors, layout)
    assert account.head_kept and not account.unmatched
    return model, variables, layout


@pytest.mark.parametrize(
    "depth, shape, options",
    [
        (18, (33, 38, 3), dict(stem="imagenet")),
        (34, (9, 8, 3), dict(stem="small")),
        (50, (32, 37, 3), dict(stem="imagenet")),
        (18, (32, 35, 3), dict(stem="no_pool", padding="same")),  # two loops
        (18, (33, 32, 3), dict(stem="imagenet", padding="same", epsilon=1e-2)),
    ],
)
def test_outputs_are_those_of_the_same_net_by_hand(depth, shape, options):
    groups, deep, stem = BLOCKS[depth], depth == 50, options["stem"]
    tensors = torch_tensors(groups, 4, 3, 3 if stem == "small" else 7, deep)
    model, variables, _ = transplanted("resnet", tensors, shape, 3, width=4, **options)
    batch = images(shape)
    logits, _ = applied(model, variables, batch)
    strided = 2 if deep else 1
    expected = reference(
        tensors, batch, groups, stem, strided, options.get("padding") == "same",
        options.get("epsilon", 1e-5),
    )  # fmt: skip
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_outputs_of_a_cifar_net_are_those_by_hand():
    groups = (3, 3, 3)
    tensors = torch_tensors(groups, 16, 5, 3, option_a=True, head="linear")
    model, variables, layout = transplanted("cifar_resnet", tensors, (9, 12, 3), 5, depth=20)
    assert layout.pixels == "imagenet" and layout.options["epsilon"] == 1e-5
    batch = images((9, 12, 3))
    expected = reference(tensors, batch, groups, "small", head="linear")
    logits, _ = applied(model, variables, batch)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_keras_resnet50_is_this_one():
    shape = (32, 39, 3)
    theirs = keras_reference.application("ResNet50", input_shape=shape, classes=5)
    keras_reference.randomise(theirs, 0)
    tensors = keras_reference.tensors(theirs)
    model, variables, layout = transplanted("resnet", tensors, shape, 5)
    assert layout.family == "keras" and layout.pixels == "caffe"
    batch = images(shape)
    logits, _ = applied(model, variables, batch)
    np.testing.assert_allclose(logits, keras_reference.outputs(theirs, batch), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_the_depth_of_torch_tensors_travels_with_them(depth):
    names = torch_tensors(BLOCKS[depth], 1, 1, 3, deep=depth == 50)
    layout = layout_of("resnet", list(names))
    assert layout.options["depth"] == depth and layout.pixels == "imagenet"
    assert layout.options["stride_on"] == "3x3" and layout.options["epsilon"] == 1e-5


@pytest.mark.parametrize(
    "depth, accuracy", [(20, 0.917), pytest.param(56, 0.934, marks=pytest.mark.slow)]
)
def test_real_weights_know_cifar10(depth, accuracy):
    """As published for all 10,000 test images (akamaster's README: errors of 8.27 and 6.61 %)."""
    from safetensors.numpy import load_file

    for needed in (REAL / "weights", REAL / "cifar10"):
        if not needed.is_dir():
            pytest.skip(f"{needed} is not there: set LOWLABEL_TEST_DATA")
    tensors = load_file(REAL / "weights" / f"resnet{depth}_cifar10.safetensors")
    model, variables, layout = transplanted("cifar_resnet", tensors, (32, 32, 3), 10, depth=depth)
    x = make_npz.decoder(REAL / "cifar10")(REAL / "cifar10" / "test_00.medxz")
    with np.load(REAL / "cifar10" / "labels.npz") as file:
        labels = file["y_test"][: len(x)]
    scale, shift = pixels.affine(pixels.find(layout.pixels))
    shown = (x / np.float32(127.5) - 1) * scale + shift
    predict = jax.jit(lambda x: model.apply(variables, x, False)[0].argmax(-1))
    guesses = np.concatenate([predict(part) for part in np.split(shown, 8)])
    assert len(x) == 2000 and abs((guesses == labels).mean() - accuracy) <= 0.008


@pytest.mark.parametrize(
    "model, shape, ends",
    [
        (resnet(num_classes=5, depth=18, width=4), (64, 40, 3),
         dict(stage_0=(16, 10, 4), stage_1=(8, 5, 8), stage_2=(4, 3, 16), stage_3=(2, 2, 32),
              last_conv=(2, 2, 32), features=(32,))),
        (resnet(num_classes=5, depth=50, width=4, stem="no_pool"), (16, 24, 1),
         dict(stage_0=(8, 12, 16), stage_1=(4, 6, 32), stage_2=(2, 3, 64), stage_3=(1, 2, 128),
              last_conv=(1, 2, 128), features=(128,))),
        (cifar_resnet(num_classes=5, depth=8), (12, 10, 3),
         dict(stage_0=(12, 10, 16), stage_1=(6, 5, 32), stage_2=(3, 3, 64),
              last_conv=(3, 3, 64), features=(64,))),
    ],
)  # fmt: skip
def test_outputs_and_endpoints_have_their_shapes(model, shape, ends):
    def run(images):
        return model.init_with_output(jax.random.key(0), images, False)[0]

    logits, got = jax.eval_shape(run, images(shape))
    assert logits.shape == (2, 5) and logits.dtype == jnp.float32
    assert {name: end.shape[1:] for name, end in got.items()} == ends


def test_logits_are_the_head_of_features_and_features_the_mean_of_the_last_map():
    model, shape = cifar_resnet(num_classes=5, depth=8), (12, 10, 3)
    variables = initialise(model, shape, 0)
    logits, got = applied(model, variables, images(shape))
    np.testing.assert_allclose(got["features"], got["last_conv"].mean((1, 2)), rtol=1e-5)
    head = variables["params"]["head"]
    np.testing.assert_allclose(logits, got["features"] @ head["kernel"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "model", [resnet(num_classes=3, depth=34, width=1), cifar_resnet(num_classes=3, depth=14)]
)
def test_stages_are_the_children_in_their_order(model):
    params = shapes_of(model, (32, 32, 3))["params"]
    assert set(model.stages) == set(params) and len(model.stages) == len(params)
    assert model.stages[:3] == ("stem", "block_0_0", "block_0_1")
    assert model.stages[-1] == "head" and list(model.stages[1:-1]) == sorted(model.stages[1:-1])


def test_first_weights_are_he_normal_and_weight_decay_knows_every_leaf():
    params = initialise(resnet(num_classes=3, depth=18, conv_bias=True), (32, 32, 3), 0)["params"]
    for layer, fan_in in (
        (params["stem"]["conv"], 49 * 3),
        (params["block_1_0"]["part_0"]["conv"], 9 * 64),
        (params["block_1_0"]["shortcut"]["conv"], 64),
    ):
        kernel = layer["kernel"]
        error = 5 / np.sqrt(2 * kernel.size)  # of an estimated standard deviation, five sigma
        np.testing.assert_allclose(kernel.std(), np.sqrt(2 / fan_in), rtol=error)
        assert not layer["bias"].any()
    assert optimizers.decays(params)["block_1_0"]["shortcut"] == {
        "conv": {"kernel": True, "bias": False},
        "norm": {"scale": False, "bias": False},
    }


def test_training_moves_running_statistics_by_one_minus_momentum():
    old, batch = initialise(tiny(), (8, 8, 3), 0), images((8, 8, 3), 4)
    new = trained(tiny(momentum=0.75), old, batch)[1]["batch_stats"]
    seen = windows(padded(batch.transpose(0, 3, 1, 2), 3, 1, False, 0), 3, 1)
    out = np.einsum("bchwij,ijco->obhw", seen, old["params"]["stem"]["conv"]["kernel"])
    moved, flat = new["stem"]["norm"], out.reshape(4, -1)
    np.testing.assert_allclose(moved["mean"], 0.25 * flat.mean(1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moved["var"], 0.75 + 0.25 * flat.var(1), rtol=1e-4)
    still = jax.tree.map(lambda o, n: np.abs(n - o).max() < 1e-3, old["batch_stats"], new)
    assert not any(jax.tree.leaves(still))


def test_bfloat16_computes_in_it_and_keeps_float32_weights_and_statistics():
    half, exact = tiny(dtype="bfloat16"), tiny()
    variables, batch = initialise(half, (8, 8, 3), 0), images((8, 8, 3), 4)
    (logits, ends), new = trained(half, variables, batch)
    assert logits.dtype == jnp.float32
    assert {end.dtype for end in ends.values()} == {jnp.dtype("bfloat16")}
    assert {x.dtype for x in jax.tree.leaves((variables, new))} == {jnp.dtype("float32")}
    (wanted, _), _ = trained(exact, variables, batch)
    assert 0 < np.abs(logits - wanted).max() < 0.05 * np.abs(wanted).max()
    traced = str(jax.make_jaxpr(lambda v, x: half.apply(v, x, False))(variables, batch))
    made = re.findall(r":(\w+)\[[\d,]*\] = (?:conv_general_dilated|dot_general)", traced)
    assert len(made) == 8 and set(made) == {"bf16"}  # stem, blocks of two and three, two of a head


def test_gradients_are_the_same_on_any_number_of_devices():
    model = tiny()
    variables, batch = initialise(model, (8, 8, 3), 0), images((8, 8, 3), 16)

    def step(variables, images):
        def loss(params):
            (logits, _), new = trained(model, {**variables, "params": params}, images)
            return (logits**2).mean(), new["batch_stats"]

        grads, stats = jax.grad(loss, has_aux=True)(variables["params"])
        return parallel.pmean(grads), stats

    one, two = (parallel.mapped(step, d)(variables, parallel.shard(batch, d)) for d in (1, 2))
    # Float32 sums of other orders, through divisions by standard deviations.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, two)


@pytest.mark.parametrize("depth, near", [(21, "20 or 26"), (7, "8 or 14"), (1, "8 or 14")])
def test_a_depth_that_is_no_cifar_net_is_said_with_the_nearest(depth, near):
    with pytest.raises(UserError, match=f"model.depth = {depth} is not 6 n . 2") as caught:
        cifar_resnet(num_classes=10, depth=depth)
    assert caught.value.hint == f"use {near}."


def test_a_config_finds_the_models_by_name():
    spec = {"name": "resnet", "depth": 34, "stem": "small"}
    assert named.build("model", spec, num_classes=3) == resnet(
        num_classes=3, depth=34, stem="small"
    )
    assert list(named.problems("model", spec | {"depth": 19}, "model")) == [
        "model.depth = 19 must be one of 18, 34, 50."
    ]
    model = named.build("model", {"name": "cifar_resnet"}, num_classes=3)
    assert model == cifar_resnet(num_classes=3, depth=20)
