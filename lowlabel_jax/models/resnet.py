"""Residual networks, version 1 (arXiv:1512.03385)."""

from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lowlabel_jax.core.ranges import Count, Fraction, Natural, Positive, Probability
from lowlabel_jax.ops import layers
from lowlabel_jax.ops.pooling import max_pool

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}  # of each group, by depth
BOTTLENECKS = (50,)


class Part(NamedTuple):
    """One convolution of a block."""

    channels: int
    size: int  # of the kernel, both sides
    stride: int


class How(NamedTuple):
    """What all convolutions and their BatchNorms have in common."""

    padding: str  # "torch": size // 2 on all sides; "same": TensorFlow's, uneven at stride 2
    bias: bool
    momentum: float
    epsilon: float
    dtype: str


def resnet(
    *,
    num_classes: Count,
    depth: Literal[18, 34, 50] = 50,
    stem: Literal["imagenet", "no_pool", "small"] = "imagenet",
    width: Count = 64,
    stride_on: Literal["3x3", "1x1"] = "3x3",
    padding: Literal["torch", "same"] = "torch",
    conv_bias: bool = False,
    hidden: Natural = 0,
    dropout: Fraction = 0.0,
    momentum: Probability = 0.9,
    epsilon: Positive = 1e-5,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> nn.Module:
    """ResNet-depth: a stem and four groups of blocks, all but the first halving the image.

    stem: "imagenet" is 7x7 at stride 2, then a 3x3 maximum at stride 2; "no_pool" leaves the
    maximum out; "small" is 3x3 at stride 1, for images of about 32 pixels.
    width: channels of the stem; group i has width · 2^i, four times that in blocks of depth 50.
    stride_on: which convolution of a block of depth 50 halves the image: the 3x3 in torchvision
    and timm, the first 1x1 in the paper and Keras.
    padding: "torch" adds as much on all sides (as Keras' ResNet50 does too); "same" is
    TensorFlow's, which adds more at the end where the stride is 2.
    conv_bias: Keras' ResNet50 has biases before BatchNorm, which takes them away in training.
    hidden, dropout: of the head.
    """
    deep = depth in BOTTLENECKS
    groups = tuple(
        tuple(
            _parts(width * 2**i, 2 if i and not j else 1, stride_on if deep else None)
            for j in range(blocks)
        )
        for i, blocks in enumerate(BLOCKS[depth])
    )
    return ResNet(
        head=layers.Head(num_classes, hidden, dropout, dtype),
        stem=Part(width, 3, 1) if stem == "small" else Part(width, 7, 2),
        pooled=stem == "imagenet",
        groups=groups,
        projected=True,
        how=How(padding, conv_bias, momentum, epsilon, dtype),
    )


class ResNet(nn.Module):
    """What resnet and cifar_resnet make."""

    head: layers.Head
    stem: Part
    pooled: bool
    groups: tuple[tuple[tuple[Part, ...], ...], ...]  # the parts of each block of each group
    projected: bool
    how: How

    @property
    def stages(self) -> tuple[str, ...]:
        """The names below `params`, from the image to the logits."""
        blocks = (
            f"block_{i}_{j}" for i, group in enumerate(self.groups) for j in range(len(group))
        )
        return ("stem", *blocks, "head")

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """images [b, h, w, c] -> logits float32 [b, k], endpoints.

        "stage_i" is what group i hands on; "last_conv" what the last one does, for Grad-CAM;
        "features" [b, f] its mean over pixels, what the head sees.
        """
        ends = {}
        x = nn.relu(Normed(self.stem, self.how, name="stem")(images, train))
        if self.pooled:
            x = max_pool(x, (3, 3), (2, 2), _pads(3, self.how.padding))
        for i, group in enumerate(self.groups):
            for j, parts in enumerate(group):
                x = Block(parts, self.projected, self.how, name=f"block_{i}_{j}")(x, train)
            ends[f"stage_{i}"] = x
        ends["last_conv"] = x
        x = ends["features"] = x.mean((1, 2))
        return self.head(x, train), ends


class Block(nn.Module):
    """Convolutions with an activation between any two; what came in is added, then activated."""

    parts: tuple[Part, ...]
    projected: bool  # where the shape changes, what came in is convolved; else cut and filled
    how: How

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b, h, w, c] -> [b, h / stride, w / stride, channels of the last part], rounded up."""
        short = self._shortcut(x, train)
        for i, part in enumerate(self.parts):
            x = Normed(part, self.how, name=f"part_{i}")(x if i == 0 else nn.relu(x), train)
        return nn.relu(short + x)

    def _shortcut(self, x: jax.Array, train: bool) -> jax.Array:
        """What came in, in the shape of what goes out; without convolution it is option A."""
        channels, stride = self.parts[-1].channels, max(part.stride for part in self.parts)
        if stride == 1 and x.shape[-1] == channels:
            return x
        if self.projected:
            return Normed(Part(channels, 1, stride), self.how, name="shortcut")(x, train)
        sides = (channels - x.shape[-1]) // 2
        return jnp.pad(x[:, ::stride, ::stride], ((0, 0),) * 3 + ((sides, sides),))


class Normed(nn.Module):
    """A convolution and its BatchNorm."""

    part: Part
    how: How

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b, h, w, c] -> [b, h / stride, w / stride, channels], rounded up."""
        (channels, size, stride), how = self.part, self.how
        x = layers.Conv(
            channels, (size, size), (stride, stride), _pads(size, how.padding),
            use_bias=how.bias, dtype=how.dtype, name="conv",
        )(x)  # fmt: skip
        return layers.BatchNorm(how.momentum, how.epsilon, how.dtype, name="norm")(x, train)


def _parts(channels: int, stride: int, strided: str | None) -> tuple[Part, ...]:
    """A block of two 3x3, or (`strided`: which one halves) a 3x3 between two 1x1."""
    if strided is None:
        return Part(channels, 3, stride), Part(channels, 3, 1)
    first, second = (stride, 1) if strided == "1x1" else (1, stride)
    return Part(channels, 1, first), Part(channels, 3, second), Part(4 * channels, 1, 1)


def _pads(size: int, padding: str) -> Any:
    """For a window of this size, as ops.convolution takes it."""
    return "SAME" if padding == "same" else ((size // 2, size // 2),) * 2
