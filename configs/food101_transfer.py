"""Food-101 in its own layout, its photos cut anew at every step: the data of a VGG19 tutorial.

python launch.py --config=configs/food101_transfer.py --workdir=runs/food \\
    --config.source.path=FOLDER      # with images/, meta/train.txt and meta/test.txt
    budget=laptop: 64x64 and two epochs, for a look on a CPU

As there: a square of the short side less ten pixels on each side, at random in training and in the
middle in evaluation, averaged to 224x224; batches of 64, momentum 0.9, a straight line from 1e-3 to
1e-7, weight decay 5e-4, 20 epochs. The network is a small one, trained from nothing: pretrained
ones have not moved in yet, so the accuracy is not what transfer gives.
"""

import own_images

from lowlabel_jax.configuration.argument import choose
from lowlabel_jax.configuration.keys import base


def get_config(which=""):
    """budget=full|laptop."""
    config = base()
    config.source = {"name": "food101", "path": "data/food-101"}
    config.image.size, config.image.crop, config.image.margin = 224, "random", 10
    config.split.labelled = {"fraction": 1.0}
    config.batch.labelled = 64
    config.batch.evaluation = 128
    config.augment.weak = {"name": "identity"}  # the crop is all there is
    config.augment.strong = own_images.STRONG
    config.model = {"name": "small_cnn", "channels": (32, 64, 128, 256)}
    config.optimizer = {
        "name": "sgd",
        "nesterov": False,
        "rate": {"name": "polynomial", "peak": 1e-3, "end": 1e-7},
    }
    config.length = {"epochs": 20.0}
    if choose(which, budget=("full", "laptop"))["budget"] == "laptop":
        config.image.size = 64
        config.model = {"name": "small_cnn", "channels": (16, 32, 64)}
        config.length = {"epochs": 2.0}
    return config
