"""MobileNet v1 and v2: published counts, Keras' outputs, other libraries' names, real weights."""

import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowlabel_jax.core import named, parallel
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.models import mobilenet_v1, mobilenet_v2
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
    scenes,
    shapes_of,
    shown,
)

HOW = mobilenet_v1.How("same", "relu6", 0.9, 1e-3, "float32")
v1, v2 = mobilenet_v1.mobilenet_v1, mobilenet_v2.mobilenet_v2


@functools.cache
def keras_network(kind, width, shape):
    """(Keras' network of 7 classes with random weights, its tensors)."""
    model = keras_reference.application(
        kind, input_shape=(*shape, 3), alpha=width, classes=7, include_top=True
    )
    keras_reference.randomise(model, 1)
    return model, keras_reference.tensors(model)


@pytest.mark.parametrize(
    "model, trained, all_of_them",
    [
        (v1(num_classes=1000), 4_231_976, 4_253_864),
        (v1(num_classes=1000, width=0.25, stem_stride=1), 470_072, 475_544),
        (v2(num_classes=1000), 3_504_872, 3_538_984),
        (v2(num_classes=1000, width=1.4), 6_108_776, 6_156_712),
    ],
)
def test_parameters_are_as_many_as_published(model, trained, all_of_them):
    shapes = shapes_of(model)
    assert count(shapes["params"]) == trained and count(shapes) == all_of_them
    assert list(model.stages)[-1] == "head" and set(model.stages) == set(shapes["params"])


@pytest.mark.parametrize(
    "kind, name", [("MobileNet", "mobilenet_v1"), ("MobileNetV2", "mobilenet_v2")]
)
@pytest.mark.parametrize(
    "width, shape",
    [
        (0.25, (45, 38)),  # odd maps are padded unlike even ones
        pytest.param(1.0, (224, 224), marks=pytest.mark.slow),
        pytest.param(0.5, (75, 150), marks=pytest.mark.slow),
    ],
)
def test_outputs_are_keras_own(kind, name, width, shape):
    if (kind, width) == ("MobileNetV2", 0.25):
        width = 0.35
    theirs, tensors = keras_network(kind, width, shape)
    batch = images(2, *shape, 3)
    expected = keras_reference.outputs(theirs, batch)
    logits, account = ours(name, tensors, batch, width=width)
    assert account.head_kept and not account.unmatched and not account.left_out
    close(logits, expected)


def test_the_head_of_another_number_of_classes_is_new():
    _, tensors = keras_network("MobileNet", 0.25, (45, 38))
    model, variables, account = filled("mobilenet_v1", tensors, width=0.25, num_classes=3)
    assert not account.head_kept and not account.unmatched
    equal(variables["params"]["head"], initialise(model, (32, 32, 3), 0)["params"]["head"])


def torch_names(form):
    """(convolution, BatchNorm) of each pair in a MobileNet v2, from image to features."""
    if form == "timm":
        yield "conv_stem", "bn1"
        for i, blocks in enumerate((1, 2, 3, 4, 3, 3, 1)):
            for j in range(blocks):
                names = ("conv_dw", "conv_pw") if i == 0 else ("conv_pw", "conv_dw", "conv_pwl")
                yield from ((f"blocks.{i}.{j}.{n}", f"blocks.{i}.{j}.bn{k}")
                            for k, n in enumerate(names, 1))  # fmt: skip
        yield "conv_head", "bn2"
        return
    places = {"new": ("0.0", "0.1", "1.0", "1.1", "2", "3"), "old": ("0", "1", "3", "4", "6", "7")}
    first = {"new": ("0.0", "0.1", "1", "2"), "old": ("0", "1", "3", "4")}
    yield "features.0.0", "features.0.1"
    for n in range(1, 18):
        names = (first if n == 1 else places)[form]
        yield from ((f"features.{n}.conv.{a}", f"features.{n}.conv.{b}")
                    for a, b in zip(names[::2], names[1::2], strict=True))  # fmt: skip
    yield "features.18.0", "features.18.1"


def in_torch_form(pairs, head, keras):
    """A Keras file's tensors under PyTorch's names, layer after layer, turned as PyTorch has them.

    keras: {layer/variable: array} in the order of the layers.
    """
    kernels = [v for k, v in keras.items() if k.endswith("kernel") and v.ndim == 4]
    norms = [k.removesuffix("/gamma") for k in keras if k.endswith("/gamma")]
    made = {}
    for (conv, norm), kernel, theirs in zip(pairs, kernels, norms, strict=True):
        deep = kernel.shape[-1] == 1
        made[f"{conv}.weight"] = (
            kernel.transpose(2, 3, 0, 1) if deep else kernel.transpose(3, 2, 0, 1)
        )
        for leaf, variable in NORM.items():
            made[f"{norm}.{leaf}"] = keras[f"{theirs}/{variable}"]
        made[f"{norm}.num_batches_tracked"] = np.array(5)
    made[f"{head}.weight"] = keras["predictions/kernel"].T
    made[f"{head}.bias"] = keras["predictions/bias"]
    return made


