"""A convolutional autoencoder after the Keras tutorial's, for digits and for images of any size."""

from typing import Any, Literal

import flax.linen as nn
import jax

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.core.ranges import Count, Fraction, Natural
from lowlabel_jax.ops import initialise, layers, restoring
from lowlabel_jax.ops.pooling import max_pool


def conv_autoencoder(
    *,
    num_classes: Count,
    channels: tuple = (16, 32, 64, 128),
    padding: Literal["SAME", "VALID"] = "SAME",
    hidden: Natural = 0,
    dropout: Fraction = 0.0,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> nn.Module:
    """A convolution 3x3 for each of `channels`, maxima 2x2 between them, the average as code.

    The decoder makes of the code a map of a quarter as many channels, and goes back through
    convolutions and upsampling in the channels' opposite order.
    padding: "SAME" takes images of any size. "VALID" is the tutorial's arithmetic: maxima leave an
    odd row out (28, 14, 7, 3) and the decoder's last hidden convolution has no padding (4, 8, 16
    to 14, 28); with the default channels it fits sides of 12, 20, 28 and so on.
    hidden, dropout: of the head, which no restoring objective trains.
    Raises UserError for fewer than two channels, and for an image that "VALID" does not fit.
    """
    return ConvAutoencoder(
        head=layers.Head(num_classes, hidden, dropout, dtype),
        channels=restoring.checked(channels, least=2),
        padding=padding,
        dtype=dtype,
    )


class ConvAutoencoder(nn.Module):
    """What conv_autoencoder makes."""

    rules = ((r"params/(?!head/).*kernel", initialise.glorot_uniform),)  # as Keras begins

    head: layers.Head
    channels: tuple[int, ...]
    padding: str
    dtype: Any

    @property
    def stages(self) -> tuple[str, ...]:
        """The names below `params`, the decoder first: it is out of the classifier's way."""
        return ("decoder", *(f"conv_{i}" for i in range(1, len(self.channels) + 1)), "head")

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """images [b, h, w, c] -> logits float32 [b, k], endpoints.

        "stage_i" is what convolution i hands on, "last_conv" the last map, "features" its average
        over pixels, the code; "restored" float32 [b, h, w, c], logits of pixels in [0, 1].
        """
        shape, valid = images.shape[1:], self.padding == "VALID"
        if valid:
            _check_fit(shape[:2], 2 ** (len(self.channels) - 1))
        ends, x = {}, restoring.as_pixels(images)
        for i, channels in enumerate(self.channels):
            if i:
                x = max_pool(x, padding=self.padding)
            x = layers.Conv(channels, (3, 3), dtype=self.dtype, name=f"conv_{i + 1}")(x)
            x = ends[f"stage_{i}"] = ends["last_conv"] = nn.relu(x)
        code = ends["features"] = x.mean((1, 2))
        seed, back = max(self.channels[-1] // 4, 1), self.channels[-2::-1]
        decoder = restoring.Decoder(shape, seed, back, valid, self.dtype, name="decoder")
        ends["restored"] = decoder(code)
        return self.head(code, train), ends


def _check_fit(size: tuple[int, ...], scale: int) -> None:
    """Raise UserError where the decoder without padding would not end at (h, w)."""
    if scale <= 4:
        raise UserError("model.padding = 'VALID' wants four channels or more.", "use 'SAME'.")
    if any(side < scale or (side + 4) % scale for side in size):
        raise UserError(
            f"model.padding = 'VALID' does not restore images of {size[0]}x{size[1]}.",
            f"it fits sides of {2 * scale - 4}, {3 * scale - 4}, {4 * scale - 4}, and so on; "
            "use padding='SAME'.",
        )
