"""The residual networks for 32-pixel images (arXiv:1512.03385, section 4.2)."""

from typing import Literal

import flax.linen as nn

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.core.ranges import Count, Fraction, Natural, Positive, Probability
from lowlabel_jax.models.resnet import How, Part, ResNet
from lowlabel_jax.ops import layers

CHANNELS = (16, 32, 64)  # of each group; the stem has the first


def cifar_resnet(
    *,
    num_classes: Count,
    depth: Count = 20,
    hidden: Natural = 0,
    dropout: Fraction = 0.0,
    momentum: Probability = 0.9,
    epsilon: Positive = 1e-5,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> nn.Module:
    """ResNet-depth: three groups of (depth - 2) / 6 blocks of two 3x3 convolutions.

    Shortcuts have no weights (option A): where a group halves the image, every other pixel is
    taken and channels of 0 are put on both sides. hidden, dropout: of the head.
    """
    blocks = _blocks(depth)
    return ResNet(
        head=layers.Head(num_classes, hidden, dropout, dtype),
        stem=Part(CHANNELS[0], 3, 1),
        pooled=False,
        groups=tuple(
            tuple((Part(c, 3, 2 if i and not j else 1), Part(c, 3, 1)) for j in range(blocks))
            for i, c in enumerate(CHANNELS)
        ),
        projected=False,
        how=How("torch", False, momentum, epsilon, dtype),
    )


def _blocks(depth: int) -> int:
    """How many blocks each group has. Raises UserError for a depth that is no 6 n + 2."""
    blocks, rest = divmod(depth - 2, 6)
    if blocks < 1 or rest:
        low = max(blocks, 1)
        raise UserError(
            f"model.depth = {depth} is not 6 n + 2: three groups of n blocks of two convolutions.",
            f"use {6 * low + 2} or {6 * low + 8}.",
        )
    return blocks