@pytest.mark.parametrize(
    "form, head, family",
    [
        ("new", "classifier.1", "torchvision"),
        ("old", "classifier.1", "torchvision, first form"),
        ("timm", "classifier", "timm"),
    ],
)
def test_pytorchs_names_are_the_same_network(form, head, family):
    _, keras = keras_network("MobileNetV2", 0.35, (45, 38))
    tensors = in_torch_form(torch_names(form), head, keras)
    layout = layout_of("mobilenet_v2", list(tensors))
    assert layout.family == family
    assert layout.options == {"padding": "torch", "epsilon": 1e-5} and layout.pixels == "imagenet"
    _, variables, account = filled("mobilenet_v2", tensors, width=0.35)
    assert account.head_kept and not account.unmatched and len(account.left_out) == 52
    _, same, _ = filled("mobilenet_v2", keras, width=0.35)
    equal(variables, same)


@pytest.mark.parametrize(
    "padding, size, stride, pads, deep",
    [
        ("torch", 3, 2, ((1, 1), (1, 1)), False),
        ("torch", 5, 2, ((2, 2), (2, 2)), True),
        ("torch", 1, 1, ((0, 0), (0, 0)), False),
        ("keras", 3, 2, ((0, 1), (0, 1)), True),
        ("keras", 3, 1, ((1, 1), (1, 1)), True),
        ("same", 5, 2, ((2, 2), (1, 2)), True),
    ],
)
def test_pads_of_each_convention(padding, size, stride, pads, deep):
    x = jnp.asarray(images(2, 9, 8, 4))
    how = HOW._replace(padding=padding, epsilon=0.0)
    layer = mobilenet_v1.Normed(None if deep else 5, size, stride, False, how)
    variables = initialise(layer, x.shape[1:], 0)  # BatchNorm changes nothing then
    y = jax.jit(functools.partial(layer.apply, train=False))(variables, x)
    kernel = variables["params"]["conv"]["kernel"]
    expected = jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=4 if deep else 1,
    )  # fmt: skip
    np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize(
    "model, sides, features",
    [
        (v1(num_classes=3, width=0.25), (32, 16, 8, 4, 2), 256),
        (v1(num_classes=3, width=0.25, stem_stride=1), (64, 32, 16, 8, 4), 256),
        (v2(num_classes=3, width=0.1), (32, 16, 8, 4, 2), 1280),
    ],
)
def test_endpoints_are_a_map_of_each_size_and_the_features(model, sides, features):
    _, ends = jax.eval_shape(
        lambda: model.init_with_output(jax.random.key(0), jnp.zeros((2, 64, 64, 3)), False)[0]
    )
    stages = [ends[f"stage_{i}"].shape[1:3] for i in range(len(sides))]
    assert stages == [(side, side) for side in sides] and len(ends) == len(sides) + 2
    assert ends["features"].shape == (2, features)
    assert ends["last_conv"].shape == (2, sides[-1], sides[-1], features)


def test_the_inside_is_of_its_dtype_and_the_logits_are_float32():
    for make in (v1, v2):
        model = make(num_classes=3, width=0.1, dtype="bfloat16")
        logits, ends = jax.eval_shape(
            lambda model=model: model.init_with_output(
                jax.random.key(0), images(1, 32, 32, 3), False
            )[0]
        )
        assert logits.dtype == jnp.float32
        assert {end.dtype for end in ends.values()} == {jnp.dtype("bfloat16")}


def sloped(net, variables, batch):
    """(gradients of a loss of what comes out in training, new statistics), over all devices."""

    def loss(params):
        given = {**variables, "params": params}
        y, new = net.apply(given, batch, True, mutable=["batch_stats"])
        return (jnp.tanh(y) ** 2).mean(), new["batch_stats"]

    grads, stats = jax.grad(loss, has_aux=True)(variables["params"])
    return parallel.pmean(grads), stats


def test_gradients_of_a_block_are_the_same_on_any_number_of_devices():
    block = mobilenet_v2.Block(mobilenet_v2.Part(4, 2, 3, 1), HOW)
    x = images(4, 5, 6, 4)
    variables = initialise(block, x.shape[1:], 0)
    step = functools.partial(sloped, block)
    one, two = (parallel.mapped(step, d)(variables, parallel.shard(x, d)) for d in (1, 2))
    for mine, other in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_training_reaches_every_stage(name):
    model = named.build("model", {"name": name, "width": 0.25}, num_classes=3)
    variables, batch = initialise(model, (64, 64, 3), 0), images(4, 64, 64, 3)

    def loss(params):
        given = {**variables, "params": params}
        (logits, _), _ = model.apply(given, batch, True, mutable=["batch_stats"])
        return (logits**2).mean()

    grads = jax.jit(jax.grad(loss))(variables["params"])
    for stage in model.stages:
        assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(grads[stage])), stage


