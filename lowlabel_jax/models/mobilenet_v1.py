"""MobileNet, version 1 (arXiv:1704.04861): a convolution a channel, then one across channels."""

from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.core.ranges import Count, Fraction, Natural, Positive, Probability
from lowlabel_jax.ops import initialise, layers

STEM = 32  # channels at width 1
BLOCKS = (  # (channels at width 1, stride)
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1),
    (512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
ACTIVATIONS = {"relu6": nn.relu6, "swish": nn.silu}
RULES = {"he": (), "glorot_uniform": ((r"params/.*kernel", initialise.glorot_uniform),)}


class How(NamedTuple):
    """What all convolutions and their BatchNorms have in common."""

    padding: str  # see mobilenet_v1
    activation: str  # a name in ACTIVATIONS
    momentum: float
    epsilon: float
    dtype: str


def mobilenet_v1(
    *,
    num_classes: Count,
    width: Positive = 1.0,
    stem_stride: Literal[1, 2] = 2,
    padding: Literal["keras", "same", "torch"] = "keras",
    hidden: Natural = 0,
    dropout: Fraction = 0.0,
    momentum: Probability = 0.9,
    epsilon: Positive = 1e-3,
    initial: Literal["he", "glorot_uniform"] = "he",
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> nn.Module:
    """MobileNet v1: a stem and 13 blocks of a depthwise and a pointwise convolution.

    width: times the channels of every layer, rounded down.
    stem_stride: 1 for images of about 32 pixels.
    padding: at stride 2, of maps of even size "keras" and "same" both add nothing above and one
    row below; of odd size "keras" does the same (but for the stem), "same", as TensorFlow, adds
    one row on either side; "torch" always does.
    hidden, dropout: of the head. Keras' has a dropout of 0.001.
    initial: how kernels are first drawn, by ops/initialise.py's RULES ("he") or all as Keras
    draws them ("glorot_uniform").
    """
    return MobileNetV1(
        stem=(_scaled(STEM, width), stem_stride),
        blocks=tuple((_scaled(channels, width), stride) for channels, stride in BLOCKS),
        head=layers.Head(num_classes, hidden, dropout, dtype),
        how=How(padding, "relu6", momentum, epsilon, dtype),
        initial=initial,
    )


class MobileNetV1(nn.Module):
    """What mobilenet_v1 makes."""

    stem: tuple[int, int]  # (channels, stride)
    blocks: tuple[tuple[int, int], ...]  # (channels, stride) of each
    head: layers.Head
    how: How
    initial: str  # a name in RULES

    @property
    def rules(self) -> initialise.Rules:
        """Of its first weights, before those of all models."""
        return RULES[self.initial]

    @property
    def stages(self) -> tuple[str, ...]:
        """The names below `params`, from the image to the logits."""
        blocks = (f"block_{i}" for i in range(1, len(self.blocks) + 1))
        return ("stem", *blocks, "head")

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """images [b, h, w, c] -> logits float32 [b, k], endpoints.

        "stage_i" is the last map of each size; "last_conv" the last of all, for Grad-CAM;
        "features" [b, f] its mean over pixels, what the head sees.
        """
        maps = []
        channels, stride = self.stem
        padding = "same" if self.how.padding == "keras" else self.how.padding
        stem = Normed(channels, 3, stride, True, self.how._replace(padding=padding), name="stem")
        x = stem(images.astype(self.how.dtype), train)
        for i, (channels, stride) in enumerate(self.blocks, 1):
            maps += [x] if stride == 2 else []
            x = Block(channels, stride, self.how, name=f"block_{i}")(x, train)
        ends = {f"stage_{i}": end for i, end in enumerate((*maps, x))}
        features = x.mean((1, 2))
        return self.head(features, train), {**ends, "last_conv": x, "features": features}


class Block(nn.Module):
    """A depthwise convolution and a pointwise one, each normalised and activated."""

    channels: int
    stride: int
    how: How

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b, h, w, c] -> [b, h / stride, w / stride, channels]."""
        x = Normed(None, 3, self.stride, True, self.how, name="depthwise")(x, train)
        return Normed(self.channels, 1, 1, True, self.how, name="pointwise")(x, train)


class Normed(nn.Module):
    """A convolution without bias, its BatchNorm and, where `active`, the activation."""

    channels: int | None  # None: a depthwise one, each channel by itself
    size: int  # of the kernel, both sides
    stride: int
    active: bool
    how: How

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b, h, w, c] -> [b, h / stride, w / stride, channels]. Raises UserError if it is 0x0."""
        how, window = self.how, ((self.size, self.size), (self.stride, self.stride))
        pads = _pads(self.size, self.stride, how.padding)
        _check_room(x.shape[1:3], self.stride, how.padding)
        if self.channels is None:
            x = layers.DepthwiseConv(*window, pads, how.dtype, name="conv")(x)
        else:
            x = layers.Conv(self.channels, *window, pads, False, how.dtype, name="conv")(x)
        x = layers.BatchNorm(how.momentum, how.epsilon, how.dtype, name="norm")(x, train)
        return ACTIVATIONS[how.activation](x) if self.active else x


def _pads(size: int, stride: int, padding: str) -> Any:
    """For a kernel of this size, as ops.convolution takes it."""
    if padding == "torch":
        return ((size // 2, size // 2),) * 2
    return ((0, size // 2),) * 2 if padding == "keras" and stride == 2 else "SAME"


def _check_room(size: tuple[int, ...], stride: int, padding: str) -> None:
    """Raise UserError where "keras" would leave nothing of a map of this size (h, w)."""
    if padding == "keras" and stride == 2 and min(size) < 2:
        h, w = size
        raise UserError(
            f"model: a map of {h}x{w} cannot be halved again.",
            "give larger images, stem_stride=1 or padding='same'.",
        )


def _scaled(channels: int, width: float) -> int:
    """As many channels as a width leaves. Raises UserError for none."""
    if scaled := int(channels * width):
        return scaled
    raise UserError(f"model.width = {width} leaves no channels.", f"use {1 / STEM} or more.")
