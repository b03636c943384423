"""Wide ResNet: the papers' parameter counts, their first weights, and their outputs by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowlabel_jax import optimizers
from lowlabel_jax.core import named, parallel
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.models.wide_resnet import wide_resnet
from lowlabel_jax.ops.initialise import initialise

DEEP = dict(depth=28, width=2)


def count(tree):
    """How many numbers a tree holds."""
    return sum(x.size for x in jax.tree.leaves(tree))


def images(shape, n=4, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, *shape)).astype(np.float32)


def made(shape=(8, 8, 3), num_classes=3, shaken=False, **options):
    """A net and its variables; `shaken`: biases, scales and statistics are no longer 0 and 1."""
    model = wide_resnet(num_classes=num_classes, **options)
    variables = initialise(model, shape, 0)
    if shaken:
        rng = np.random.default_rng(1)
        variables = jax.tree.map(
            lambda x: x + rng.uniform(0, 0.3, x.shape).astype(np.float32), variables
        )
    return model, variables


@pytest.mark.parametrize(
    "classes, parameters, options",
    [
        (10, 1_467_610, DEEP),
        (10, 1_469_642, DEEP | dict(conv_bias=True)),
        (100, 23_401_012, DEEP | dict(width=8)),
        (100, 23_409_092, DEEP | dict(width=8, conv_bias=True)),
    ],
)
def test_parameters_are_as_many_as_the_papers(classes, parameters, options):
    shapes = shapes_of(classes, (32, 32, 3), **options)
    assert count(shapes["params"]) == parameters


def shapes_of(classes, shape, **options):
    model, image = wide_resnet(num_classes=classes, **options), jnp.zeros((1, *shape))
    return jax.eval_shape(lambda: model.init(jax.random.key(0), image, False))


def by_hand(channels, blocks, classes):
    """Parameters of a net without convolution bias, from 3 colours."""
    total, c = 9 * 3 * 16, 16
    for wide in channels:
        for block in range(blocks):
            total += 2 * c + 9 * c * wide + 2 * wide + 9 * wide * wide
            total += c * wide if block == 0 and c != wide else 0
            c = wide
    return total + 2 * c + c * classes + classes


@pytest.mark.parametrize(
    "depth, width, groups, channels, blocks",
    [
        (37, 2, 4, (32, 64, 128, 256), 4),  # STL-10's
        (10, 1, 3, (16, 32, 64), 1),
        (16, 2, 3, (32, 64, 128), 2),
    ],
)
def test_depth_is_shared_over_the_groups(depth, width, groups, channels, blocks):
    shapes = shapes_of(10, (96, 96, 3), depth=depth, width=width, groups=groups)
    assert count(shapes["params"]) == by_hand(channels, blocks, 10)
    kernels = [path for path, leaf in jax.tree_util.tree_leaves_with_path(shapes) if leaf.ndim == 4]
    assert len(kernels) == (depth if width > 1 else depth - 1)  # 16 to 16 needs no shortcut


@pytest.mark.parametrize(
    "depth, groups, near", [(30, 3, "28 or 34"), (28, 4, "21 or 29"), (1, 3, "10 or 16")]
)
def test_a_depth_that_does_not_fit_is_said_with_the_nearest(depth, groups, near):
    with pytest.raises(UserError, match=f"model.depth = {depth} .*groups = {groups}") as caught:
        wide_resnet(num_classes=10, depth=depth, groups=groups)
    assert caught.value.hint == f"use {near}."


def test_an_unknown_dtype_is_named():
    with pytest.raises(UserError, match="model.dtype = 'float16'"):
        wide_resnet(num_classes=10, dtype="float16")


def test_convolutions_begin_by_fan_out_and_the_head_by_glorot():
    _, variables = made((8, 8, 3), num_classes=100, depth=10, width=8, conv_bias=True)
    params = variables["params"]
    for layer, fan_out in (
        (params["block_1_0"]["conv_0"], 9 * 256),  # 128 -> 256: by fan in it would be 9 · 128
        (params["block_2_0"]["shortcut"], 512),
        (params["stem"], 9 * 16),
    ):
        kernel = layer["kernel"]
        error = 5 / np.sqrt(2 * kernel.size)  # of an estimated standard deviation, five sigma
        np.testing.assert_allclose(kernel.std(), np.sqrt(2 / fan_out), rtol=error)
        assert not layer["bias"].any()
    np.testing.assert_allclose(params["head"]["kernel"].std(), np.sqrt(2 / 612), rtol=0.02)
    assert not params["head"]["bias"].any()


def test_weight_decay_knows_every_leaf():
    _, variables = made(depth=10, conv_bias=True)
    decays = optimizers.decays(variables["params"])["block_0_0"]
    assert decays["shortcut"] == {"kernel": True, "bias": False}
    assert decays["norm_0"] == {"scale": False, "bias": False}


def reference(variables, x, blocks, train, slope=0.1, epsilon=1e-3):
    """(logits, {norm: (mean, var)} that were used), after libml/models.py of the paper's code.

    Its own padding, normalisation and order, in float64.
    """
    params, running, used = variables["params"], variables["batch_stats"], {}

    def at(tree, place):
        for key in place.split("/"):
            tree = tree[key]
        return tree

    def norm(x, place):
        stats = at(running, place)
        mean, var = (
            (x.mean((0, 1, 2)), x.var((0, 1, 2))) if train else (stats["mean"], stats["var"])
        )
        used[place] = (mean, var)
        y = (x - mean) / np.sqrt(var + epsilon) * at(params, place)["scale"]
        y = y + at(params, place)["bias"]
        return np.where(y > 0, y, slope * y)

    def conv(x, place, stride=1):
        kernel = np.asarray(at(params, place)["kernel"], np.float64)
        size, (h, w) = len(kernel), x.shape[1:3]
        out = [-(-side // stride) for side in (h, w)]
        extra = [max((o - 1) * stride + size - s, 0) for o, s in zip(out, (h, w), strict=True)]
        pads = [(e // 2, e - e // 2) for e in extra]
        x = np.pad(x, [(0, 0), *pads, (0, 0)])
        y = np.zeros((len(x), *out, kernel.shape[-1]))
        for i in range(size):
            for j in range(size):
                rows = slice(i, i + stride * (out[0] - 1) + 1, stride)
                columns = slice(j, j + stride * (out[1] - 1) + 1, stride)
                y += x[:, rows, columns] @ kernel[i, j]
        return y + at(params, place).get("bias", 0)

    x = conv(np.asarray(x, np.float64), "stem")
    groups = 1 + max(int(name.split("_")[1]) for name in params if name.startswith("block"))
    for i in range(groups):
        for j in range(blocks):
            name = f"block_{i}_{j}"
            y = norm(x, f"{name}/norm_0")
            x = y if (i, j) == (0, 0) else x
            stride = 2 if i > 0 and j == 0 else 1
            y = norm(conv(y, f"{name}/conv_0", stride), f"{name}/norm_1")
            y = conv(y, f"{name}/conv_1")
            x = y + (conv(x, f"{name}/shortcut", stride) if "shortcut" in params[name] else x)
    x = norm(x, "norm").mean((1, 2))
    return x @ params["head"]["kernel"] + params["head"]["bias"], used


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
    "options, blocks",
    [
        (dict(depth=10, width=1), 1),  # no shortcut in group 0: what it adds is the activated x
        (dict(depth=16, width=2, conv_bias=True), 2),
        (dict(depth=13, width=2, groups=4, slope=0.2, epsilon=1e-2), 1),
    ],
)
def test_outputs_are_those_of_the_papers_net(options, blocks, train):
    model, variables = made((9, 10, 3), shaken=True, **options)  # odd: SAME pads unevenly
    batch = images((9, 10, 3))
    (logits, _), new = model.apply(variables, batch, train, mutable=["batch_stats"])
    known = {key: options[key] for key in ("slope", "epsilon") if key in options}
    expected, used = reference(variables, batch, blocks, train, **known)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    old, moved = variables["batch_stats"]["norm"], new["batch_stats"]["norm"]
    for statistic, value in zip(("mean", "var"), used["norm"], strict=True):
        share = 0.001 if train else 0
        expected = (1 - share) * old[statistic] + share * value
        np.testing.assert_allclose(moved[statistic], expected, rtol=1e-5, atol=1e-6)


def test_endpoints_have_their_shapes_and_meanings():
    model, variables = made((12, 10, 3), num_classes=5, depth=10, width=2)
    logits, ends = model.apply(variables, images((12, 10, 3)), False)
    assert logits.shape == (4, 5) and logits.dtype == jnp.float32
    assert {name: end.shape[1:] for name, end in ends.items()} == {
        "stage_0": (12, 10, 32), "stage_1": (6, 5, 64), "stage_2": (3, 3, 128),
        "last_conv": (3, 3, 128), "features": (128,),
    }  # fmt: skip
    np.testing.assert_allclose(ends["features"], ends["last_conv"].mean((1, 2)), rtol=1e-5)
    head = variables["params"]["head"]
    np.testing.assert_allclose(logits, ends["features"] @ head["kernel"], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_bfloat16_computes_in_it_and_keeps_float32_weights_and_statistics():
    model, variables = made(depth=10, dtype="bfloat16")
    exact, _ = made(depth=10)
    (logits, ends), new = model.apply(variables, images((8, 8, 3)), True, mutable=["batch_stats"])
    assert logits.dtype == jnp.float32 and ends["stage_2"].dtype == jnp.bfloat16
    assert {x.dtype for x in jax.tree.leaves((variables["params"], new))} == {jnp.dtype("float32")}
    (wanted, _), _ = exact.apply(variables, images((8, 8, 3)), True, mutable=["batch_stats"])
    assert 0 < np.abs(logits - wanted).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.slow
def test_gradients_are_the_same_on_any_number_of_devices():
    model, variables = made(depth=10, width=1)
    batch = images((8, 8, 3), 16)

    def step(variables, images):
        def loss(params):
            given = {**variables, "params": params}
            (logits, _), new = model.apply(given, images, True, mutable=["batch_stats"])
            return (logits**2).mean(), new["batch_stats"]

        grads, stats = jax.grad(loss, has_aux=True)(variables["params"])
        return parallel.pmean(grads), stats

    one, two = (parallel.mapped(step, d)(variables, parallel.shard(batch, d)) for d in (1, 2))
    # Float32 sums of other orders, through divisions by standard deviations.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, two)


def test_a_config_finds_the_model_by_name():
    model = named.build("model", {"name": "wide_resnet", "depth": 10}, num_classes=3)
    assert model == wide_resnet(num_classes=3, depth=10)
