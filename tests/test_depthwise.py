"""Depthwise convolution: against scipy, and the fast path against XLA's grouped convolution."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from lowlabel_jax.core import parallel
from lowlabel_jax.ops import layers
from lowlabel_jax.ops.depthwise import depthwise_conv2d

# (image h, w), (kernel i, j), strides, padding
MAIN = [
    ((9, 7), (3, 3), (2, 2), "SAME"),
    ((8, 7), (2, 3), (1, 3), ((2, 0), (1, 3))),
    ((3, 3), (1, 1), (2, 2), "VALID"),  # leaves pixels that no window sees
]
CONVOLUTIONS = [
    *MAIN,
    ((9, 9), (3, 3), (1, 2), ((-1, 0), (-2, 1))),  # edges cropped
    ((8, 8), (3, 3), (1, 1), "SAME"),
    ((9, 7), (3, 3), (2, 2), ((0, 1), (0, 1))),  # Keras' own
    ((8, 9), (5, 5), (2, 2), "SAME"),
    ((8, 9), (3, 3), (2, 2), "VALID"),  # the last row is in no window
    ((10, 10), (3, 3), (3, 2), ((3, 4), (0, 1))),  # pads larger than the kernel
    ((2, 2), (3, 3), (1, 1), "SAME"),  # kernels larger than the image
    ((1, 2), (5, 5), (2, 2), "SAME"),
]
MORE = [case for case in CONVOLUTIONS if case not in MAIN]


def draw(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def given(size, kernel):
    return draw((3, *size, 4)), draw((*kernel, 1, 4), 1)


def close(mine, theirs):
    """Equal up to the order of sums: 1e-5 of the largest value, where float32 has 1e-7 a term."""
    theirs = np.asarray(theirs)
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def both(fn, *args):
    """fn(*args, impl) of the two implementations, compiled."""
    return [jax.jit(functools.partial(fn, impl=impl))(*args) for impl in ("cpu", "native")]


@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
@pytest.mark.parametrize("impl", ["cpu", "native"])
def test_each_channel_is_scipys_correlation(impl, strides):
    x, kernel = given((7, 8), (3, 2))
    expected = np.stack(
        [[signal.correlate2d(image[..., c], kernel[..., 0, c], mode="valid") for c in range(4)]
         for image in np.asarray(x)]
    )  # fmt: skip
    expected = expected.transpose(0, 2, 3, 1)[:, :: strides[0], :: strides[1]]
    close(depthwise_conv2d(x, kernel, strides, "VALID", impl), expected)


@pytest.mark.parametrize("size, kernel, strides, padding", CONVOLUTIONS)
def test_it_and_its_gradients_are_native_ones(size, kernel, strides, padding):
    def run(x, k, impl):
        y, pull = jax.vjp(lambda x, k: depthwise_conv2d(x, k, strides, padding, impl), x, k)
        return y, *pull(jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))

    for mine, theirs in zip(*both(run, *given(size, kernel)), strict=True):
        close(mine, theirs)


@pytest.mark.parametrize(
    "size, kernel, strides, padding",
    [*MAIN, *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE)],
)
def test_gradients_of_gradients_are_native_ones(size, kernel, strides, padding):
    def loss(x, k, impl):
        return jnp.tanh(depthwise_conv2d(x, k, strides, padding, impl)).sum()

    def slope(x, k, impl):
        dx, dk = jax.grad(loss, (0, 1))(x, k, impl)
        return (dx**2).sum() + (dk**2).sum()

    def run(x, k, impl):
        return jax.grad(slope, (0, 1))(x, k, impl)

    for mine, theirs in zip(*both(run, *given(size, kernel)), strict=True):
        close(mine, theirs)


def test_gradients_inside_a_scan_and_under_vmap_are_native_ones():
    x, k = given((6, 6), (3, 3))

    def run(x, k, impl):
        def turn(x, _):
            return jnp.tanh(depthwise_conv2d(x, 0.3 * k, impl=impl)), None

        return jax.lax.scan(turn, x, None, length=2)[0].sum()

    def each(x, k, impl):
        return jax.vmap(jax.grad(functools.partial(run, impl=impl), (0, 1)))(x[:, None], k)

    for mine, theirs in zip(*both(each, x, jnp.stack([k, -k, 2 * k])), strict=True):
        close(mine, theirs)


def test_bfloat16_goes_in_and_comes_out_and_sums_are_float32():
    x, k = (v.astype(jnp.bfloat16) for v in given((9, 9), (3, 3)))

    @functools.partial(jax.jit, static_argnums=2)
    def run(x, k, impl):
        return jax.vjp(lambda x, k: depthwise_conv2d(x, k, impl=impl), x, k)[1](x)

    exact = run(x.astype(jnp.float32), k.astype(jnp.float32), "native")
    for mine, expected in zip(run(x, k, "cpu"), exact, strict=True):
        assert mine.dtype == jnp.bfloat16
        # Rounded once, at the end, to 8 bits: half of 2^-7 of each number.
        np.testing.assert_allclose(mine.astype(np.float32), expected, rtol=2**-8, atol=1e-5)


def test_gradients_are_the_same_on_any_number_of_devices():
    x, k = np.asarray(draw((16, 5, 6, 3))), draw((3, 3, 1, 3), 1)

    def step(k, x):
        def loss(k):
            return jnp.tanh(depthwise_conv2d(x, k, (2, 2), impl="cpu")).mean()

        return parallel.pmean(jax.grad(loss)(k))

    one, two, eight = (parallel.mapped(step, d)(k, parallel.shard(x, d)) for d in (1, 2, 8))
    close(two, one)
    close(eight, one)


def test_the_layer_has_one_kernel_a_channel_and_computes_in_its_dtype():
    layer = layers.DepthwiseConv((3, 5), (2, 1), ((0, 1), (2, 2)), dtype=jnp.bfloat16)
    x = draw((2, 8, 9, 4))
    variables = jax.eval_shape(layer.init, jax.random.key(0), x)
    assert jax.tree.map(lambda leaf: leaf.shape, variables) == {"params": {"kernel": (3, 5, 1, 4)}}
    assert variables["params"]["kernel"].dtype == jnp.float32
    variables = {"params": {"kernel": 0.3 * draw((3, 5, 1, 4), 1)}}
    y = jax.jit(layer.apply)(variables, x)
    assert y.shape == (2, 4, 9, 4) and y.dtype == jnp.bfloat16
    other = layers.DepthwiseConv((3, 5), (2, 1), ((0, 1), (2, 2)), impl="native")
    np.testing.assert_allclose(y.astype(np.float32), other.apply(variables, x), atol=0.03)


def test_an_unknown_implementation_is_named():
    with pytest.raises(ValueError, match="'cudnn'.*auto, native, cpu"):
        depthwise_conv2d(*given((4, 4), (3, 3)), impl="cudnn")
