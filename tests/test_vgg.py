"""VGG16 and VGG19: published counts, Keras' outputs, four tops, and the order of flattening."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowlabel_jax.core import named, parallel
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.models.vgg import VGG, vgg
from lowlabel_jax.ops import layers
from lowlabel_jax.ops.initialise import initialise
from lowlabel_jax.pretrained.fitting import fitted
from lowlabel_jax.pretrained.layout import layout_of
from tests import keras_reference

SMALL = dict(width=2, fc=8)


def count(tree):
    """How many numbers a tree holds."""
    return sum(x.size for x in jax.tree.leaves(tree))


def images(shape, n=2, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, *shape)).astype(np.float32)


def shapes_of(model, shape):
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *shape)), False))


def applied(model, variables, batch):
    """(logits, endpoints) as they are outside of training."""
    return jax.jit(lambda v, x: model.apply(v, x, False))(variables, batch)


def tiny(top, fc=8, dtype="float32"):
    """Two blocks: what vgg makes, as small as it can be."""
    return VGG(layers.Head(3, dtype=dtype), ((2, 1), (4, 2)), top, fc, 0.5, dtype)


def shaken(variables, seed=3):
    """Variables whose biases are no longer 0."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: x + rng.uniform(0, 0.1, x.shape).astype(np.float32), variables)


@pytest.mark.parametrize("depth, parameters", [(16, 138_357_544), (19, 143_667_240)])
@pytest.mark.parametrize("top", ["dense", "conv"])
def test_parameters_are_as_many_as_published(depth, top, parameters):
    model = vgg(num_classes=1000, depth=depth, top=top)
    assert count(shapes_of(model, (224, 224, 3))) == parameters


@pytest.mark.parametrize("top, features", [("average", 512), ("flatten", 7 * 7 * 512)])
def test_a_bottleneck_has_neither_fc6_nor_fc7(top, features):
    model = vgg(num_classes=2, top=top, hidden=256)
    shapes = shapes_of(model, (224, 224, 3))
    convolutions = 14_714_688  # Keras' VGG16 without its top
    assert count(shapes) == convolutions + features * 256 + 256 + 256 * 2 + 2
    assert model.stages == ("block_1", "block_2", "block_3", "block_4", "block_5", "head")


def keras(name, shape, classes=None):
    """(Keras' net with random weights, its tensors); without classes it has no top."""
    top = {"classes": classes} if classes else {"include_top": False}
    theirs = keras_reference.application(name, input_shape=shape, **top)
    keras_reference.randomise(theirs, 0)
    return theirs, keras_reference.tensors(theirs)


def transplanted(tensors, shape, classes, **options):
    """(model of the depth that the tensors are of, variables with them inside, the account)."""
    layout = layout_of("vgg", list(tensors))
    model = vgg(num_classes=classes, **layout.options, **options)
    return model, *fitted(initialise(model, shape, 0), tensors, layout)


