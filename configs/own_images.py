"""Your own photos, a folder for each class: a network from nothing or pretrained, a test set aside.

python launch.py --config=configs/own_images.py --workdir=runs/mine --config.source.path=FOLDER
    with pretrained weights, --config=configs/own_images.py:RECIPE --config.pretrained.weights=FILE:
    probe        a frozen network, its head by logistic regression, L2 by cross-validation
    finetune     the probe, then the last stages as well, later ones faster (LP-FT)
    bit          all of it, by BiT-HyperRule: nothing is left to choose
    few of them labelled? put the others into FOLDER/unlabelled and FOLDER's classes into
    FOLDER/train, and add --config.objective.name=fixmatch
    a table instead of folders: --config.source.name=table --config.source.path=labels.csv

A fifth of the photos are the test set and a tenth the validation set, decided by what is in each
file: photos that are added later move none of the others. docs/own-images.md goes through it.
"""

from lowlabel_jax.configuration.argument import choose
from lowlabel_jax.configuration.keys import base

STRONG = {  # the strong view of photos: another part of them, in other colours
    "name": "photo",
    "crop": 0.3,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
    "hue": 0.1,
    "jitter": 0.8,
    "grey": 0.1,
}


def get_config(which=""):
    """recipe=scratch|probe|finetune|bit. From scratch, 1,000 steps: 4 minutes on 2 cores."""
    config = base()
    config.source = {"name": "folder", "path": "photos"}
    config.image.size = 96
    config.split.rule = "content"
    config.split.test = {"fraction": 0.2}
    config.split.validation = {"fraction": 0.1}
    config.split.labelled = {"fraction": 1.0}
    config.batch.labelled = 32
    config.batch.mu = 3
    config.batch.evaluation = 100
    config.augment.weak = {"name": "standard", "flip": True, "shift": 0.1, "zoom": 0.1}
    config.augment.strong = STRONG
    config.model = {"name": "small_cnn", "channels": (16, 32, 64, 128), "momentum": 0.95}
    config.objective = {"name": "supervised"}
    config.optimizer = {"name": "adam", "rate": {"name": "cosine", "peak": 2e-3, "warmup": 50}}
    config.ema.decay = 0.99
    config.length = {"steps": 1000}
    config.log_every = 50
    config.evaluate_every = 250
    recipe = choose(which, recipe=("scratch", "probe", "finetune", "bit"))["recipe"]
    if recipe != "scratch":
        transfer(config, recipe)
    return config


def transfer(config, recipe):
    """EfficientNet-Lite0 under a new head. Its stages: lowlabel summary efficientnet:size=lite0."""
    config.image.size = 224
    config.model = {"name": "efficientnet", "size": "lite0"}
    config.pretrained.weights = "weights/efficientnet_lite0_imagenet.safetensors"
    config.batch.labelled, config.evaluate_every = 16, 0
    if recipe == "probe":
        config.features = "probe"
    elif recipe == "finetune":
        config.optimizer = {
            "name": "adamw",
            "weight_decay": 1e-4,
            "rate": {"name": "cosine", "peak": 3e-4, "warmup": 20},
        }
        config.length = {"steps": 300}
        config.phases = {
            "probe": {"features": "probe", "objective": {"name": "supervised"}},
            "tune": {"train_from": "block_5_0", "batch_norm": "running", "rate_decay": 0.8},
        }
        config.order = ("probe", "tune")
    else:  # BiT-HyperRule, arXiv:1912.11370, for networks with BatchNorm
        config.optimizer = {
            "name": "sgd",
            "nesterov": False,
            "weight_decay": 0.0,
            "rate": {"name": "bit_hyperrule"},
        }
        config.objective = {"name": "supervised", "mixup": 0.1, "mixup_from": 20_000}
        config.length, config.batch_norm = {"bit_hyperrule": 1.0}, "running"
