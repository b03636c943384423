"""The parts of a transformer over tokens [b, t, c] (arXiv:1706.03762), normalised before each."""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lowlabel_jax.ops import layers

EXPANSION = 4  # units of an MLP's middle, by channels


class How(NamedTuple):
    """What all blocks have in common."""

    heads: int
    tanh: bool
    qkv_bias: bool
    joined: bool
    epsilon: float
    dtype: Any

    def norm(self, name: str) -> nn.LayerNorm:
        """Each token less its mean, over its standard deviation."""
        return nn.LayerNorm(self.epsilon, self.dtype, use_fast_variance=False, name=name)

    def dense(self, x: jax.Array, features: int, name: str, bias: bool = True) -> jax.Array:
        """[b, t, c] -> [b, t, features], each token by itself."""
        made = layers.Dense(features, bias, self.dtype, name=name)
        return made(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], features)


class Table(nn.Module):
    """Learnt rows [n, c]. They are called bias since, added and never multiplied, they are one:
    weight decay leaves them alone.
    """

    n: int
    channels: int

    @nn.compact
    def __call__(self) -> jax.Array:
        return self.param("bias", nn.initializers.normal(0.02), (self.n, self.channels))


class Block(nn.Module):
    """Tokens look at each other, then each is transformed; both are added to what was there."""

    how: How
    scaled: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b, t, c] -> the same shape."""
        x = x + self._scaled(Attention(self.how, name="attention")(self.how.norm("norm_1")(x)), 1)
        return x + self._scaled(Mlp(self.how, name="mlp")(self.how.norm("norm_2")(x)), 2)

    def _scaled(self, x: jax.Array, i: int) -> jax.Array:
        return Scale(name=f"scale_{i}")(x) if self.scaled else x


class Scale(nn.Module):
    """Each channel times a learnt factor."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones_init(), (x.shape[-1],))
        return x * scale.reshape(1, 1, -1).astype(x.dtype)


class Attention(nn.Module):
    """Each token looks at all of them."""

    how: How

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b, t, c] -> the same shape."""
        how, c = self.how, x.shape[-1]
        if how.joined:
            parts = jnp.split(how.dense(x, 3 * c, "qkv", how.qkv_bias), 3, axis=-1)
        else:
            parts = [how.dense(x, c, n, how.qkv_bias) for n in ("query", "key", "value")]
        return how.dense(Attend(how.heads)(*parts), c, "out")


class Attend(nn.Module):
    """Values, weighted by how well their keys fit a query, in several heads."""

    heads: int

    def __call__(self, query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        """[b, n, c], [b, m, c], [b, m, c] -> [b, n, c]."""
        shape = (query.shape[0], -1, self.heads, query.shape[-1] // self.heads)
        q, k, v = (x.reshape(shape) for x in (query, key, value))
        fit = jnp.einsum("bnhd,bmhd->bhnm", q, k) / math.sqrt(shape[-1])
        weight = jax.nn.softmax(fit.astype(jnp.float32)).astype(v.dtype)
        return jnp.einsum("bhnm,bmhd->bnhd", weight, v).reshape(query.shape)

    def multiply_adds(self, query: jax.Array, key: jax.Array, value: jax.Array) -> int:
        """Products for one image, in both steps; `lowlabel summary` counts with it."""
        return 2 * query.shape[1] * key.shape[1] * key.shape[2]


class Mlp(nn.Module):
    """Two layers with a GELU between them, for each token by itself."""

    how: How

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b, t, c] -> the same shape."""
        y = self.how.dense(x, EXPANSION * x.shape[-1], "expand")
        return self.how.dense(nn.gelu(y, approximate=self.how.tanh), x.shape[-1], "contract")


class Pool(nn.Module):
    """A learnt query looks at all tokens, and what it finds is transformed."""

    how: How

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b, t, c] -> [b, c]."""
        how, (b, _, c) = self.how, x.shape
        query = how.dense(Table(1, c, name="probe")()[None].astype(x.dtype), c, "query")
        key, value = jnp.split(how.dense(x, 2 * c, "key_value"), 2, axis=-1)
        found = Attend(how.heads)(jnp.broadcast_to(query, (b, 1, c)), key, value)
        y = how.dense(found, c, "out")
        return (y + Mlp(how, name="mlp")(how.norm("norm")(y)))[:, 0]
