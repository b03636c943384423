"""A U-shaped network (arXiv:1505.04597) that restores images: maps of the way down are seen again
on the way up."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from lowlabel_jax.core.ranges import Count, Fraction, Natural
from lowlabel_jax.ops import layers, restoring
from lowlabel_jax.ops.pooling import max_pool


def unet_autoencoder(
    *,
    num_classes: Count,
    channels: tuple = (16, 32, 64),
    hidden: Natural = 0,
    dropout: Fraction = 0.0,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> nn.Module:
    """Two convolutions 3x3 for each of `channels`, maxima 2x2 between them, and the same way back.

    Images of any size: maxima round up, and what upsampling makes too many is cropped. The paper's
    convolutions have no padding, its upsampling is a learnt one, and its channels are
    (64, 128, 256, 512, 1024).
    hidden, dropout: of the head, which sees the deepest map's average.
    Raises UserError for channels that are no whole numbers above 0.
    """
    return UNetAutoencoder(
        head=layers.Head(num_classes, hidden, dropout, dtype),
        channels=restoring.checked(channels),
        dtype=dtype,
    )


class UNetAutoencoder(nn.Module):
    """What unet_autoencoder makes."""

    head: layers.Head
    channels: tuple[int, ...]
    dtype: Any

    @property
    def stages(self) -> tuple[str, ...]:
        """The names below `params`, the decoder first: it is out of the classifier's way."""
        return ("decoder", *(f"down_{i}" for i in range(1, len(self.channels) + 1)), "head")

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """images [b, h, w, c] -> logits float32 [b, k], endpoints.

        "stage_i" is the map at 1 / 2^i of the size, "last_conv" the deepest one, "features" its
        average over pixels; "restored" float32 [b, h, w, c], logits of pixels in [0, 1].
        """
        x, maps = restoring.as_pixels(images), []
        for i, channels in enumerate(self.channels, 1):
            if maps:
                x = max_pool(x, padding="SAME")
            x = Twice(channels, self.dtype, name=f"down_{i}")(x)
            maps.append(x)
        ends = {f"stage_{i}": x for i, x in enumerate(maps)}
        code = x.mean((1, 2))
        restored = Up(images.shape[-1], self.dtype, name="decoder")(maps)
        ends |= {"last_conv": x, "features": code, "restored": restored}
        return self.head(code, train), ends


class Twice(nn.Module):
    """Two convolutions 3x3, each with its activation."""

    channels: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b, h, w, c] -> [b, h, w, channels]."""
        for name in ("conv_1", "conv_2"):
            x = nn.relu(layers.Conv(self.channels, (3, 3), dtype=self.dtype, name=name)(x))
        return x


class Up(nn.Module):
    """From the deepest map to the image, each level beside the map that came down there."""

    colours: int
    dtype: Any

    @nn.compact
    def __call__(self, maps: list[jax.Array]) -> jax.Array:
        """maps [b, h_i, w_i, c_i], the largest first -> logits of pixels, float32 [b, h, w, c]."""
        *skips, x = maps
        for i, skip in reversed(list(enumerate(skips, 1))):
            x = restoring.cropped(restoring.upsample(x), skip.shape[1:3])
            x = Twice(skip.shape[-1], self.dtype, name=f"up_{i}")(jnp.concatenate([skip, x], -1))
        x = layers.Conv(self.colours, (1, 1), dtype=self.dtype, name="image")(x)
        return x.astype(jnp.float32)
