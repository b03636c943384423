"""Rules that the layouts of the mobile networks share."""

import re
from collections.abc import Callable, Sequence

from lowlabel_jax.pretrained import turns
from lowlabel_jax.pretrained.layout import Rule, Turn

Where = Callable[[re.Match], str]  # a match -> our module, "block_0_1/expand"
BATCH_NORM = {
    "torch": ("weight", "bias", "running_mean", "running_var"),
    "keras": ("gamma", "beta", "moving_mean", "moving_variance"),
}
PLACES = ("params/{}/norm/scale", "params/{}/norm/bias",
          "batch_stats/{}/norm/mean", "batch_stats/{}/norm/var")  # fmt: skip
NO_COUNTER = Rule(r".*num_batches_tracked", "")


def at(module: str) -> Where:
    """One module, whatever the match."""
    return lambda match: module


def part(block: Where, name: str) -> Where:
    """A module of this name within a match's block."""
    return lambda match: f"{block(match)}/{name}"


def torch_normed(conv: str, norm: str, where: Where) -> tuple[Rule, ...]:
    """Rules for a convolution and its BatchNorm of these names (patterns) in PyTorch."""
    return (_rule(rf"{conv}\.weight", "params/{}/conv/kernel", where, turns.conv),
            *_norm("torch", rf"{norm}\.", where))  # fmt: skip


def keras_normed(conv: str, norm: str, where: Where, deep: bool = False) -> tuple[Rule, ...]:
    """The same for Keras; deep: a depthwise convolution, whose kernel has had two names."""
    kernel = "(?:depthwise_)?kernel" if deep else "kernel"
    turn = turns.depthwise if deep else turns.as_it_is
    return (_rule(f"{conv}/{kernel}", "params/{}/conv/kernel", where, turn),
            *_norm("keras", f"{norm}/", where))  # fmt: skip


def timm_rules() -> tuple[Rule, ...]:
    """For MobileNet v2 and EfficientNet of timm, which counts blocks by group as we do."""

    def block(match: re.Match) -> str:
        return f"block_{match[1]}_{match[2]}"

    first, later = r"blocks\.(0)\.(\d+)", r"blocks\.([1-9])\.(\d+)"
    expand, depthwise, project = (part(block, p) for p in ("expand", "depthwise", "project"))
    return (
        *torch_normed("conv_stem", "bn1", at("stem")),
        *torch_normed(rf"{first}\.conv_dw", rf"{first}\.bn1", depthwise),
        *torch_normed(rf"{first}\.conv_pw", rf"{first}\.bn2", project),
        *torch_normed(rf"{later}\.conv_pw", rf"{later}\.bn1", expand),
        *torch_normed(rf"{later}\.conv_dw", rf"{later}\.bn2", depthwise),
        *torch_normed(rf"{later}\.conv_pwl", rf"{later}\.bn3", project),
        *excitation(r"blocks\.(\d)\.(\d+)\.se\.conv_{}\.", block, "weight", turns.conv),
        *torch_normed("conv_head", "bn2", at("last")),
        *torch_head("classifier"),
        NO_COUNTER,
    )


def excitation(name: str, block: Where, kernel: str, turn: Turn = turns.as_it_is) -> list[Rule]:
    """Rules for squeeze-and-excitation: a name with {} where it says "reduce" or "expand"."""
    return [
        _rule(name.format(kind) + theirs, f"params/{{}}/se_{kind}/{ours}", block, turned)
        for kind in ("reduce", "expand")
        for theirs, ours, turned in ((kernel, "kernel", turn), ("bias", "bias", turns.as_it_is))
    ]


def torch_head(name: str) -> tuple[Rule, ...]:
    """Rules for a last layer of this name (a pattern) in PyTorch."""
    return (
        Rule(rf"{name}\.weight", "params/head/kernel", turns.dense),
        Rule(rf"{name}\.bias", "params/head/bias"),
    )


def nth_block(counts: Sequence[int], first: int = 0) -> Where:
    """Our block for the number in a match, where blocks are counted through from `first`."""
    names = [f"block_{i}_{j}" for i, count in enumerate(counts) for j in range(count)]

    def block(match: re.Match) -> str:
        place = int(match[1]) - first
        return names[place] if place < len(names) else f"block_{place}"

    return block


def _norm(library: str, name: str, where: Where) -> list[Rule]:
    return [
        _rule(name + theirs, ours, where)
        for theirs, ours in zip(BATCH_NORM[library], PLACES, strict=True)
    ]


def _rule(name: str, path: str, where: Where, turn: Turn = turns.as_it_is) -> Rule:
    return Rule(name, lambda match: path.format(where(match)), turn)
