"""Convolution, pooling, layers and first weights: against references, Flax, and each other."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from lowlabel_jax.core import parallel, tree
from lowlabel_jax.ops import compiling, initialise, layers
from lowlabel_jax.ops.convolution import conv2d, explicit_pads
from lowlabel_jax.ops.pooling import max_pool

# (image h, w), (kernel i, j), strides, padding
CONVOLUTIONS = [
    ((8, 8), (3, 3), (1, 1), "SAME"),
    ((8, 8), (3, 3), (2, 2), "SAME"),  # pads 0 above, 1 below
    ((7, 9), (3, 3), (2, 2), "VALID"),
    ((9, 6), (5, 2), (2, 1), "SAME"),
    ((8, 7), (2, 3), (1, 3), ((2, 0), (1, 3))),
    ((9, 9), (1, 1), (2, 2), "VALID"),  # leaves pixels that no window sees
    ((6, 6), (1, 1), (1, 1), "SAME"),
    ((10, 10), (3, 3), (3, 2), ((3, 4), (0, 1))),  # pads larger than the kernel
    ((4, 4), (4, 4), (1, 1), "VALID"),
    ((2, 2), (3, 3), (1, 1), "SAME"),  # kernels larger than the image
    ((1, 2), (3, 3), (2, 2), "SAME"),
    ((2, 6), (5, 3), (1, 2), ((3, 2), (0, 1))),
]
POOLS = [
    ((8, 8), (2, 2), None, "VALID"),
    ((7, 9), (2, 2), None, "VALID"),  # the last row and column are left out
    ((8, 9), (3, 3), (2, 2), "SAME"),
    ((9, 8), (3, 2), (1, 3), "SAME"),
    ((8, 8), (3, 3), (2, 2), ((1, 1), (1, 1))),
]


def draw(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def close(mine, theirs):
    """Equal up to the order of sums: 1e-5 of the largest value, where float32 has 1e-7 a term."""
    theirs = np.asarray(theirs)
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def both(fn, *args):
    """fn(*args, impl) of the two implementations, compiled."""
    return [jax.jit(functools.partial(fn, impl=impl))(*args) for impl in ("cpu", "native")]


def convolution(size, kernel, seed=0):
    return draw((2, *size, 3), seed), draw((*kernel, 3, 4), seed + 1)


@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
@pytest.mark.parametrize("impl", ["cpu", "native"])
def test_convolution_is_scipys_correlation(impl, strides):
    x, kernel = convolution((7, 8), (3, 2))
    expected = sum(
        np.stack([[signal.correlate2d(image[..., c], kernel[..., c, o], mode="valid")
                   for o in range(4)] for image in np.asarray(x)])
        for c in range(3)
    )  # fmt: skip
    expected = expected.transpose(0, 2, 3, 1)[:, :: strides[0], :: strides[1]]
    close(conv2d(x, kernel, strides, "VALID", impl), expected)


def test_same_padding_at_stride_2_is_asymmetric():
    assert explicit_pads("SAME", (8, 9), (3, 3), (2, 2)) == ((0, 1), (1, 1))


@pytest.mark.parametrize("size, kernel, strides, padding", CONVOLUTIONS)
def test_convolution_and_its_gradients_are_native_ones(size, kernel, strides, padding):
    x, k = convolution(size, kernel)

    def run(x, k, impl):
        y, pull = jax.vjp(lambda x, k: conv2d(x, k, strides, padding, impl), x, k)
        return y, *pull(jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))

    for mine, theirs in zip(*both(run, x, k), strict=True):
        close(mine, theirs)


@pytest.mark.parametrize("size, kernel, strides, padding", CONVOLUTIONS)
def test_gradients_of_gradients_are_native_ones(size, kernel, strides, padding):
    x, k = convolution(size, kernel)

    def loss(x, k, impl):
        return jnp.tanh(conv2d(x, k, strides, padding, impl)).sum()

    def slope(x, k, impl):
        dx, dk = jax.grad(loss, (0, 1))(x, k, impl)
        return (dx**2).sum() + (dk**2).sum()

    def run(x, k, impl):
        return jax.grad(slope, (0, 1))(x, k, impl)

    for mine, theirs in zip(*both(run, x, k), strict=True):
        close(mine, theirs)


def test_gradients_inside_a_scan_are_native_ones():
    x, k = convolution((8, 8), (3, 3))
    k = 0.1 * draw((3, 3, 3, 3))

    def run(x, k, impl):
        def turn(x, _):
            return jnp.tanh(conv2d(x, k, impl=impl)), None

        return jax.lax.scan(turn, x, None, length=3)[0].sum()

    for mine, theirs in zip(*both(jax.grad(run, (0, 1)), x, k), strict=True):
        close(mine, theirs)


def test_gradients_of_any_order_are_written_without_layouts_of_other_kinds():
    """What keeps them fast in loops: images NHWC and kernels HWIO, no transposed convolution."""
    x, k = convolution((8, 8), (3, 3))

    def slope(x, k):
        return (jax.grad(lambda x: jnp.tanh(conv2d(x, k, (2, 2), impl="cpu")).sum())(x) ** 2).sum()

    text = jax.jit(jax.grad(slope, (0, 1))).lower(x, k).as_text()
    layouts = {line.split("dim_numbers = ")[1].split(", window")[0]
               for line in text.splitlines() if "stablehlo.convolution" in line}  # fmt: skip
    assert layouts == {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"}


def test_forward_mode_needs_native():
    x, k = convolution((6, 6), (3, 3))
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: conv2d(x, k, impl="cpu"), (x,), (x,))
    jax.jvp(lambda x: conv2d(x, k, impl="native"), (x,), (x,))


def test_an_unknown_implementation_is_named():
    with pytest.raises(ValueError, match="'cudnn'.*auto, native, cpu"):
        conv2d(*convolution((4, 4), (3, 3)), impl="cudnn")


@pytest.mark.parametrize("impl", ["cpu", "native"])
def test_pooling_is_the_maximum_of_each_window(impl):
    x = np.asarray(draw((2, 7, 8, 3)))
    expected = np.zeros((2, 3, 3, 3), np.float32)
    for i, j in np.ndindex(3, 3):
        expected[:, i, j] = x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((1, 2))
    np.testing.assert_array_equal(max_pool(x, (3, 3), (2, 2), "VALID", impl), expected)


@pytest.mark.parametrize("size, window, strides, padding", POOLS)
def test_pooling_and_its_gradients_are_native_ones(size, window, strides, padding):
    x = draw((2, *size, 3))  # no ties: they are divided among the largest by "cpu" alone

    def loss(x, impl):
        return jnp.tanh(max_pool(x, window, strides, padding, impl)).sum()

    def run(x, impl):
        slope = jax.grad(lambda x: (jax.grad(loss)(x, impl) ** 2).sum())
        return max_pool(x, window, strides, padding, impl), jax.grad(loss)(x, impl), slope(x)

    for mine, theirs in zip(*both(run, x), strict=True):
        close(mine, theirs)


@pytest.mark.parametrize("impl", ["cpu", "native"])
@pytest.mark.parametrize("place", [(0, 0), (3, 3), (1, 2)])
def test_pooling_passes_nan_on(impl, place):
    x = draw((1, 4, 4, 1)).at[0, *place, 0].set(jnp.nan)
    expected = np.zeros((2, 2), bool)
    expected[place[0] // 2, place[1] // 2] = True
    np.testing.assert_array_equal(np.isnan(max_pool(x, impl=impl))[0, ..., 0], expected)


def test_a_tie_divides_the_gradient_evenly_on_the_cpu_path():
    gradient = jax.grad(lambda x: max_pool(x, impl="cpu").sum())(jnp.ones((1, 2, 2, 1)))
    np.testing.assert_array_equal(gradient.ravel(), [0.25] * 4)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
@pytest.mark.parametrize(
    "kind, options, shape",
    [("Conv", dict(kernel_size=(3, 2), strides=(2, 1), padding="VALID"), (2, 6, 5, 3)),
     ("Dense", {}, (2, 7))],
)  # fmt: skip
def test_layers_have_flaxs_parameters_and_outputs(kind, options, shape, dtype, bias):
    options = dict(features=4, use_bias=bias, dtype=dtype, **options)
    ours, theirs = getattr(layers, kind)(**options), getattr(nn, kind)(**options)
    x = draw(shape)
    variables = ours.init(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(
        jnp.shape, theirs.init(jax.random.key(0), x)
    )
    variables = jax.tree.map(lambda leaf: draw(leaf.shape), variables)
    mine, expected = ours.apply(variables, x), theirs.apply(variables, x)
    assert mine.dtype == expected.dtype
    # bfloat16 keeps 8 bits; Flax's Conv adds up in the same way, so even there all but equal.
    np.testing.assert_allclose(mine.astype(np.float32), expected.astype(np.float32), atol=1e-5)


class Normed(nn.Module):
    """BatchNorm alone, as models use it."""

    @nn.compact
    def __call__(self, x, train):
        return layers.BatchNorm(momentum=0.75, epsilon=1e-3, name="norm")(x, train)


def normed_step(variables, batch):
    """(running statistics, gradient of the scale, gathered output) of one training forward."""

    def loss(params):
        y, new = Normed().apply({**variables, "params": params}, batch, True, mutable="batch_stats")
        return jnp.tanh(y**3).mean(), (new["batch_stats"], y)

    grads, (stats, y) = jax.grad(loss, has_aux=True)(variables["params"])
    return stats, parallel.pmean(grads), parallel.gather(y)


def test_batch_norm_sees_the_global_batch_on_any_number_of_devices():
    x = np.asarray(3 + 2 * draw((16, 2, 2, 3)))
    variables = initialise.initialise(Normed(), (2, 2, 3), 0)
    axes = (0, 1, 2)
    for devices in (1, 2, 8):
        step = parallel.mapped(normed_step, devices)
        stats, grads, y = step(variables, parallel.shard(x, devices))
        np.testing.assert_allclose(stats["norm"]["mean"], 0.25 * x.mean(axes), rtol=1e-5)
        np.testing.assert_allclose(stats["norm"]["var"], 0.75 + 0.25 * x.var(axes), rtol=1e-5)
        expected = (x - x.mean(axes)) / np.sqrt(x.var(axes) + 1e-3)
        np.testing.assert_allclose(y, expected, atol=1e-5)
        slope = (1 - np.tanh(expected**3) ** 2) * 3 * expected**3 / expected.size
        np.testing.assert_allclose(grads["norm"]["scale"], slope.sum(axes), atol=1e-6)


def test_gradients_through_synced_statistics_are_the_same_on_any_number_of_devices():
    x, kernel = np.asarray(draw((16, 4, 4, 2))), draw((3, 3, 2, 3), 1)
    norm = initialise.initialise(Normed(), (4, 4, 3), 0)

    def step(kernel, x):
        def loss(kernel):
            y, _ = Normed().apply(norm, conv2d(x, kernel), True, mutable="batch_stats")
            return jnp.tanh(y**3).mean()

        return parallel.pmean(jax.grad(loss)(kernel))

    one, two, eight = (parallel.mapped(step, d)(kernel, parallel.shard(x, d)) for d in (1, 2, 8))
    close(two, one)
    close(eight, one)


def test_batch_norm_keeps_statistics_in_float32_and_rests_outside_of_training():
    x = draw((4, 2, 2, 3)).astype(jnp.bfloat16)
    norm = layers.BatchNorm(momentum=0.9, epsilon=1e-5, dtype=jnp.bfloat16)
    _, new = norm.init_with_output(jax.random.key(0), x, True)
    assert {leaf.dtype for leaf in jax.tree.leaves(new)} == {jnp.dtype("float32")}
    variables = initialise.initialise(Normed(), (2, 2, 3), 0)
    close(Normed().apply(variables, draw((4, 2, 2, 3)), False), draw((4, 2, 2, 3)) / np.sqrt(1.001))


def dropped(address, x, rate=0.4, train=True):
    variables = {} if address is None else {"address": {"example": address}}
    keys = {"dropout": jax.random.key(3)}
    return layers.Dropout(rate).apply(variables, x, train, rngs=keys)


@pytest.mark.parametrize("given", [True, False])
def test_dropout_drops_the_same_values_on_any_number_of_devices(given):
    x = np.ones((16, 2, 5), np.float32)

    def step(_, x):
        address = 100 + parallel.positions(len(x)) if given else None
        return parallel.gather(dropped(address, x))

    one, two, eight = (parallel.mapped(step, d)((), parallel.shard(x, d)) for d in (1, 2, 8))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, eight)
    np.testing.assert_array_equal(one, dropped(jnp.arange(16) + 100 * given, x))
    assert len({row.tobytes() for row in np.asarray(one)}) > 8  # each example has its own mask


def test_dropout_reads_addresses_from_a_layer_deep_inside():
    class Inner(nn.Module):
        @nn.compact
        def __call__(self, x):
            return layers.Dropout(0.4)(x, True)

    net, address = nn.Sequential([nn.Sequential([Inner()])]), jnp.array([7, 7, 8])
    rngs = {"dropout": jax.random.key(0)}
    rows = np.asarray(net.apply({"address": {"example": address}}, jnp.ones((3, 50)), rngs=rngs))
    np.testing.assert_array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[2])


def test_dropout_keeps_its_share_and_its_mean():
    y = np.asarray(dropped(None, jnp.ones((100, 1000))))
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.6], rtol=1e-6)
    # The share of zeros in 100,000 draws has a standard deviation of 0.0015.
    assert abs((y == 0).mean() - 0.4) < 5 * 0.0015
    np.testing.assert_array_equal(dropped(None, jnp.ones((2, 9)), train=False), np.ones((2, 9)))


def test_dropout_refuses_addresses_of_another_batch():
    with pytest.raises(ValueError, match=r"address/example has shape \(3,\) for a batch of 2"):
        dropped(jnp.arange(3), jnp.ones((2, 4)))


def shapes(**leaves):
    return {"params": {name: {"kernel": jax.ShapeDtypeStruct(s, jnp.float32)}
                       for name, s in leaves.items()}}  # fmt: skip


def kernels(seed=0, **leaves):
    return {k: v["kernel"] for k, v in initialise.fill(shapes(**leaves), seed)["params"].items()}


@pytest.mark.parametrize(
    "name, shape, variance",
    [("conv", (3, 3, 64, 128), 2 / (9 * 64)), ("dense", (400, 200), 2 / 400),
     ("head", (400, 200), 2 / (400 + 200))],
)  # fmt: skip
def test_first_kernels_have_the_variance_of_their_rule(name, shape, variance):
    leaf = kernels(**{name: shape})[name]
    z = leaf / np.sqrt(variance)
    # n >= 73,728 draws: mean has a standard deviation below 0.004, the variance below 0.006.
    assert abs(z.mean()) < 0.02 and abs(z.var() - 1) < 0.03
    assert 3.5 < np.abs(z).max() < 7  # a normal one, not truncated at two deviations


def test_first_weights_are_a_function_of_seed_and_path():
    first = kernels(a=(4, 5), b=(4, 5))
    np.testing.assert_array_equal(first["a"], kernels(z=(2, 2), b=(4, 5), a=(4, 5))["a"])
    np.testing.assert_array_equal(first["b"], kernels(b=(4, 5))["b"])
    assert not np.array_equal(first["a"], first["b"])
    assert not np.array_equal(first["a"], kernels(1, a=(4, 5))["a"])
    # Drawn by another process: a hash that differs between processes cannot give these.
    np.testing.assert_allclose(first["a"].ravel()[:2], [-0.2127121, -0.6141822], rtol=1e-6)


def test_first_biases_are_0_and_scales_1():
    variables = initialise.initialise(Normed(), (2, 2, 3), 0)
    values = {name: set(leaf.tolist()) for name, leaf in tree.named_leaves(variables).items()}
    assert values == {
        "params/norm/bias": {0.0},
        "params/norm/scale": {1.0},
        "batch_stats/norm/mean": {0.0},
        "batch_stats/norm/var": {1.0},
    }


def test_a_leaf_without_a_rule_is_named():
    with pytest.raises(ValueError, match="params/gate/temperature"):
        initialise.fill({"params": {"gate": {"temperature": jnp.ones(())}}}, 0)
    with pytest.raises(ValueError, match="params/a/bias.*int32"):
        initialise.fill({"params": {"a": {"bias": jnp.ones((2,), jnp.int32)}}}, 0)


def test_compile_options_are_taken_by_this_jaxlib_or_left_out(monkeypatch):
    options = compiling.compile_options("cpu")
    compiled = jax.jit(jnp.sin).lower(1.0).compile(compiler_options=options)
    np.testing.assert_allclose(compiled(1.0), np.sin(1.0), rtol=1e-6)
    assert compiling.compile_options("gpu") == {}
    monkeypatch.setattr(compiling, "CPU_OPTIONS", (("xla_cpu_no_such_option", "1"),))
    assert compiling.compile_options("cpu") == {}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_is_flaxs(train, dtype):
    x = (3 + 2 * draw((8, 4, 4, 5))).astype(dtype)
    how = dict(momentum=0.75, epsilon=1e-3, dtype=dtype)
    ours, theirs = layers.BatchNorm(**how), nn.BatchNorm(use_running_average=not train, **how)
    variables = theirs.init(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(
        jnp.shape, ours.init(jax.random.key(0), x, train)
    )
    variables = jax.tree.map(lambda v: v + 0.1 * jnp.arange(5.0), variables)

    def run(apply, *given):
        def loss(params, x):
            y, new = apply({**variables, "params": params}, x, *given, mutable=["batch_stats"])
            return jnp.tanh(y.astype(jnp.float32) ** 3).sum(), (y, new)

        (_, (y, new)), grads = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(
            variables["params"], x
        )
        return y, new, grads

    (y, new, grads), (y_flax, new_flax, grads_flax) = run(ours.apply, train), run(theirs.apply)
    assert y.dtype == y_flax.dtype
    rough = 0.05 if dtype == jnp.bfloat16 else 1e-4
    for mine, its in ((y, y_flax), (new, new_flax), (grads, grads_flax)):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(
                np.asarray(a, np.float32), np.asarray(b, np.float32), rtol=rough, atol=rough
            ),
            mine,
            its,
        )
