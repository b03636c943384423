"""A variational autoencoder (arXiv:1312.6114): convolutions to a normal distribution, and back."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from lowlabel_jax.core.ranges import Count, Fraction, Natural
from lowlabel_jax.ops import initialise, layers, restoring
from lowlabel_jax.ops.pooling import max_pool


def vae(
    *,
    num_classes: Count,
    latent: Count = 16,
    channels: tuple = (32, 64),
    units: Count = 128,
    hidden: Natural = 0,
    dropout: Fraction = 0.0,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> nn.Module:
    """A convolution 3x3 and maxima 2x2 for each of `channels`, a dense layer, a code of `latent`.

    latent=2 can be drawn as a plane. units: of the dense layer before mean and log-variance. The
    decoder goes back through convolutions and upsampling; images of any size.
    hidden, dropout: of the head, which sees the mean.
    Raises UserError for channels that are no whole numbers above 0.
    """
    return VAE(
        head=layers.Head(num_classes, hidden, dropout, dtype),
        latent=latent,
        channels=restoring.checked(channels),
        units=units,
        dtype=dtype,
    )


class VAE(nn.Module):
    """What vae makes."""

    rules = ((r"params/(?!head/).*kernel", initialise.glorot_uniform),)  # variances begin near 1

    head: layers.Head
    latent: int
    channels: tuple[int, ...]
    units: int
    dtype: Any

    @property
    def stages(self) -> tuple[str, ...]:
        """The names below `params`; first what a classifier on the mean has no use for."""
        convs = (f"conv_{i}" for i in range(1, len(self.channels) + 1))
        return ("decoder", "log_variance", *convs, "dense", "mean", "head")

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """images [b, h, w, c] -> logits float32 [b, k], endpoints.

        "stage_i" is what convolution i hands on before the maximum, "last_conv" the last map.
        "mean" and "log_variance" float32 [b, latent] are the code's distribution, "features" the
        mean; "restored" float32 [b, h, w, c], logits of pixels in [0, 1], from a code drawn from
        the distribution in training and from the mean otherwise.
        """
        ends, x = {}, restoring.as_pixels(images)
        for i, channels in enumerate(self.channels):
            x = nn.relu(layers.Conv(channels, (3, 3), dtype=self.dtype, name=f"conv_{i + 1}")(x))
            ends[f"stage_{i}"] = ends["last_conv"] = x
            x = max_pool(x, padding="SAME")
        x = nn.relu(self._dense(self.units, "dense")(x.reshape(len(x), -1)))
        for name in ("mean", "log_variance"):
            ends[name] = self._dense(self.latent, name)(x).astype(jnp.float32)
        code = restoring.Sample()(ends["mean"], ends["log_variance"], train)
        back = self.channels[::-1]
        decoder = restoring.Decoder(
            images.shape[1:], back[0], back, dtype=self.dtype, name="decoder"
        )
        ends |= {"features": ends["mean"], "restored": decoder(code)}
        return self.head(ends["features"], train), ends

    def _dense(self, features: int, name: str) -> layers.Dense:
        return layers.Dense(features, dtype=self.dtype, name=name)