@pytest.mark.parametrize("name, depth", [("VGG16", 16), ("VGG19", 19)])
def test_keras_convolutions_are_these(name, depth):
    shape = (32, 64, 3)
    theirs, tensors = keras(name, shape)
    layout = layout_of("vgg", list(tensors))
    assert layout.options == {"depth": depth} and layout.pixels == "caffe"
    batch = images(shape)
    last = keras_reference.outputs(theirs, batch)
    for top, expected in (("average", last.mean((1, 2))), ("flatten", last.reshape(2, -1))):
        model, variables, account = transplanted(tensors, shape, 3, top=top)
        assert not account.unmatched and not account.head_kept
        _, ends = applied(model, variables, batch)
        np.testing.assert_allclose(ends["features"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["VGG16", "VGG19"])
@pytest.mark.parametrize("top", ["dense", "conv"])
def test_keras_whole_net_is_this_one(name, top):
    shape = (224, 224, 3)
    theirs, tensors = keras(name, shape, 1000)
    model, variables, account = transplanted(tensors, shape, 1000, top=top)
    assert account.head_kept and not account.unmatched
    batch = images(shape)
    logits, _ = applied(model, variables, batch)
    np.testing.assert_allclose(logits, keras_reference.outputs(theirs, batch), rtol=1e-4, atol=1e-4)


def torch_tensors(model, shape, timm):
    """(variables, the same as PyTorch holds them): fc6 is torchvision's, flat, or timm's, 7x7.

    Where torch flattens, channels come first.
    """
    variables, named_so, n = shaken(initialise(model, shape, 0)), {}, 0
    params = variables["params"]
    for block in range(1, 6):
        for layer in params[f"block_{block}"].values():
            named_so[f"features.{n}.weight"] = layer["kernel"].transpose(3, 2, 0, 1)
            named_so[f"features.{n}.bias"] = layer["bias"]
            n += 2  # the convolution and its ReLU
        n += 1  # the maximum
    names = ["pre_logits.fc1", "pre_logits.fc2", "head.fc"] if timm else [
        "classifier.0", "classifier.3", "classifier.6"
    ]  # fmt: skip
    for ours, theirs in zip(("fc6", "fc7", "head"), names, strict=True):
        kernel = params[ours]["kernel"]
        if kernel.ndim == 4:
            kernel = kernel.transpose(3, 2, 0, 1)
            kernel = kernel if timm else kernel.reshape(len(kernel), -1)
        else:
            kernel = kernel.T
        named_so[f"{theirs}.weight"], named_so[f"{theirs}.bias"] = kernel, params[ours]["bias"]
    return variables, named_so


@pytest.mark.parametrize("depth", [16, 19])
@pytest.mark.parametrize("timm", [False, True])
def test_torch_tensors_become_convolutions_and_dense_layers_of_the_same_outputs(depth, timm):
    shape = (224, 224, 3)
    model = vgg(num_classes=5, depth=depth, top="conv", **SMALL)
    variables, tensors = torch_tensors(model, shape, timm)
    assert layout_of("vgg", list(tensors)).options == {"depth": depth}
    convolved, got, account = transplanted(tensors, shape, 5, top="conv", **SMALL)
    assert convolved == model and account.head_kept and not account.unmatched
    jax.tree.map(np.testing.assert_array_equal, variables, got)
    dense, flat, _ = transplanted(tensors, shape, 5, top="dense", **SMALL)
    batch = images(shape, 1)
    expected, _ = applied(model, variables, batch)
    np.testing.assert_allclose(applied(dense, flat, batch)[0], expected, rtol=1e-4, atol=1e-5)
    assert np.abs(expected).max() > 0.01


def test_keras_dense_layers_fit_both_tops():
    """By a map of 2x2 pixels, which Keras flattens rows first."""
    shape, model = (64, 64, 3), vgg(num_classes=5, top="dense", **SMALL)
    params = shaken(initialise(model, shape, 0))["params"]
    tensors = {
        f"block{block}_{name.replace('_', '')}/{leaf}": value
        for block in range(1, 6)
        for name, layer in params[f"block_{block}"].items()
        for leaf, value in layer.items()
    }
    for theirs, ours in (("fc1", "fc6"), ("fc2", "fc7"), ("predictions", "head")):
        tensors |= {f"{theirs}/{leaf}": value for leaf, value in params[ours].items()}
    batch, last = images(shape), None
    for top in ("dense", "conv"):
        model, variables, account = transplanted(tensors, shape, 5, top=top, **SMALL)
        assert account.head_kept and not account.unmatched
        logits, ends = applied(model, variables, batch)
        last = np.asarray(ends["stage_4"], np.float64).reshape(2, -1)
        for layer in ("fc6", "fc7"):
            last = np.maximum(last @ params[layer]["kernel"] + params[layer]["bias"], 0)
        expected = last @ params["head"]["kernel"] + params["head"]["bias"]
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_as_convolutions_a_larger_image_gives_the_mean_over_its_windows():
    model = vgg(num_classes=3, top="conv", **SMALL)
    variables = shaken(initialise(model, (224, 224, 3), 0))
    logits, ends = applied(model, variables, images((224, 288, 3), 1))
    last, params = np.asarray(ends["stage_4"], np.float64), variables["params"]
    assert last.shape == (1, 7, 9, 16)
    seen = []
    for left in range(3):
        x = last[:, :, left : left + 7].reshape(1, -1)
        for name in ("fc6", "fc7"):
            kernel = params[name]["kernel"].reshape(-1, SMALL["fc"])
            x = np.maximum(x @ kernel + params[name]["bias"], 0)
        seen.append(x @ params["head"]["kernel"] + params["head"]["bias"])
    np.testing.assert_allclose(logits, np.mean(seen, 0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "top, features", [("dense", 8), ("conv", 8), ("average", 16), ("flatten", 2 * 3 * 16)]
)
def test_endpoints_have_their_shapes_and_meanings(top, features):
    model, shape = vgg(num_classes=5, depth=19, top=top, **SMALL), (64, 96, 1)
    variables = initialise(model, shape, 0)
    logits, ends = applied(model, variables, images(shape))
    assert logits.shape == (2, 5) and logits.dtype == jnp.float32
    assert {name: end.shape[1:] for name, end in ends.items()} == {
        "stage_0": (32, 48, 2), "stage_1": (16, 24, 4), "stage_2": (8, 12, 8),
        "stage_3": (4, 6, 16), "stage_4": (2, 3, 16), "last_conv": (4, 6, 16),
        "features": (features,),
    }  # fmt: skip
    head = variables["params"]["head"]
    np.testing.assert_allclose(logits, ends["features"] @ head["kernel"], rtol=1e-4, atol=1e-5)
    assert set(model.stages) == set(variables["params"]) and model.stages[-1] == "head"
    assert model.stages[5:-1] == (("fc6", "fc7") if top in ("dense", "conv") else ())


@pytest.mark.parametrize("top", ["dense", "conv"])
def test_dropout_follows_fc6_and_fc7_in_training_alone(top):
    """With fc7 the identity, what it hands on is 4 times fc6's where neither was dropped."""
    model = tiny(top, fc=1000)
    variables, batch = initialise(model, (8, 8, 3), 0), images((8, 8, 3), 1)
    params = variables["params"]
    params["fc6"] = {"kernel": 0 * params["fc6"]["kernel"], "bias": np.ones(1000, np.float32)}
    params["fc7"]["kernel"] = np.eye(1000, dtype=np.float32).reshape(params["fc7"]["kernel"].shape)
    run = jax.jit(lambda key: model.apply(variables, batch, True, rngs={"dropout": key}))
    _, still = applied(model, variables, batch)
    assert (still["features"] == 1).all()
    features = np.asarray(run(jax.random.key(0))[1]["features"])
    assert set(np.unique(features)) == {0, 4}
    np.testing.assert_allclose((features == 4).mean(), 0.25, atol=5 * np.sqrt(0.25 * 0.75 / 1000))


@pytest.mark.parametrize("top", ["dense", "conv"])
def test_bfloat16_computes_in_it_and_keeps_float32_weights(top):
    half, exact = tiny(top, dtype="bfloat16"), tiny(top)
    variables, batch = initialise(half, (8, 8, 3), 0), images((8, 8, 3))
    logits, ends = applied(half, variables, batch)
    assert logits.dtype == jnp.float32
    assert {end.dtype for end in ends.values()} == {jnp.dtype("bfloat16")}
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    wanted, _ = applied(exact, variables, batch)
    assert 0 < np.abs(logits - wanted).max() < 0.05 * np.abs(wanted).max()
    traced = str(jax.make_jaxpr(lambda v, x: half.apply(v, x, False))(variables, batch))
    made = re.findall(r":(\w+)\[[\d,]*\] = (?:conv_general_dilated|dot_general)", traced)
    assert len(made) == 6 and set(made) == {"bf16"}  # three convolutions, fc6, fc7, head


@pytest.mark.slow
def test_gradients_are_the_same_on_any_number_of_devices():
    model = tiny("conv")
    params, batch = initialise(model, (8, 8, 3), 0)["params"], images((8, 8, 3), 8)

    def step(params, images):
        def loss(params):
            rngs = {"dropout": jax.random.key(1)}
            return (model.apply({"params": params}, images, True, rngs=rngs)[0] ** 2).mean()

        return parallel.pmean(jax.grad(loss)(params))

    one, two = (parallel.mapped(step, d)(params, parallel.shard(batch, d)) for d in (1, 2))
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(one))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), one, two)


def test_images_of_which_nothing_would_be_left_are_said():
    with pytest.raises(UserError, match="halves the image 5 times, and images are 28x40") as caught:
        initialise(vgg(num_classes=3, **SMALL), (28, 40, 1), 0)
    assert "32 pixels" in caught.value.hint


def test_a_config_finds_the_model_by_name():
    spec = {"name": "vgg", "depth": 19, "top": "average"}
    assert named.build("model", spec, num_classes=3) == vgg(num_classes=3, depth=19, top="average")
    assert list(named.problems("model", spec | {"top": "max"}, "model")) == [
        "model.top = 'max' must be one of dense, conv, average, flatten."
    ]
