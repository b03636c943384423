"""MobileNet, version 2 (arXiv:1801.04381): residual blocks that are wide inside, narrow between."""

from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.core.ranges import Count, Fraction, Natural, Positive, Probability
from lowlabel_jax.models.mobilenet_v1 import ACTIVATIONS, How, Normed
from lowlabel_jax.ops import layers

STEM, LAST = 32, 1280  # channels at width 1
GROUPS = (  # (how much wider inside, channels at width 1, blocks, stride of the first)
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
    (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


class Part(NamedTuple):
    """One inverted residual block."""

    channels: int  # that it hands on
    expand: int  # times the channels that it is given, inside
    size: int  # of the depthwise kernel, both sides
    stride: int
    squeezed: int = 0  # channels of squeeze-and-excitation, 0 for none
    drop: float = 0.0  # how often a residual is left out in training


def mobilenet_v2(
    *,
    num_classes: Count,
    width: Positive = 1.0,
    padding: Literal["same", "torch"] = "same",
    hidden: Natural | tuple = 0,
    dropout: Fraction = 0.0,
    momentum: Probability = 0.9,
    epsilon: Positive = 1e-3,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> nn.Module:
    """MobileNet v2: a stem, 17 inverted residual blocks and a last convolution.

    width: times the channels of every layer, rounded to multiples of 8; of the last convolution
    only where it is above 1.
    padding: "same" is TensorFlow's and Keras', which adds more at the end where the stride is 2;
    "torch" adds as much on all sides.
    hidden, dropout: of the head; hidden may be of several layers, (256, 128).
    """
    _check_hidden(hidden)
    groups = tuple(
        tuple(
            Part(divisible(channels * width), expand, 3, 1 if j else stride) for j in range(blocks)
        )
        for expand, channels, blocks, stride in GROUPS
    )
    return Inverted(
        stem=divisible(STEM * width),
        groups=groups,
        last=divisible(LAST * max(width, 1)),
        head=layers.Head(num_classes, hidden, dropout, dtype),
        how=How(padding, "relu6", momentum, epsilon, dtype),
    )


class Inverted(nn.Module):
    """What mobilenet_v2 and efficientnet make."""

    stem: int  # channels
    groups: tuple[tuple[Part, ...], ...]
    last: int  # channels of the last convolution
    head: layers.Head
    how: How

    @property
    def stages(self) -> tuple[str, ...]:
        """The names below `params`, from the image to the logits."""
        blocks = (
            f"block_{i}_{j}" for i, group in enumerate(self.groups) for j in range(len(group))
        )
        return ("stem", *blocks, "last", "head")

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """images [b, h, w, c] -> logits float32 [b, k], endpoints.

        "stage_i" is the last block's map of each size; "last_conv" what the last convolution
        makes of it, for Grad-CAM; "features" [b, f] its mean over pixels, what the head sees.
        """
        maps = []
        x = Normed(self.stem, 3, 2, True, self.how, name="stem")(
            images.astype(self.how.dtype), train
        )
        for i, group in enumerate(self.groups):
            maps += [x] if group[0].stride == 2 else []
            for j, part in enumerate(group):
                x = Block(part, self.how, name=f"block_{i}_{j}")(x, train)
        ends = {f"stage_{i}": end for i, end in enumerate((*maps, x))}
        x = Normed(self.last, 1, 1, True, self.how, name="last")(x, train)
        features = x.mean((1, 2))
        return self.head(features, train), {**ends, "last_conv": x, "features": features}


class Block(nn.Module):
    """Widened, convolved by channel, weighed by channel, narrowed; added where shapes agree."""

    part: Part
    how: How

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b, h, w, c] -> [b, h / stride, w / stride, channels]."""
        part, how, y = self.part, self.how, x
        if part.expand > 1:
            y = Normed(x.shape[-1] * part.expand, 1, 1, True, how, name="expand")(y, train)
        y = Normed(None, part.size, part.stride, True, how, name="depthwise")(y, train)
        if part.squeezed:
            y = y * self._excitation(y)
        y = Normed(part.channels, 1, 1, False, how, name="project")(y, train)
        if part.stride > 1 or x.shape[-1] != part.channels:
            return y
        # One number an example: all of its residual is left out, or none (arXiv:1603.09382).
        kept = layers.Dropout(part.drop)(jnp.ones((x.shape[0], 1, 1, 1), y.dtype), train)
        return x + y * kept

    def _excitation(self, x: jax.Array) -> jax.Array:
        """[b, h, w, c] -> [b, 1, 1, c] in 0..1: what each channel is worth (arXiv:1709.01507)."""
        dtype = self.how.dtype
        mean = x.mean((1, 2), keepdims=True)
        y = layers.Conv(self.part.squeezed, (1, 1), dtype=dtype, name="se_reduce")(mean)
        y = ACTIVATIONS[self.how.activation](y)
        return nn.sigmoid(layers.Conv(x.shape[-1], (1, 1), dtype=dtype, name="se_expand")(y))


def _check_hidden(hidden: int | tuple) -> None:
    several = hidden if isinstance(hidden, tuple) else (hidden,)
    if any(type(units) is not int or units < 0 for units in several):
        raise UserError(f"model.hidden = {hidden!r}.", "give a whole number, or (256, 128).")


def divisible(channels: float) -> int:
    """The nearest multiple of 8, 8 or more, that is no more than a tenth below."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near
