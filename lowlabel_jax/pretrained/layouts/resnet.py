"""ResNet-18, -34 and -50 as torchvision and timm name their tensors, and ResNet50 as Keras does."""

import re
from collections.abc import Callable

from lowlabel_jax.pretrained import turns
from lowlabel_jax.pretrained.layout import Layout, Rule

TORCH_NORM = {
    "weight": "params/{}/norm/scale",
    "bias": "params/{}/norm/bias",
    "running_mean": "batch_stats/{}/norm/mean",
    "running_var": "batch_stats/{}/norm/var",
}
KERAS_NORM = {
    "gamma": "params/{}/norm/scale",
    "beta": "params/{}/norm/bias",
    "moving_mean": "batch_stats/{}/norm/mean",
    "moving_variance": "batch_stats/{}/norm/var",
}


def counted(path: str, *firsts: int) -> Callable[[re.Match], str]:
    """A path with a match's numbers in its {}, from 0; in the file they begin at `firsts`."""

    def place(match: re.Match) -> str:
        numbers = zip(match.groups(), firsts, strict=True)
        return path.format(*(int(number) - first for number, first in numbers))

    return place


def torch_rules(head: str) -> tuple[Rule, ...]:
    """For the names of torchvision's ResNets, whose last layer is called `head`."""
    part, shortcut = "block_{}_{}/part_{}", "block_{}_{}/shortcut"
    layer = r"layer(\d)\.(\d+)\."
    norms = [
        rule
        for leaf, ours in TORCH_NORM.items()
        for rule in (
            Rule(rf"bn1\.{leaf}", ours.format("stem")),
            Rule(rf"{layer}bn(\d)\.{leaf}", counted(ours.format(part), 1, 0, 1)),
            Rule(rf"{layer}downsample\.1\.{leaf}", counted(ours.format(shortcut), 1, 0)),
        )
    ]
    kernel = "params/{}/conv/kernel"
    return (
        Rule(r"conv1\.weight", kernel.format("stem"), turns.conv),
        Rule(rf"{layer}conv(\d)\.weight", counted(kernel.format(part), 1, 0, 1), turns.conv),
        Rule(rf"{layer}downsample\.0\.weight", counted(kernel.format(shortcut), 1, 0), turns.conv),
        *norms,
        Rule(rf"{head}\.weight", "params/head/kernel", turns.dense),
        Rule(rf"{head}\.bias", "params/head/bias"),
        Rule(r".*num_batches_tracked", ""),
    )


def _keras_rules() -> tuple[Rule, ...]:
    part, shortcut = "block_{}_{}/part_{}", "block_{}_{}/shortcut"
    block = r"conv(\d)_block(\d+)_"
    kinds = {f"bn/{leaf}": ours for leaf, ours in KERAS_NORM.items()}
    kinds |= {f"conv/{leaf}": f"params/{{}}/conv/{leaf}" for leaf in ("kernel", "bias")}
    rules = [
        rule
        for kind, ours in kinds.items()
        for rule in (
            Rule(f"conv1_{kind}", ours.format("stem")),
            Rule(f"{block}([123])_{kind}", counted(ours.format(part), 2, 1, 1)),
            Rule(f"{block}0_{kind}", counted(ours.format(shortcut), 2, 1)),
        )
    ]
    return (*rules, Rule(r"predictions/(kernel|bias)", r"params/head/\1"))


def _torch(depth: int, mark: str) -> Layout:
    """Of torchvision and timm."""
    options = {"stride_on": "3x3", "padding": "torch", "conv_bias": False, "epsilon": 1e-5}
    return Layout("timm", mark, torch_rules("fc"), {"depth": depth, **options}, "imagenet")


LAYOUTS = (
    _torch(50, r"layer1\.0\.conv3\.weight"),  # before 34 and 18, all of whose names it has
    _torch(34, r"layer3\.5\.conv1\.weight"),
    _torch(18, r"layer1\.0\.conv1\.weight"),
    Layout(
        family="keras",
        mark=r"conv2_block1_1_conv/kernel",
        rules=_keras_rules(),
        options={
            "depth": 50,
            "stride_on": "1x1",
            "padding": "torch",
            "conv_bias": True,
            "epsilon": 1.001e-5,
        },
        pixels="caffe",
    ),
)
