"""Models: shapes, endpoints, parameter counts by hand, and what is said of impossible options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowlabel_jax.core import named, parallel
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.models.small_cnn import small_cnn
from lowlabel_jax.ops.initialise import initialise

GLOBAL_AVERAGE = dict(channels=(16, 32), pool=(True, False), hidden=256, batch_norm=False)
CATS_AND_DOGS = dict(channels=(32, 32, 64), padding="VALID", head="flatten", hidden=64,
                     dropout=0.5, batch_norm=False)  # fmt: skip


def count(tree):
    """How many numbers a tree holds."""
    return sum(x.size for x in jax.tree.leaves(tree))


def made(image_shape, num_classes=10, **options):
    model = small_cnn(num_classes=num_classes, **options)
    return model, initialise(model, image_shape, 0)


def images(shape, n=4):
    return np.random.default_rng(0).uniform(-1, 1, (n, *shape)).astype(np.float32)


def test_the_global_average_net_has_its_parameters():
    _, variables = made((28, 28, 1), num_classes=7, **GLOBAL_AVERAGE)
    convolutions = (3 * 3 * 1 * 16 + 16) + (3 * 3 * 16 * 32 + 32)  # 160 + 4,640
    dense = (32 * 256 + 256) + (256 * 7 + 7)  # 8,448 + 1,799
    assert count(variables) == convolutions + dense == 15_047


def test_the_cats_and_dogs_net_has_its_parameters():
    _, variables = made((150, 150, 3), num_classes=2, **CATS_AND_DOGS)
    # 150 - 2 = 148, / 2 = 74; 72, 36; 34, 17: what is flattened is 17 x 17 x 64 = 18,496.
    convolutions = (27 * 32 + 32) + (9 * 32 * 32 + 32) + (9 * 32 * 64 + 64)  # 896+9,248+18,496
    dense = (17 * 17 * 64 * 64 + 64) + (64 * 2 + 2)  # 1,183,808 + 130
    assert count(variables) == convolutions + dense == 1_212_578


def test_the_default_net_has_its_parameters():
    _, variables = made((8, 8, 1))
    convolutions = 9 * (1 * 32 + 32 * 64 + 64 * 128)  # without bias: BatchNorm has one
    assert count(variables["params"]) == convolutions + 2 * (32 + 64 + 128) + 128 * 10 + 10
    assert count(variables["batch_stats"]) == 2 * (32 + 64 + 128)


@pytest.mark.parametrize(
    "shape, options, ends",
    [
        ((8, 8, 1), {}, dict(stage_0=(4, 4, 32), stage_1=(2, 2, 64), stage_2=(1, 1, 128),
                             last_conv=(2, 2, 128), features=(128,))),
        ((8, 8, 1), GLOBAL_AVERAGE, dict(stage_0=(4, 4, 16), stage_1=(4, 4, 32),
                                         last_conv=(4, 4, 32), features=(32,))),
        ((8, 8, 1), CATS_AND_DOGS | dict(padding="SAME"),
         dict(stage_0=(4, 4, 32), stage_1=(2, 2, 32), stage_2=(1, 1, 64),
              last_conv=(2, 2, 64), features=(64,))),
        ((22, 23, 3), CATS_AND_DOGS, dict(stage_0=(10, 10, 32), stage_1=(4, 4, 32),
                                          stage_2=(1, 1, 64), last_conv=(2, 2, 64),
                                          features=(64,))),
        ((6, 5, 2), dict(channels=(8,), head="flatten", dtype="bfloat16"),
         dict(stage_0=(3, 2, 8), last_conv=(6, 5, 8), features=(48,))),
    ],
)  # fmt: skip
def test_outputs_and_endpoints_have_their_shapes(shape, options, ends):
    model, variables = made(shape, **options)
    logits, got = model.apply(variables, images(shape), train=False)
    assert logits.shape == (4, 10) and logits.dtype == jnp.float32
    assert {name: end.shape for name, end in got.items()} == {
        name: (4, *end) for name, end in ends.items()
    }


def test_logits_are_the_head_of_features_and_features_the_mean_of_the_last_stage():
    model, variables = made((8, 8, 1), channels=(8, 16), pool=(True, False))
    logits, ends = model.apply(variables, images((8, 8, 1)), train=False)
    np.testing.assert_allclose(ends["features"], ends["stage_1"].mean((1, 2)), rtol=1e-6)
    head = variables["params"]["head"]
    np.testing.assert_allclose(logits, ends["features"] @ head["kernel"], rtol=1e-4, atol=1e-6)


def test_training_moves_the_running_statistics_by_one_minus_momentum():
    model, variables = made((8, 8, 1), channels=(8,), momentum=0.75)
    _, new = model.apply(variables, images((8, 8, 1)), train=True, mutable=["batch_stats"])
    _, gone = made((8, 8, 1), channels=(8,), momentum=0.0)
    fast = small_cnn(num_classes=10, channels=(8,), momentum=0.0)
    _, batch = fast.apply(variables, images((8, 8, 1)), train=True, mutable=["batch_stats"])
    for name in ("mean", "var"):
        old, moved, now = (v["batch_stats"]["norm_0"][name] for v in (gone, new, batch))
        np.testing.assert_allclose(moved, 0.75 * old + 0.25 * now, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("options", [{}, dict(hidden=16, dropout=0.5)])
def test_gradients_are_the_same_on_any_number_of_devices(options):
    model, variables = made((8, 8, 1), channels=(4, 8), **options)
    batch = images((8, 8, 1), 16)

    def step(variables, images):
        def loss(params):
            given = {**variables, "params": params}
            rngs = {"dropout": jax.random.key(1)}
            (logits, _), new = model.apply(given, images, True, mutable=["batch_stats"], rngs=rngs)
            return (logits**2).mean(), new["batch_stats"]

        grads, stats = jax.grad(loss, has_aux=True)(variables["params"])
        return parallel.pmean(grads), stats

    one, *others = (
        parallel.mapped(step, d)(variables, parallel.shard(batch, d)) for d in (1, 2, 8)
    )
    # Float32 sums of other orders, through a division by the standard deviation.
    for other in others:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, other
        )


@pytest.mark.parametrize(
    "shape, options, stage",
    [
        ((8, 8, 1), CATS_AND_DOGS, "stage 1, which is given a map of 3x3"),
        ((8, 8, 1), dict(channels=(4,) * 4), "stage 3, which is given a map of 1x1"),
        ((9, 2, 1), dict(channels=(4,), padding="VALID", pool=(False,)), "stage 0.*9x2"),
    ],
)
def test_a_map_that_becomes_empty_is_said_with_its_stage(shape, options, stage):
    with pytest.raises(UserError, match=stage):
        made(shape, **options)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(head="max"), "model.head = 'max'"),
        (dict(padding="same"), "model.padding = 'same'"),
        (dict(dtype="float16"), "model.dtype = 'float16'"),
        (dict(channels=()), r"model.channels = \(\)"),
        (dict(channels=(8, 0)), r"model.channels = \(8, 0\)"),
        (dict(channels=(8,), pool=(True, True)), "does not fit 1 stages"),
        (dict(pool=()), "does not fit 3 stages"),
    ],
)
def test_impossible_options_are_named(options, message):
    with pytest.raises(UserError, match=message):
        small_cnn(num_classes=3, **options)


def test_a_config_finds_the_model_by_name():
    model = named.build("model", {"name": "small_cnn", "channels": (8,)}, num_classes=3)
    assert model == small_cnn(num_classes=3, channels=(8,))
    assert model.parts == ((8, True),)
    assert model.stages == ("conv_0", "norm_0", "head")
