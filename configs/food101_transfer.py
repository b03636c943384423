"""Food-101 in its own layout, by transfer: a VGG19 tutorial, and what fewer labels ask for.

python launch.py --config=configs/food101_transfer.py --workdir=runs/food \\
    --config.source.path=FOLDER --config.pretrained.weights=FILE
    FOLDER has images/, meta/train.txt and meta/test.txt; recipes:
    tutorial     VGG19, its last layer new, all of it trained (the default)
    probe        a frozen backbone, the head by logistic regression, L2 by cross-validation
    finetune     the probe, then the last stages as well, later ones faster (LP-FT)
    fixmatch     the probe, then the last stages by FixMatch, with the photos without labels
    labels=5, 20 or 180 a class; all by default

The tutorial: a square of the short side less ten pixels on each side, at random in training and in
the middle in evaluation, averaged to 224x224; batches of 64, momentum 0.9, a straight line from
1e-3 to 1e-7, weight decay 5e-4, 20 epochs, a checkpoint every 600 seconds, TensorBoard in tb/; the
same command goes on from the last step. Weights: hf://timm/vgg19.tv_in1k/model.safetensors. The
other recipes take EfficientNet-Lite0's unless model.name says another. Numbers: docs/transfer.md.
"""

import own_images

from lowlabel_jax.configuration.argument import choose
from lowlabel_jax.configuration.keys import base

RECIPES = ("tutorial", "probe", "finetune", "fixmatch")


def get_config(which=""):
    """recipe=tutorial|probe|finetune|fixmatch, labels=all|5|20|180 a class."""
    chosen = choose(which, recipe=RECIPES, labels=("all", 5, 20, 180))
    config = base()
    config.source = {"name": "food101", "path": "data/food-101"}
    config.image.size, config.image.crop, config.image.margin = 224, "random", 10
    every = chosen["labels"] == "all"
    config.split.labelled = {"fraction": 1.0} if every else {"per_class": chosen["labels"]}
    config.batch.labelled = 64
    config.batch.evaluation = 64
    config.checkpoint.seconds = 600
    config.augment.weak = {"name": "identity"}  # the crop is all there is
    config.augment.strong = own_images.STRONG
    config.model = {"name": "vgg", "depth": 19, "top": "conv"}
    config.pretrained.weights = "weights/vgg19.safetensors"
    config.optimizer = {
        "name": "sgd",
        "nesterov": False,
        "rate": {"name": "polynomial", "peak": 1e-3, "end": 1e-7},
    }
    config.length = {"epochs": 20.0}
    config.method = chosen["recipe"]
    if chosen["recipe"] != "tutorial":
        config.image.crop = "centre"
        config.augment.weak = {"name": "standard", "flip": True, "shift": 0.1, "zoom": 0.1}
        config.batch.mu = 3
        own_images.transfer(config, "probe" if chosen["recipe"] == "probe" else "finetune")
    if chosen["recipe"] == "fixmatch":
        config.objective = {"name": "fixmatch", "threshold": 0.8}
    return config


def sweep(which=""):
    """Six draws of the labels."""
    yield from ({"seed": seed} for seed in range(6))