def test_a_map_that_cannot_be_halved_and_a_width_of_nothing_are_said():
    with pytest.raises(UserError, match="a map of 1x16 cannot be halved") as caught:
        shapes_of(v1(num_classes=3, width=0.1), (16, 256, 3))
    assert "stem_stride=1" in caught.value.hint
    shapes_of(v1(num_classes=3, width=0.1, padding="same"), (16, 256, 3))
    with pytest.raises(UserError, match="model.width = 0.01 leaves no channels"):
        v1(num_classes=3, width=0.01)


def test_several_hidden_layers_are_dense_layers_one_after_the_other():
    model = v2(num_classes=3, width=0.1, hidden=(5, 4))
    shapes = shapes_of(model)["params"]["head"]
    assert shapes["hidden"]["kernel"].shape == (1280, 5) and shapes["kernel"].shape == (4, 3)
    assert shapes["hidden_2"]["kernel"].shape == (5, 4)
    variables = jax.tree.map(jnp.asarray, initialise(model, (32, 32, 3), 0))
    head, x = variables["params"]["head"], images(2, 1280)
    for name in ("hidden", "hidden_2"):
        x = np.maximum(x @ head[name]["kernel"] + 0.0, 0)
    mine = model.head.apply({"params": head}, images(2, 1280), False)
    np.testing.assert_allclose(mine, x @ head["kernel"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("hidden", [-1, (4, -1), (4, 2.0), "4", True])
def test_hidden_layers_that_cannot_be_are_said(hidden):
    with pytest.raises(UserError, match="model.hidden = "):
        v2(num_classes=3, hidden=hidden)


@pytest.mark.parametrize(
    "leaf, layer, options, channels",
    [
        ("stem/conv", "Conv2D", {"filters": 32, "kernel_size": 3}, 3),
        ("block_13/depthwise/conv", "DepthwiseConv2D", {"kernel_size": 3}, 1024),
        ("block_13/pointwise/conv", "Conv2D", {"filters": 1024, "kernel_size": 1}, 1024),
        ("head", "Dense", {"units": 10}, 1024),
        ("head/hidden", "Dense", {"units": 64}, 1024),
    ],
)
def test_first_weights_can_be_drawn_as_keras_draws_them(leaf, layer, options, channels):
    theirs = keras_reference.kernel(layer, channels, **options)
    hidden = 64 if leaf == "head/hidden" else 0
    model = v1(num_classes=10, initial="glorot_uniform", hidden=hidden)
    found = flax.traverse_util.flatten_dict(glorot(model)["params"], sep="/")
    mine = found[f"{leaf}/kernel"]
    assert mine.size == theirs.size and not found["head/bias"].any()
    np.testing.assert_allclose(mine.std(), theirs.std(), rtol=0.05)
    np.testing.assert_allclose(np.abs(mine).max(), np.abs(theirs).max(), rtol=0.01)
    assert abs(mine.mean()) < 4 * mine.std() / mine.size**0.5


@functools.cache
def glorot(model):
    return initialise(model, (32, 32, 3), 0)


@needs_weights
def test_real_weights_of_version_1_know_imagenet():
    squares, labels = photos()
    tensors = reading.read(WEIGHTS / "mobilenet_v1_075_224_imagenet.safetensors").tensors
    batch = shown(squares, "signed")
    logits, account = ours("mobilenet_v1", tensors, batch, width=0.75, num_classes=1000)
    assert account.head_kept and not account.unmatched
    assert (logits.argmax(1) == labels).sum() >= 16


@needs_weights
def test_real_weights_of_version_2_find_everyday_photos_neutral():
    pictures = scenes()
    tensors = reading.read(WEIGHTS / "nsfwjs_mobilenet_v2_uint8.safetensors").tensors
    batch = shown(np.stack(list(pictures.values())), "unit")
    logits, account = ours("mobilenet_v2", tensors, batch, num_classes=5, hidden=(256, 128))
    assert account.head_kept and not account.unmatched
    neutral = np.asarray(jax.nn.softmax(logits))[:, 2]
    assert (neutral > 0.9).all(), dict(zip(pictures, neutral, strict=True))


@needs_weights
def test_real_weights_without_a_head_leave_ours():
    tensors = reading.read(WEIGHTS / "mobilenet_v2_bottleneck_imagenet.safetensors").tensors
    model, variables, account = filled("mobilenet_v2", tensors)
    assert not account.head_kept and not account.unmatched and len(account.matched) == 260
    equal(variables["params"]["head"], initialise(model, (32, 32, 3), 0)["params"]["head"])
