"""EfficientNet (arXiv:1905.11946) and EfficientNet-Lite: MobileNet v2's blocks, scaled together."""

import math
from typing import Literal

import flax.linen as nn

from lowlabel_jax.core.ranges import Count, Fraction, Natural, Positive, Probability
from lowlabel_jax.models.mobilenet_v1 import How
from lowlabel_jax.models.mobilenet_v2 import LAST, STEM, Inverted, Part, divisible
from lowlabel_jax.ops import layers

SCALES = {  # (width, depth)
    "b0": (1.0, 1.0),
    "b1": (1.0, 1.1),
    "b2": (1.1, 1.2),
    "b3": (1.2, 1.4),
    "lite0": (1.0, 1.0),
}
GROUPS = (  # (how much wider inside, kernel, channels at width 1, blocks, stride of the first)
    (1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1), (6, 5, 192, 4, 2), (6, 3, 320, 1, 1),
)  # fmt: skip


def efficientnet(
    *,
    num_classes: Count,
    size: Literal["b0", "b1", "b2", "b3", "lite0"] = "b0",
    padding: Literal["same", "torch"] = "same",
    drop_connect: Fraction = 0.2,
    hidden: Natural = 0,
    dropout: Fraction = 0.0,
    momentum: Probability = 0.9,
    epsilon: Positive = 1e-3,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> nn.Module:
    """EfficientNet: a stem, seven groups of inverted residual blocks and a last convolution.

    size: made for images of 224 (b0, lite0), 240 (b1), 260 (b2), 300 (b3) pixels. "lite0" is b0
    with ReLU6 in place of swish and without squeeze-and-excitation.
    padding: "same" is TensorFlow's and Keras', which adds more at the end where the stride is 2;
    "torch" adds as much on all sides.
    drop_connect: how often the last block's residual is left out in training, for one example;
    that of blocks before it in proportion. The paper's b2 and b3 have 0.3.
    hidden, dropout: of the head. The papers' dropout is 0.2, of b2 and b3 0.3.
    """
    width, _ = SCALES[size]
    return Inverted(
        stem=divisible(STEM * width),
        groups=_groups(size, drop_connect),
        last=divisible(LAST * width),
        head=layers.Head(num_classes, hidden, dropout, dtype),
        how=How(padding, "relu6" if size == "lite0" else "swish", momentum, epsilon, dtype),
    )


def _groups(size: str, drop_connect: float) -> tuple[tuple[Part, ...], ...]:
    """The blocks of each group."""
    width, depth = SCALES[size]
    counts = [math.ceil(depth * blocks) for _, _, _, blocks, _ in GROUPS]
    groups, given, before = [], divisible(STEM * width), 0
    for (expand, kernel, channels, _, stride), count in zip(GROUPS, counts, strict=True):
        made = divisible(channels * width)
        groups.append(
            tuple(
                Part(
                    channels=made,
                    expand=expand,
                    size=kernel,
                    stride=1 if j else stride,
                    # A quarter of what the block is given, not of its wide inside.
                    squeezed=0 if size == "lite0" else (made if j else given) // 4,
                    drop=drop_connect * (before + j) / sum(counts),
                )
                for j in range(count)
            )
        )
        given, before = made, before + count
    return tuple(groups)
