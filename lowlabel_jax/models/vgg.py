"""VGG (arXiv:1409.1556), configurations D and E: no BatchNorm, and most weights in one layer."""

from typing import Any, Literal

import flax.linen as nn
import jax

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.core.ranges import Count, Fraction, Natural
from lowlabel_jax.ops import layers
from lowlabel_jax.ops.pooling import max_pool

CONVOLUTIONS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # of each block, by depth
WIDER = (1, 2, 4, 8, 8)  # a block's channels, in those of the first
WINDOW = 7  # pixels of the last map, both sides, that fc6 sees; all that there are at 224


def vgg(
    *,
    num_classes: Count,
    depth: Literal[16, 19] = 16,
    top: Literal["dense", "conv", "average", "flatten"] = "dense",
    width: Count = 64,
    fc: Count = 4096,
    fc_dropout: Fraction = 0.5,
    hidden: Natural = 0,
    dropout: Fraction = 0.0,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> nn.Module:
    """VGG-depth: five blocks of 3x3 convolutions, each halving the image, and a top.

    top: what makes a vector of the last map. "dense" flattens it for two layers, fc6 and fc7;
    "conv" has the same weights as convolutions, 7x7 and 1x1, and a mean over what they leave, so
    images may be larger than those trained on; "average" and "flatten" take the map as it is.
    In images below 224 pixels, the 7x7 of "conv" is as large as the map.
    width: channels of the first block. fc, fc_dropout: units of fc6 and fc7, and the share of
    each that is dropped. hidden, dropout: of the head, which is fc8.
    """
    return VGG(
        head=layers.Head(num_classes, hidden, dropout, dtype),
        blocks=tuple(
            (width * wider, convolutions)
            for wider, convolutions in zip(WIDER, CONVOLUTIONS[depth], strict=True)
        ),
        top=top,
        fc=fc,
        fc_dropout=fc_dropout,
        dtype=dtype,
    )


class VGG(nn.Module):
    """What vgg makes."""

    head: layers.Head
    blocks: tuple[tuple[int, int], ...]  # (channels, convolutions) of each
    top: str
    fc: int
    fc_dropout: float
    dtype: Any

    @property
    def stages(self) -> tuple[str, ...]:
        """The names below `params`, from the image to the logits."""
        blocks = (f"block_{i}" for i, _ in enumerate(self.blocks, 1))
        return (*blocks, *(("fc6", "fc7") if self.top in ("dense", "conv") else ()), "head")

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """images [b, h, w, c] -> logits float32 [b, k], endpoints.

        "stage_i" is what block i + 1 hands on; "last_conv" the last map before its maximum, for
        Grad-CAM; "features" [b, f] what the head sees. Raises UserError for images of which the
        blocks, each halving them, would leave nothing.
        """
        _check_room(images.shape[1:3], len(self.blocks))
        ends, x = {}, images
        for i, (channels, convolutions) in enumerate(self.blocks):
            x = Block(channels, convolutions, self.dtype, name=f"block_{i + 1}")(x)
            ends["last_conv"] = x
            x = ends[f"stage_{i}"] = max_pool(x)
        x = ends["features"] = self._vector(x, train)
        return self.head(x, train), ends

    def _vector(self, x: jax.Array, train: bool) -> jax.Array:
        """[b, h, w, c] -> [b, f], by `top`."""
        if self.top == "average":
            return x.mean((1, 2))
        if self.top == "flatten":
            return x.reshape(x.shape[0], -1)
        if self.top == "dense":
            x = x.reshape(x.shape[0], -1)
            fc6, fc7 = (layers.Dense(self.fc, dtype=self.dtype, name=n) for n in ("fc6", "fc7"))
        else:
            h, w = (min(side, WINDOW) for side in x.shape[1:3])
            fc6 = layers.Conv(self.fc, (h, w), padding="VALID", dtype=self.dtype, name="fc6")
            fc7 = layers.Conv(self.fc, (1, 1), dtype=self.dtype, name="fc7")
        for layer in (fc6, fc7):
            x = layers.Dropout(self.fc_dropout)(nn.relu(layer(x)), train)
        return x if self.top == "dense" else x.mean((1, 2))


class Block(nn.Module):
    """3x3 convolutions, each with its activation."""

    channels: int
    convolutions: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b, h, w, c] -> [b, h, w, channels]."""
        for i in range(1, self.convolutions + 1):
            x = layers.Conv(self.channels, (3, 3), dtype=self.dtype, name=f"conv_{i}")(x)
            x = nn.relu(x)
        return x


def _check_room(size: tuple[int, ...], blocks: int) -> None:
    """Raise UserError for images of (h, w) of which so many blocks would leave nothing."""
    if min(size) < 2**blocks:
        raise UserError(
            f"model: vgg halves the image {blocks} times, and images are {size[0]}x{size[1]}.",
            f"use images of {2**blocks} pixels or more (image.size), or another model.",
        )
