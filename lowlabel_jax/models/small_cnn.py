"""A small convolutional network: a few stages of convolution and pooling, then a head."""

from typing import Any

import flax.linen as nn
import jax

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.core.ranges import Count, Fraction, Natural, Positive, Probability
from lowlabel_jax.ops import layers
from lowlabel_jax.ops.pooling import max_pool

CHOICES = {
    "padding": ("SAME", "VALID"),
    "head": ("average", "flatten"),
    "dtype": ("float32", "bfloat16"),
}


def small_cnn(
    *,
    num_classes: Count,
    channels: tuple = (32, 64, 128),
    pool: tuple = (True,),
    padding: str = "SAME",
    head: str = "average",
    hidden: Natural = 0,
    dropout: Fraction = 0.0,
    batch_norm: bool = True,
    momentum: Probability = 0.9,
    epsilon: Positive = 1e-5,
    dtype: str = "float32",
) -> nn.Module:
    """One stage for each of `channels`: convolution 3x3, BatchNorm, ReLU, 2x2 maximum.

    pool: which stages halve the image; its last entry holds for the stages after it.
    head: what makes a vector of the last map, its "average" over pixels or "flatten".
    hidden: units of a ReLU layer before the last one, 0 for none; dropout comes after it.
    momentum: what BatchNorm keeps of its running statistics; 0.9, for short runs.

    Two nets of old are options of this one: (16, 32), pool=(True, False), hidden=256,
    batch_norm=False; and (32, 32, 64), padding="VALID", head="flatten", hidden=64, dropout=0.5,
    batch_norm=False (Chollet's, for few cats and dogs).
    """
    for option, value in {"padding": padding, "head": head, "dtype": dtype}.items():
        if value not in CHOICES[option]:
            raise UserError(f"model.{option} = {value!r}.", f"use {' or '.join(CHOICES[option])}.")
    return SmallCNN(
        parts=_parts(channels, pool),
        padding=padding,
        vector=head,
        head=layers.Head(num_classes, hidden, dropout, dtype),
        norm={"momentum": momentum, "epsilon": epsilon} if batch_norm else None,
        dtype=dtype,
    )


class SmallCNN(nn.Module):
    """What small_cnn makes."""

    parts: tuple[tuple[int, bool], ...]  # (channels, whether it is pooled)
    padding: str
    vector: str
    head: layers.Head
    norm: dict[str, Any] | None
    dtype: str

    @property
    def stages(self) -> tuple[str, ...]:
        """The names below `params`, from the image to the logits."""
        made = range(len(self.parts))
        named = ("conv_{}",) if self.norm is None else ("conv_{}", "norm_{}")
        return (*(name.format(i) for i in made for name in named), "head")

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """images [b, h, w, c] -> logits float32 [b, k], endpoints.

        "stage_i" is what stage i hands on; "last_conv" the last map before any pooling, for
        Grad-CAM; "features" [b, f] what the head sees.
        """
        ends = {}
        x = images.astype(self.dtype)
        for i, (channels, pooled) in enumerate(self.parts):
            _check_room(i, x.shape[1:3], self.padding, pooled)
            x = ends["last_conv"] = self._convolution(x, i, channels, train)
            x = ends[f"stage_{i}"] = max_pool(x) if pooled else x
        x = x.mean((1, 2)) if self.vector == "average" else x.reshape(x.shape[0], -1)
        ends["features"] = x
        return self.head(x, train), ends

    def _convolution(self, x: jax.Array, i: int, channels: int, train: bool) -> jax.Array:
        """[b, h, w, c] -> [b, h', w', channels]; the bias is BatchNorm's where there is one."""
        x = layers.Conv(
            channels, (3, 3), padding=self.padding, use_bias=self.norm is None,
            dtype=self.dtype, name=f"conv_{i}",
        )(x)  # fmt: skip
        if self.norm is not None:
            x = layers.BatchNorm(**self.norm, dtype=self.dtype, name=f"norm_{i}")(x, train)
        return nn.relu(x)


def _parts(channels: tuple, pool: tuple) -> tuple[tuple[int, bool], ...]:
    """(channels, whether it is pooled) of each stage."""
    if not channels or any(type(n) is not int or n < 1 for n in channels):
        raise UserError(f"model.channels = {channels!r}.", "give whole numbers, 1 or more.")
    if not 1 <= len(pool) <= len(channels):
        raise UserError(
            f"model.pool = {pool!r} does not fit {len(channels)} stages.",
            f"give from one to {len(channels)} of True or False.",
        )
    spread = (*pool, *[pool[-1]] * (len(channels) - len(pool)))
    return tuple(zip(channels, spread, strict=True))


def _check_room(stage: int, size: tuple[int, ...], padding: str, pooled: bool) -> None:
    """Raise UserError where a stage would leave nothing of a map of this size (h, w)."""
    smallest = (3 if padding == "VALID" else 1) + pooled
    if min(size) < smallest:
        h, w = size
        raise UserError(
            f"model: nothing would be left after stage {stage}, which is given a map of {h}x{w}.",
            "give fewer channels, more False in pool, or padding='SAME'.",
        )
