"""Flax layers over our own operations, with the parameter trees of Flax's layers."""

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from lowlabel_jax.core import parallel
from lowlabel_jax.ops.convolution import Padding, conv2d
from lowlabel_jax.ops.depthwise import depthwise_conv2d


class Conv(nn.Module):
    """[b, h, w, c] -> [b, h', w', features]. Parameters as nn.Conv's: {kernel[, bias]}."""

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: Padding = "SAME"
    use_bias: bool = True
    dtype: Any = None  # of the computation; parameters are float32
    impl: str = "auto"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = _bias(self)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = conv2d(x, kernel, self.strides, self.padding, self.impl)
        return y if bias is None else y + bias.reshape(1, 1, 1, -1)


class Dense(nn.Module):
    """[b, c] -> [b, features]. Parameters as nn.Dense's: {kernel[, bias]}."""

    features: int
    use_bias: bool = True
    dtype: Any = None  # of the computation; parameters are float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = _bias(self)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = x @ kernel
        return y if bias is None else y + bias.reshape(1, -1)


class Dropout(nn.Module):
    """[b, …] with a share `rate` of each example's values at 0 and the others scaled up.

    The mask is drawn by address: key and the example's global id, which the caller gives as
    `variables["address"]["example"]` int32 [b]; without it, its place in the global batch. So 1, 2
    and 8 devices drop the same values. (Not to be used under nn.scan or nn.remat, which hide the
    root's variables.)
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if not train or self.rate == 0:
            return x
        keys = parallel.example_keys(self.make_rng("dropout"), addresses(self, len(x)))
        draw = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate, x.shape[1:]))
        return jnp.where(draw(keys), x / (1 - self.rate), jnp.zeros((), x.dtype))


def addresses(layer: nn.Module, n: int) -> jax.Array:
    """int32 [n]: the global ids of a batch's examples, by which a layer draws; see Dropout.

    Raises ValueError where the caller has given another number of them.
    """
    root = layer.scope.root if layer.scope else None
    given = root.get_variable("address", "example") if root else None
    if given is None:
        return parallel.positions(n)
    if given.shape != (n,):
        raise ValueError(f"address/example has shape {given.shape} for a batch of {n}.")
    return given


class BatchNorm(nn.Module):
    """Flax's BatchNorm over the global batch; its statistics are float32 whatever the dtype.

    momentum is what is kept of the old running statistics (PyTorch's is 1 - ours). Written as one
    factor and one summand a channel: JAX's gradient then looks at x and g twice, at Flax's
    (x - mean) · factor more often (a whole training step of MobileNet v1 takes 0.9 of the time).
    """

    momentum: float
    epsilon: float
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        shape, wide = (x.shape[-1],), x.astype(jnp.float32)
        scale = self.param("scale", nn.initializers.ones_init(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), shape)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        var = self.variable("batch_stats", "var", jnp.ones, shape)
        used = mean.value, var.value
        if train:
            used = _moments(wide)
            if not self.is_initializing():
                for kept, now in zip((mean, var), used, strict=True):
                    kept.value = self.momentum * kept.value + (1 - self.momentum) * now
        factor = scale * jax.lax.rsqrt(used[1] + self.epsilon)
        summand = bias - used[0] * factor
        channels = (1,) * (x.ndim - 1) + shape
        y = wide * factor.reshape(channels) + summand.reshape(channels)
        return y.astype(self.dtype or x.dtype)


class Head(nn.Module):
    """[b, f] -> logits float32 [b, num_classes]: what is new when a network meets new classes.

    hidden: units of a ReLU layer before the last one, 0 for none; or of several, in order. Dropout
    comes after them.
    Every model has one as its field `head`, so that it can be trained alone on kept features.
    """

    num_classes: int
    hidden: int | tuple[int, ...] = 0
    dropout: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        several = self.hidden if isinstance(self.hidden, tuple) else (self.hidden,)
        for i, units in enumerate(filter(None, several), 1):
            name = "hidden" if i == 1 else f"hidden_{i}"
            x = nn.relu(Dense(units, dtype=self.dtype, name=name)(x))
        x = Dropout(self.dropout)(x, train)
        last = Dense(self.num_classes, dtype=self.dtype)
        nn.share_scope(self, last)  # head/kernel, not head/last/kernel
        return last(x).astype(jnp.float32)


@contextlib.contextmanager
def resting(stages: Collection[str], norms_alone: Collection[str] = ()) -> Iterator[None]:
    """What lies below these stages (a module's own children, by name) runs as if train=False.

    BatchNorm then normalises with its running statistics and leaves them as they are, dropout
    drops nothing: a frozen stage does in training what it will do afterwards. Below `norms_alone`
    that is so of BatchNorm only. For use around model.apply.
    """

    def intercept(call, args, kwargs, context):
        kinds = {BatchNorm: {*stages, *norms_alone}, Dropout: {*stages}}
        where = kinds.get(type(context.module), ())
        if (
            context.method_name == "__call__"
            and context.module.path[:1]
            and (context.module.path[0] in where)
        ):
            return call(args[0], False)
        return call(*args, **kwargs)

    with nn.intercept_methods(intercept):
        yield


class DepthwiseConv(nn.Module):
    """[b, h, w, c] -> [b, h', w', c], without bias. Parameters: {kernel [i, j, 1, c]}."""

    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: Padding = "SAME"
    dtype: Any = None  # of the computation; parameters are float32
    impl: str = "auto"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*self.kernel_size, 1, x.shape[-1])
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        return depthwise_conv2d(x, kernel, self.strides, self.padding, self.impl)


def _moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(mean [c], variance [c]) of x float32 [.., c] over the global batch."""
    axes = tuple(range(x.ndim - 1))
    moments = x.mean(axes), (x * x).mean(axes)
    mean, square = parallel.pmean(moments) if parallel.global_size(1) > 1 else moments
    return mean, jnp.maximum(square - mean * mean, 0)


def _bias(layer: Conv | Dense) -> jax.Array | None:
    zeros = nn.initializers.zeros_init()
    return layer.param("bias", zeros, (layer.features,)) if layer.use_bias else None
