"""VGG16 and VGG19 without BatchNorm, as torchvision, timm and Keras name their tensors."""

import re

import numpy as np

from lowlabel_jax.pretrained import turns
from lowlabel_jax.pretrained.layout import Layout, Rule

CONVOLUTIONS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # of each block, by depth
TOP = r"params/(fc[67]|head)/.*"  # a network may do without: model.top
WINDOW = 7  # pixels of the last map that fc6 sees, both sides


def _fc6(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """fc6 of torchvision [o, i · 49] or timm [o, i, 7, 7] -> [7, 7, i, o] or [49 · i, o]."""
    kernel = array.reshape(len(array), -1, WINDOW, WINDOW)
    return kernel.transpose(2, 3, 1, 0).reshape(shape)


def _fc7(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """fc7 of torchvision [o, i] or timm [o, i, 1, 1] -> [1, 1, i, o] or [i, o]."""
    return array.reshape(array.shape[:2]).T.reshape(shape)


def _places(depth: int) -> dict[int, str]:
    """{n: "block_1/conv_2", ..}: which convolution is torch's features.n.

    Activations and poolings are counted there too.
    """
    places, n = {}, 0
    for block, convolutions in enumerate(CONVOLUTIONS[depth], 1):
        for convolution in range(1, convolutions + 1):
            places[n] = f"block_{block}/conv_{convolution}"
            n += 2
        n += 1
    return places


def _torch(depth: int, mark: str) -> Layout:
    """Of torchvision and timm; the number of a convolution means another one at each depth."""
    places = _places(depth)

    def place(match: re.Match) -> str:
        leaf = {"weight": "kernel", "bias": "bias"}[match[2]]
        return f"params/{places.get(int(match[1]), 'none')}/{leaf}"

    fc6, fc7 = r"(?:classifier\.0|pre_logits\.fc1)", r"(?:classifier\.3|pre_logits\.fc2)"
    head = r"(?:classifier\.6|head\.fc)"
    rules = (
        Rule(r"features\.(\d+)\.(weight)", place, turns.conv),
        Rule(r"features\.(\d+)\.(bias)", place),
        Rule(rf"{fc6}\.weight", "params/fc6/kernel", _fc6),
        Rule(rf"{fc6}\.bias", "params/fc6/bias"),
        Rule(rf"{fc7}\.weight", "params/fc7/kernel", _fc7),
        Rule(rf"{fc7}\.bias", "params/fc7/bias"),
        Rule(rf"{head}\.weight", "params/head/kernel", turns.dense),
        Rule(rf"{head}\.bias", "params/head/bias"),
    )
    return Layout("timm", mark, rules, {"depth": depth}, "imagenet", TOP)


def _keras(depth: int, mark: str) -> Layout:
    """Of Keras, whose names are the same at each depth."""
    rules = (
        Rule(r"block(\d)_conv(\d)/(kernel|bias)", r"params/block_\1/conv_\2/\3"),
        Rule(r"fc1/(kernel|bias)", r"params/fc6/\1", turns.flat),
        Rule(r"fc2/(kernel|bias)", r"params/fc7/\1", turns.flat),
        Rule(r"predictions/(kernel|bias)", r"params/head/\1"),
    )
    return Layout("keras", mark, rules, {"depth": depth}, "caffe", TOP)


LAYOUTS = (
    _torch(16, r"features\.17\.weight"),
    _torch(19, r"features\.16\.weight"),
    _keras(19, r"block5_conv4/kernel"),  # before 16, all of whose names it has
    _keras(16, r"block5_conv3/kernel"),
)
