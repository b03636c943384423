"""What published weights were shown: every network's images are in [-1, 1] here until then."""

from typing import NamedTuple

import numpy as np

from lowlabel_jax.core.errors import UserError, nearest


class Pixels(NamedTuple):
    """x -> (x - mean) / std for x in 0..255, by channel; bgr: channels the other way round."""

    mean: tuple[float, ...]  # [3]
    std: tuple[float, ...]  # [3]
    bgr: bool = False


PIXELS = {
    "signed": Pixels((127.5,) * 3, (127.5,) * 3),  # [-1, 1]: Keras' "tf", SigLIP
    "unit": Pixels((0.0,) * 3, (255.0,) * 3),  # [0, 1]
    "raw": Pixels((0.0,) * 3, (1.0,) * 3),  # 0..255: the network does the rest itself
    "imagenet": Pixels((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),  # torchvision, timm
    "lite": Pixels((127.0,) * 3, (128.0,) * 3),  # EfficientNet-Lite
    "caffe": Pixels((103.939, 116.779, 123.68), (1.0,) * 3, bgr=True),  # Keras' VGG and ResNet
}


def find(name: str) -> Pixels:
    """The pixels of a name. Raises UserError for another one."""
    if name not in PIXELS:
        there = ", ".join(PIXELS)
        raise UserError(f"no pixels called {name!r}.{nearest(name, PIXELS)} There are: {there}.")
    return PIXELS[name]


def affine(pixels: Pixels) -> tuple[np.ndarray, np.ndarray]:
    """(scale [3], shift [3]): what x in [-1, 1] is times and plus, after any turn of channels."""
    mean, std = np.array(pixels.mean), np.array(pixels.std)
    return (127.5 / std).astype(np.float32), ((127.5 - mean) / std).astype(np.float32)
