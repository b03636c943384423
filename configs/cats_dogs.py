"""Cats and dogs from 2,000 photos: the small network of "very little data" (F. Chollet, 2016).

python launch.py --config=configs/cats_dogs.py --workdir=runs/cats \\
    --config.source.path=FOLDER      # with train/{cats,dogs} and validation/{cats,dogs}
    labels=5 or labels=20 for so many labels a class, the other photos unlabelled

The tutorial's first step: three convolutions, RMSprop, batches of 16, 50 epochs, photos stretched
to 150x150. Its 800 validation photos choose nothing there, so they are the test set here, measured
once. What differs: two logits instead of one sigmoid, pixels in [-1, 1] instead of [0, 1], and
bilinear averages where Keras took the nearest pixel.
"""

import own_images

from lowlabel_jax.configuration.argument import choose
from lowlabel_jax.configuration.keys import base


def get_config(which=""):
    """labels=all|5|20 a class."""
    labels = choose(which, labels=("all", 5, 20))["labels"]
    config = base()
    config.source = {
        "name": "folder",
        "path": "data/cats_dogs",
        "validation": "",
        "test": "validation",
    }
    config.image.size, config.image.crop, config.image.resample = 150, "stretch", "bilinear"
    config.split.labelled = {"fraction": 1.0} if labels == "all" else {"per_class": labels}
    config.batch.labelled = 16
    config.batch.mu = 3
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
    config.length = {"epochs": 50.0}
    config.batch.evaluation = 100
    config.checkpoint.every = 500
    return config
