"""Vision transformers (arXiv:2010.11929), with what DINOv2 and SigLIP added to them."""

from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.core.ranges import Count, Fraction, Natural, NonNegative, Positive
from lowlabel_jax.ops import initialise, layers
from lowlabel_jax.ops.transformer import Block, How, Pool, Table

SIZES = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}  # (channels, heads)


def vit(
    *,
    num_classes: Count,
    size: Literal["tiny", "small", "base"] = "small",
    patch: Count = 16,
    depth: Count = 12,
    class_token: bool = True,
    class_position: bool = True,
    registers: Natural = 0,
    layer_scale: NonNegative = 0.0,
    pool: Literal["token", "average", "map"] = "token",
    gelu: Literal["exact", "tanh"] = "exact",
    qkv_bias: bool = True,
    joined: bool = True,
    hidden: Natural = 0,
    dropout: Fraction = 0.0,
    epsilon: Positive = 1e-6,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> nn.Module:
    """ViT-S/16 by default: `depth` blocks over patches of patch x patch pixels. Images of any size
    that patches divide; the position embedding has as many rows as that makes patches.

    class_position: the class token has a row in the position embedding. registers: tokens that are
    only ever looked at (arXiv:2309.16588). layer_scale: first factor of what a block adds; 0: none
    (arXiv:2103.17239, DINOv2's arXiv:2304.07193).
    pool: what the head sees: the class "token"; the "average" of the patches, normalised after; or
    what a learnt query finds, "map" (SigLIP's, arXiv:2303.15343).
    joined: query, key and value from one matrix, as timm keeps them, or from three, as Hugging
    Face does: the same function.
    """
    if pool == "token" and not class_token:
        raise UserError("model.pool = 'token' without a class token.", "use pool='average'.")
    channels, heads = SIZES[size]
    return ViT(
        head=layers.Head(num_classes, hidden, dropout, dtype),
        channels=channels,
        patch=patch,
        depth=depth,
        tokens=Tokens(class_token, class_token and class_position, registers),
        first_scale=layer_scale,
        pool=pool,
        how=How(heads, gelu == "tanh", qkv_bias, joined, epsilon, dtype),
    )


class Tokens(NamedTuple):
    """What stands before the patches."""

    class_token: bool
    class_position: bool
    registers: int

    @property
    def count(self) -> int:
        """How many there are."""
        return self.class_token + self.registers


class ViT(nn.Module):
    """What vit makes."""

    head: layers.Head
    channels: int
    patch: int
    depth: int
    tokens: Tokens
    first_scale: float
    pool: str
    how: How

    @property
    def stages(self) -> tuple[str, ...]:
        """The names below `params`, from the image to the logits."""
        blocks = (f"block_{i}" for i in range(1, self.depth + 1))
        pool = ("pool",) if self.pool == "map" else ()
        return ("embed", *blocks, "norm", *pool, "head")

    @property
    def rules(self) -> initialise.Rules:
        """First weights: timm's 0.02 for what is neither the patches' kernel nor the head's."""
        scales = self.first_scale
        return (
            (r"params/(block_\d+|pool)/.*kernel", _normal),
            (r"params/.*(positions|class_token|registers|probe)/bias", _normal),
            (r"params/.*scale_\d/scale", lambda _, shape: np.full(shape, scales, np.float32)),
        )

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """images [b, h, w, c] -> logits float32 [b, k], endpoints.

        "stage_0" [b, h / patch, w / patch, c] are the patches after the last block, "last_conv"
        the same as the pooling finds them; "features" [b, c] is what the head sees.
        """
        grid = _grid(images.shape[1:3], self.patch)
        x = Embed(self.channels, self.patch, self.tokens, self.how.dtype, name="embed")(images)
        for i in range(1, self.depth + 1):
            x = Block(self.how, self.first_scale > 0, name=f"block_{i}")(x)
        before, norm = self.tokens.count, self.how.norm("norm")
        ends = {"stage_0": _as_map(x[:, before:], grid)}
        x = x if self.pool == "average" else norm(x)
        ends["last_conv"] = _as_map(x[:, before:], grid)
        if self.pool == "token":
            x = x[:, 0]
        elif self.pool == "map":
            x = Pool(self.how, name="pool")(x)
        else:
            x = norm(x[:, before:].mean(1))
        ends["features"] = x
        return self.head(x, train), ends


class Embed(nn.Module):
    """Patches as tokens, with their places, behind the class token and the registers."""

    channels: int
    patch: int
    tokens: Tokens
    dtype: Any

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """[b, h, w, c] -> [b, t, channels]."""
        b, c, p = images.shape[0], self.channels, self.tokens.class_position
        x = Patches(c, self.patch, self.dtype, name="patches")(images).reshape(b, -1, c)
        rows = Table(p + x.shape[1], c, name="positions")()
        before = []
        if self.tokens.class_token:
            token = Table(1, c, name="class_token")()
            before.append(token + rows[:1] if p else token)
        if self.tokens.registers:
            before.append(Table(self.tokens.registers, c, name="registers")())
        x = x + rows[None, p:].astype(x.dtype)
        before = [jnp.broadcast_to(t.astype(x.dtype), (b, *t.shape)) for t in before]
        return jnp.concatenate([*before, x], axis=1)


class Patches(nn.Module):
    """A convolution whose windows do not overlap, as the matrix product that it is."""

    channels: int
    patch: int
    dtype: Any

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """[b, h, w, c] -> [b, h / patch, w / patch, channels]."""
        size, (b, h, w, c) = self.patch, images.shape
        shape = (size, size, c, self.channels)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.channels,))
        x = images.reshape(b, h // size, size, w // size, size, c).astype(self.dtype)
        y = jnp.einsum("bhiwjc,ijco->bhwo", x, kernel.astype(self.dtype))
        return y + bias.reshape(1, 1, 1, -1).astype(self.dtype)


def _as_map(x: jax.Array, grid: tuple[int, int]) -> jax.Array:
    """Patches [b, h w, c] as [b, h, w, c]."""
    return x.reshape(x.shape[0], *grid, x.shape[-1])


def _grid(size: tuple[int, ...], patch: int) -> tuple[int, int]:
    """How many patches an image (h, w) has, down and across. Raises UserError for a part of one."""
    h, w = size
    if h % patch or w % patch or not h or not w:
        low = max(h // patch, 1) * patch
        raise UserError(
            f"images of {h}x{w} cannot be cut into patches of {patch} pixels.",
            f"use {low} or {low + patch} pixels: --config.image.size={low}.",
        )
    return h // patch, w // patch


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """N(0, 0.02^2), not truncated."""
    return rng.standard_normal(shape, np.float32) * np.float32(0.02)
