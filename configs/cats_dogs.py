"""Cats and dogs from 2,000 photos, the three steps of "very little data" (F. Chollet, 2016).

python launch.py --config=configs/cats_dogs.py:scratch --workdir=runs/cats \\
    --config.source.path=FOLDER      # with train/{cats,dogs} and validation/{cats,dogs}
    scratch      a small network from nothing, RMSprop, batches of 16, 50 epochs
    bottleneck   a head on the features of a pretrained network, which are computed once
    finetune     bottleneck, then the network's last stages as well, SGD 1e-4 with momentum
    probe        for few labels: the head by logistic regression, its L2 by cross-validation
    labels=5 or labels=20 for so many labels a class, the other photos unlabelled

The last three want --config.pretrained.weights=FILE, of EfficientNet-Lite0 unless model.name says
another; the tutorial's own network is --config.model.name=vgg --config.model.top=flatten with
hf://timm/vgg16.tv_in1k/model.safetensors. Its 800 validation photos choose nothing there, so they
are the test set here, measured once. What differs: two logits instead of one sigmoid, bilinear
averages where Keras took the nearest pixel, features averaged over pixels instead of flattened.
docs/transfer.md goes through it.
"""

import own_images

from lowlabel_jax.configuration.argument import choose
from lowlabel_jax.configuration.keys import base

STEPS = ("scratch", "bottleneck", "finetune", "probe")
LABELS = ("all", 5, 20)


def get_config(which=""):
    """step=scratch|bottleneck|finetune|probe, labels=all|5|20 a class."""
    chosen = choose(which, step=STEPS, labels=LABELS)
    config = base()
    config.source = {
        "name": "folder",
        "path": "data/cats_dogs",
        "validation": "",
        "test": "validation",
    }
    config.image.size, config.image.crop, config.image.resample = 150, "stretch", "bilinear"
    few = chosen["labels"] != "all"
    config.split.labelled = {"per_class": chosen["labels"]} if few else {"fraction": 1.0}
    config.batch.labelled = 16
    config.batch.mu = 3
    config.batch.evaluation = 100
    config.augment.weak = {
        "name": "standard",
        "flip": True,
        "shear": 11.46,  # 0.2 radians, as Keras took it then
        "zoom": 0.2,
        "fill": "nearest",
    }
    config.augment.strong = own_images.STRONG
    config.model = {
        "name": "small_cnn",
        "channels": (32, 32, 64),
        "padding": "VALID",
        "head": "flatten",
        "hidden": 64,
        "dropout": 0.5,
        "batch_norm": False,
    }
    config.optimizer = {"name": "rmsprop", "rate": {"name": "constant", "peak": 1e-3}}
    config.length = {"steps": 500} if few else {"epochs": 50.0}
    config.checkpoint.every = 500
    if chosen["step"] != "scratch":
        transfer(config, chosen["step"])
    config.method = chosen["step"]
    return config


def transfer(config, step):
    """A pretrained network under a new head."""
    if step == "probe":
        size = config.image.size
        own_images.transfer(config, "probe")
        config.image.size = size
        return
    config.model = {"name": "efficientnet", "size": "lite0", "hidden": 256, "dropout": 0.5}
    config.pretrained.weights = "weights/efficientnet_lite0_imagenet.safetensors"
    if step == "bottleneck":
        config.features = "cached"
        return
    gently = {
        "name": "sgd",
        "nesterov": False,
        "weight_decay": 0.0,
        "rate": {"name": "constant", "peak": 1e-4},
    }
    config.phases = {
        "bottleneck": {"features": "cached", "length": dict(config.length)},
        "top": {
            "train_from": "block_6_0",
            "batch_norm": "running",
            "optimizer": gently,
            "length": dict(config.length),
        },
    }
    config.order = ("bottleneck", "top")


def sweep(which=""):
    """Six draws of the labels: --config=configs/cats_dogs.py:probe,labels=5 --sweep."""
    yield from ({"seed": seed} for seed in range(6))
