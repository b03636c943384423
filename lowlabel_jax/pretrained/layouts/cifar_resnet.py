"""CIFAR ResNets with option-A shortcuts, named as in akamaster/pytorch_resnet_cifar10."""

from lowlabel_jax.pretrained.layout import Layout
from lowlabel_jax.pretrained.layouts.resnet import torch_rules

LAYOUTS = (
    Layout(
        family="akamaster",
        mark=r"layer1\.0\.conv1\.weight",
        rules=torch_rules("linear"),
        options={"epsilon": 1e-5},
        pixels="imagenet",
    ),
)
