"""Content moderation from a CSV `objectId,value`: ids are SHA-1 digests, which decide the split.

python launch.py --config=configs/moderation_csv.py --workdir=runs/mod \\
    --config.source.path=labels.csv --config.source.images=FOLDER \\
    --config.pretrained.weights=FILE      # of EfficientNet-Lite0
    --sweep          every answer to unequal classes: none, weights, logit adjustment; three seeds
    scratch          (--config=configs/moderation_csv.py:scratch) a small network from nothing
    python tools/sha1_csv.py FOLDER OUT      # makes such a CSV of class folders, to try it

An image's side is decided by the last byte of its digest, so none changes sides when the set grows:
0 to 24 test, 25 to 49 validation, else training; test and validation are cut to as many of each
class, and the rest goes to training. The network is frozen and its features are computed once; a
linear head learns on them. EfficientNet-B0 instead, as published: --config.model.size=b0 with
hf://timm/efficientnet_b0.ra_in1k/model.safetensors. The classes are unequal (7,617 to 15,023 in the
published set): the loss is adjusted for it, and balanced accuracy is the number to read.
"""

import own_images

from lowlabel_jax.configuration.argument import choose
from lowlabel_jax.configuration.keys import base

ANSWERS = {
    "none": {"logit_adjustment": 0.0, "balanced": False},
    "weights": {"logit_adjustment": 0.0, "balanced": True},
    "logit-adjustment": {"logit_adjustment": 1.0, "balanced": False},
}


def get_config(which=""):
    """step=frozen|scratch."""
    config = base()
    config.source = {
        "name": "table",
        "path": "data/moderation/labels.csv",
        "id": "objectId",
        "label": "value",
    }
    config.image.size = 224
    config.split.rule = "sha1_id"
    config.split.balanced = True
    config.split.labelled = {"fraction": 1.0}
    config.batch.labelled = 32
    config.augment.weak = {"name": "standard", "flip": True, "shift": 0.1, "zoom": 0.1}
    config.augment.strong = own_images.STRONG
    config.objective = {"name": "supervised", "logit_adjustment": 1.0}
    config.optimizer = {"name": "adam", "rate": {"name": "cosine", "peak": 1e-3, "warmup": 50}}
    config.ema.decay = 0.99
    config.length = {"epochs": 10.0}
    config.batch.evaluation = 100
    if choose(which, step=("frozen", "scratch"))["step"] == "scratch":
        config.image.size = 128
        config.model = {"name": "small_cnn", "channels": (16, 32, 64, 128)}
        return config
    config.model = {"name": "efficientnet", "size": "lite0"}
    config.pretrained.weights = "weights/efficientnet_lite0_imagenet.safetensors"
    config.features = "cached"
    return config


def sweep(which=""):
    """Each answer to unequal classes with three seeds."""
    for seed in range(3):
        for method, options in ANSWERS.items():
            changed = {f"objective.{name}": value for name, value in options.items()}
            yield {"method": method, "seed": seed, **changed}
