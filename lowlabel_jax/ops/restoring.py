"""What autoencoders share: upsampling, a code drawn by address, a decoder from code to image."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from lowlabel_jax.core import parallel
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.ops import layers


def checked(channels: tuple, least: int = 1) -> tuple[int, ...]:
    """The channels of a network's maps. Raises UserError for fewer, or for what counts nothing."""
    if len(channels) < least or any(type(n) is not int or n < 1 for n in channels):
        many = f"{least} whole numbers or more" if least > 1 else "whole numbers"
        raise UserError(f"model.channels = {channels!r}.", f"give {many}, each above 0.")
    return tuple(channels)


def as_pixels(images: jax.Array) -> jax.Array:
    """Images in [-1, 1] as pixels in [0, 1]: what autoencoders see and restore."""
    return (images + 1) * 0.5


def as_images(pixels: jax.Array) -> jax.Array:
    """Pixels in [0, 1] as images in [-1, 1], as every model is shown them."""
    return pixels * 2 - 1


def upsample(x: jax.Array) -> jax.Array:
    """[b, h, w, c] -> [b, 2 h, 2 w, c], every pixel twice each way."""
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)


def cropped(x: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """[b, h, w, c] -> its first rows and columns, size = (h', w') of them."""
    return x[:, : size[0], : size[1]]


class Sample(nn.Module):
    """A code drawn from N(mean, exp(log_variance)) in training, the mean otherwise.

    Drawn by address as layers.Dropout is: 1, 2 and 8 devices draw the same. arXiv:1312.6114, 2.4.
    """

    @nn.compact
    def __call__(self, mean: jax.Array, log_variance: jax.Array, train: bool) -> jax.Array:
        """mean, log_variance [b, f] -> [b, f]."""
        if not train:
            return mean
        places = layers.addresses(self, len(mean))
        keys = parallel.example_keys(self.make_rng("dropout"), places)
        noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:]))(keys)
        return mean + jnp.exp(log_variance / 2) * noise


class Decoder(nn.Module):
    """A code as an image: a dense layer makes a small map, which convolutions and upsampling widen.

    One convolution 3x3 for each of `channels`, an upsampling behind it, and a last one to the
    image. valid: the last convolution before the last upsampling has no padding, which takes two
    rows and columns; otherwise what is too many is cropped from the image's end.
    """

    image_shape: tuple[int, ...]  # (h, w, c)
    seed: int  # channels of the small map
    channels: tuple[int, ...]
    valid: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, code: jax.Array) -> jax.Array:
        """[b, f] -> logits of pixels, float32 [b, h, w, c]."""
        *size, colours = self.image_shape
        h, w = (math.ceil(side / 2 ** len(self.channels)) for side in size)
        x = nn.relu(layers.Dense(h * w * self.seed, dtype=self.dtype, name="dense")(code))
        x = x.reshape(-1, h, w, self.seed)
        for i, channels in enumerate(self.channels, 1):
            padding = "VALID" if self.valid and i == len(self.channels) else "SAME"
            x = upsample(nn.relu(self._conv(channels, f"conv_{i}", padding)(x)))
        x = self._conv(colours, "image")(x)
        return cropped(x, tuple(size)).astype(jnp.float32)

    def _conv(self, channels: int, name: str, padding: str = "SAME") -> layers.Conv:
        return layers.Conv(channels, (3, 3), padding=padding, dtype=self.dtype, name=name)
