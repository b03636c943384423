"""MobileNet v2 as Keras, torchvision (in two forms) and timm name its tensors."""

from lowlabel_jax.pretrained.layout import Layout, Rule
from lowlabel_jax.pretrained.layouts import _mobile as rules

COUNTS = (1, 2, 3, 4, 3, 3, 1)  # blocks of each group
TORCH = {"padding": "torch", "epsilon": 1e-5}
KERAS = {"padding": "same", "epsilon": 1e-3}


def _keras_rules(*head: Rule) -> tuple[Rule, ...]:
    """`head`: for the layers behind the average over pixels."""
    block, made = rules.nth_block(COUNTS), []
    for part, deep in (("expand", False), ("depthwise", True), ("project", False)):
        for name, where in (
            (rf"block_(\d+)_{part}", rules.part(block, part)),
            (f"expanded_conv_{part}", rules.at(f"block_0_0/{part}")),
        ):
            made += rules.keras_normed(name, f"{name}_BN", where, deep)
    return (
        *rules.keras_normed("Conv1", "bn_Conv1", rules.at("stem")),
        *made,
        *rules.keras_normed("Conv_1", "Conv_1_bn", rules.at("last")),
        *head,
    )


def _torch_rules(first: dict[str, tuple[str, str]], later: dict[str, tuple[str, str]]):
    """Of the first block and of those after it: part -> names of convolution and BatchNorm."""
    block, made = rules.nth_block(COUNTS, 1), []
    for name, parts in ((r"features\.(1)\.conv\.", first), (r"features\.(\d+)\.conv\.", later)):
        for part, (conv, norm) in parts.items():
            made += rules.torch_normed(name + conv, name + norm, rules.part(block, part))
    return (
        *rules.torch_normed(r"features\.0\.0", r"features\.0\.1", rules.at("stem")),
        *made,
        *rules.torch_normed(r"features\.18\.0", r"features\.18\.1", rules.at("last")),
        *rules.torch_head(r"classifier(?:\.1)?"),
        rules.NO_COUNTER,
    )


LAYOUTS = (
    Layout(
        family="torchvision",
        mark=r"features\.2\.conv\.0\.0\.weight",
        rules=_torch_rules(
            {"depthwise": (r"0\.0", r"0\.1"), "project": ("1", "2")},
            {"expand": (r"0\.0", r"0\.1"), "depthwise": (r"1\.0", r"1\.1"), "project": ("2", "3")},
        ),
        options=TORCH,
        pixels="imagenet",
    ),
    Layout(
        family="torchvision, first form",
        mark=r"features\.2\.conv\.0\.weight",
        rules=_torch_rules(
            {"depthwise": ("0", "1"), "project": ("3", "4")},
            {"expand": ("0", "1"), "depthwise": ("3", "4"), "project": ("6", "7")},
        ),
        options=TORCH,
        pixels="imagenet",
    ),
    Layout(
        family="timm",
        mark=r"blocks\.6\.0\.conv_pwl\.weight",
        rules=rules.timm_rules(),
        options=TORCH,
        pixels="imagenet",
    ),
    Layout(
        family="nsfwjs",  # whole where model.hidden = (256, 128) and there are 5 classes
        mark="dense_3/kernel",
        rules=_keras_rules(
            Rule("dense_1/(kernel|bias)", r"params/head/hidden/\1"),
            Rule("dense_2/(kernel|bias)", r"params/head/hidden_2/\1"),
            Rule("dense_3/(kernel|bias)", r"params/head/\1"),
        ),
        options=KERAS,
        pixels="unit",
    ),
    Layout(
        family="keras",
        mark="block_16_project/kernel",
        rules=_keras_rules(Rule("predictions/(kernel|bias)", r"params/head/\1")),
        options=KERAS,
        pixels="signed",
    ),
)
