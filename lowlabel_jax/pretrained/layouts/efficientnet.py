"""EfficientNet as timm, Keras and efficientnet-pytorch name its tensors.

How many blocks a file has tells its size, but for b1 and b2, which have as many: those two are
for model.size to say.
"""

import re
from typing import Any

from lowlabel_jax.pretrained import turns
from lowlabel_jax.pretrained.layout import Layout, Rule
from lowlabel_jax.pretrained.layouts import _mobile as rules

SAME = {"padding": "same", "epsilon": 1e-3}
TORCH = {"padding": "torch", "epsilon": 1e-5}  # but those that timm calls tf_..
B0, B1, B3 = (1, 2, 2, 3, 3, 4, 1), (2, 3, 3, 4, 4, 5, 2), (2, 3, 3, 5, 5, 6, 2)  # blocks


def _keras_block(match: re.Match) -> str:
    """block2a -> block_1_0."""
    return f"block_{int(match[1]) - 1}_{ord(match[2]) - ord('a')}"


def _keras_rules() -> tuple[Rule, ...]:
    block, made = r"block(\d)([a-z])_", []
    for name, norm, ours, deep in (
        ("expand_conv", "expand_bn", "expand", False),
        ("dwconv", "bn", "depthwise", True),
        ("project_conv", "project_bn", "project", False),
    ):
        where = rules.part(_keras_block, ours)
        made += rules.keras_normed(block + name, block + norm, where, deep)
    return (
        *rules.keras_normed("stem_conv", "stem_bn", rules.at("stem")),
        *made,
        *rules.excitation(block + "se_{}/", _keras_block, "kernel"),
        *rules.keras_normed("top_conv", "top_bn", rules.at("last")),
        Rule("predictions/(kernel|bias)", r"params/head/\1"),
        # Keras' network scales its pixels itself, by ImageNet's mean and variance: `pixels` here.
        Rule(r"normalization(_\d+)?/.*", ""),
    )


def _flat_rules(counts: tuple[int, ...]) -> tuple[Rule, ...]:
    """For efficientnet-pytorch, which counts its blocks through."""
    name, block, made = r"_blocks\.(\d+)\.", rules.nth_block(counts), []
    for conv, norm, ours in (
        ("_expand_conv", "_bn0", "expand"),
        ("_depthwise_conv", "_bn1", "depthwise"),
        ("_project_conv", "_bn2", "project"),
    ):
        made += rules.torch_normed(name + conv, name + norm, rules.part(block, ours))
    return (
        *rules.torch_normed("_conv_stem", "_bn0", rules.at("stem")),
        *made,
        *rules.excitation(name + r"_se_{}\.", block, "weight", turns.conv),
        *rules.torch_normed("_conv_head", "_bn1", rules.at("last")),
        *rules.torch_head("_fc"),
        rules.NO_COUNTER,
    )


def _timm(mark: str, **size: Any) -> Layout:
    return Layout("timm", mark, rules.timm_rules(), TORCH | size, "imagenet")


def _keras(mark: str, **size: Any) -> Layout:
    return Layout("keras", mark, _keras_rules(), SAME | size, "imagenet")


def _flat(mark: str, counts: tuple[int, ...], pixels: str = "imagenet", **size: Any) -> Layout:
    return Layout("efficientnet-pytorch", mark, _flat_rules(counts), SAME | size, pixels)


LAYOUTS = (  # of each family the larger first, for they have the names of the smaller too
    _timm(r"blocks\.3\.4\.se\.conv_reduce\.weight", size="b3"),
    _timm(r"blocks\.6\.1\.se\.conv_reduce\.weight"),
    _timm(r"blocks\.6\.0\.se\.conv_reduce\.weight", size="b0"),
    _timm(r"blocks\.6\.0\.conv_pwl\.weight", size="lite0"),
    _keras("block4e_project_conv/kernel", size="b3"),
    _keras("block7b_project_conv/kernel"),
    _keras("block7a_project_conv/kernel", size="b0"),
    _flat(r"_blocks\.25\._se_reduce\.weight", B3, size="b3"),
    _flat(r"_blocks\.22\._se_reduce\.weight", B1),
    _flat(r"_blocks\.15\._se_reduce\.weight", B0, size="b0"),
    _flat(r"_blocks\.15\._project_conv\.weight", B0, "lite", size="lite0"),
)
