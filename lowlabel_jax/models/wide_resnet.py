"""Wide ResNet (arXiv:1605.07146) in the form that the FixMatch family trains (arXiv:2001.07685)."""

from typing import Any

import flax.linen as nn
import jax

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.core.ranges import Count, NonNegative, Positive, Probability
from lowlabel_jax.ops import initialise, layers

STEM = 16  # channels of the first convolution; group i has STEM · width · 2^i
DTYPES = ("float32", "bfloat16")


def wide_resnet(
    *,
    num_classes: Count,
    depth: Count = 28,
    width: Count = 2,
    groups: Count = 3,
    slope: NonNegative = 0.1,
    conv_bias: bool = False,
    momentum: Probability = 0.999,
    epsilon: Positive = 1e-3,
    dtype: str = "float32",
) -> nn.Module:
    """WRN-depth-width: `groups` groups of equally many blocks, all but the first halving the image.

    depth counts convolutions: 1 + groups · (2 · blocks + 1), the last 1 being a group's shortcut.
    WRN-28-2 is 3 groups of 4 blocks; FixMatch's WRN-37-2 for the 96 pixels of STL-10 is a fourth
    group of 4 blocks and 256 channels behind them: depth=37, groups=4.
    slope: of the leaky ReLU below zero; 0 is the ReLU of the original.
    conv_bias: the papers' TensorFlow code has biases before BatchNorm; they change no output.
    momentum: what BatchNorm keeps of its running statistics. 0.999, the papers', remembers a
    thousand steps: for runs below ten thousand take 0.9 to 0.99.
    """
    if dtype not in DTYPES:
        raise UserError(f"model.dtype = {dtype!r}.", f"use {' or '.join(DTYPES)}.")
    return WideResNet(
        head=layers.Head(num_classes, dtype=dtype),
        blocks=_blocks(depth, groups),
        width=width,
        groups=groups,
        slope=slope,
        conv_bias=conv_bias,
        norm={"momentum": momentum, "epsilon": epsilon},
        dtype=dtype,
    )


class WideResNet(nn.Module):
    """What wide_resnet makes."""

    rules = ((r"params/(.*/)?(stem|conv_\d|shortcut)/kernel", initialise.he_normal_out),)

    head: layers.Head
    blocks: int  # in each group
    width: int
    groups: int
    slope: float
    conv_bias: bool
    norm: dict[str, Any]
    dtype: str

    @property
    def stages(self) -> tuple[str, ...]:
        """The names below `params`, from the image to the logits."""
        blocks = (f"block_{i}_{j}" for i in range(self.groups) for j in range(self.blocks))
        return ("stem", *blocks, "norm", "head")

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """images [b, h, w, c] -> logits float32 [b, k], endpoints.

        "stage_i" is the sum that group i hands on; "last_conv" the last map, after BatchNorm and
        activation, for Grad-CAM; "features" [b, f] its mean over pixels, what the head sees.
        """
        ends = {}
        conv = {"use_bias": self.conv_bias, "dtype": self.dtype}
        x = layers.Conv(STEM, (3, 3), **conv, name="stem")(images.astype(self.dtype))
        for i in range(self.groups):
            for j in range(self.blocks):
                x = Block(
                    channels=STEM * self.width * 2**i,
                    stride=2 if i and not j else 1,
                    activate_first=i == j == 0,
                    slope=self.slope,
                    conv=conv,
                    norm=self.norm,
                    name=f"block_{i}_{j}",
                )(x, train)
            ends[f"stage_{i}"] = x
        norm = layers.BatchNorm(**self.norm, dtype=self.dtype, name="norm")
        x = ends["last_conv"] = nn.leaky_relu(norm(x, train), self.slope)
        x = ends["features"] = x.mean((1, 2))
        return self.head(x, train), ends


class Block(nn.Module):
    """Normalise, activate, convolve, twice; and a shortcut, convolved where channels change."""

    channels: int
    stride: int
    activate_first: bool  # the shortcut starts after the first activation, not before
    slope: float
    conv: dict
    norm: dict[str, Any]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b, h, w, c] -> [b, h / stride, w / stride, channels], rounded up."""
        y = self._activated(x, "norm_0", train)
        short = y if self.activate_first else x
        y = self._convolved(y, "conv_0", 3, self.stride)
        y = self._activated(y, "norm_1", train)
        y = self._convolved(y, "conv_1", 3)
        if x.shape[-1] != self.channels:
            short = self._convolved(short, "shortcut", 1, self.stride)
        return short + y

    def _activated(self, x: jax.Array, name: str, train: bool) -> jax.Array:
        norm = layers.BatchNorm(**self.norm, dtype=self.conv["dtype"], name=name)
        return nn.leaky_relu(norm(x, train), self.slope)

    def _convolved(self, x: jax.Array, name: str, size: int, stride: int = 1) -> jax.Array:
        strides = (stride, stride)
        return layers.Conv(self.channels, (size, size), strides, **self.conv, name=name)(x)


def _blocks(depth: int, groups: int) -> int:
    """How many blocks each group has. Raises UserError where the depth cannot be shared evenly."""
    blocks = (((depth - 1) / groups) - 1) / 2
    if blocks >= 1 and blocks == int(blocks):
        return int(blocks)
    low = max(int(blocks), 1)
    near = " or ".join(str(1 + groups * (2 * n + 1)) for n in (low, low + 1))
    raise UserError(
        f"model.depth = {depth} is not 1 + groups * (2 * blocks + 1) for groups = {groups}.",
        f"use {near}.",
    )
