"""MobileNet v1 as Keras names its tensors."""

from lowlabel_jax.pretrained import turns
from lowlabel_jax.pretrained.layout import Layout, Rule
from lowlabel_jax.pretrained.layouts import _mobile as rules

DEPTHWISE = rules.part(lambda match: f"block_{match[1]}", "depthwise")
POINTWISE = rules.part(lambda match: f"block_{match[1]}", "pointwise")

LAYOUTS = (
    Layout(
        family="keras",
        mark=r"conv_dw_13/(depthwise_)?kernel",
        rules=(
            *rules.keras_normed("conv1", "conv1_bn", rules.at("stem")),
            *rules.keras_normed(r"conv_dw_(\d+)", r"conv_dw_(\d+)_bn", DEPTHWISE, deep=True),
            *rules.keras_normed(r"conv_pw_(\d+)", r"conv_pw_(\d+)_bn", POINTWISE),
            Rule("conv_preds/kernel", "params/head/kernel", turns.flat),  # a 1x1 convolution
            Rule("conv_preds/bias", "params/head/bias"),
        ),
        options={"padding": "keras", "epsilon": 1e-3},
        pixels="signed",
    ),
)
