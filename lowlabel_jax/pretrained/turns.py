"""How arrays of other libraries are turned into Flax': (array, our shape) -> array of that shape.

Letters: o channels out, i channels in, h w the kernel's height and width.
"""

import numpy as np


def as_it_is(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """No turn at all."""
    return array


def conv(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """PyTorch's convolution [o, i, h, w] -> [h, w, i, o]; a depthwise one [c, 1, h, w] likewise."""
    return array.transpose(2, 3, 1, 0)


def dense(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """PyTorch's linear layer [o, i] -> [i, o]."""
    return array.T


def depthwise(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Keras' depthwise convolution [h, w, c, 1] -> [h, w, 1, c]."""
    return array.transpose(0, 1, 3, 2)


def flat(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """As many numbers in another shape: a 1x1 convolution [1, 1, i, o] -> [i, o]."""
    return array.reshape(shape)
