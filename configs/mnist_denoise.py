"""MNIST: the Keras tutorial's denoising autoencoder, or a U-shaped one; and a few labels after it.

python launch.py --config=configs/mnist_denoise.py --workdir=runs/md \\
    --config.source.path=FOLDER      # with the four idx files, if not in data/mnist
    net=tutorial   28x28 to a code of 128 numbers and back, 204,929 parameters (the default)
    net=unet       a U-shaped network of 30,000 parameters
    recipe=transfer, scratch or probe, labels=20 or 100: as in digits_denoise.py

The tutorial: noise of standard deviation 0.5, clipped; Adam at 1e-3, binary cross-entropy, batches
of 256, 30 epochs; every image of the training set, no label. Here five epochs of the same are the
default, with --config.length.steps=7032 for all of it. Numbers: docs/autoencoders.md.
"""

import digits_denoise

from lowlabel_jax.configuration.argument import choose
from lowlabel_jax.configuration.keys import base

NETS = {
    "tutorial": {"name": "conv_autoencoder", "padding": "VALID"},
    "unet": {"name": "unet_autoencoder", "channels": (8, 16, 32)},
}


def get_config(which=""):
    """recipe=denoise|transfer|scratch|probe, net=tutorial|unet, labels=20|100."""
    chosen = choose(which, recipe=digits_denoise.RECIPES, net=tuple(NETS), labels=(20, 100))
    config = base()
    config.source = {"name": "mnist_idx", "path": "data/mnist"}
    config.split.labelled = {"total": chosen["labels"]}
    config.batch.labelled, config.batch.mu = 32, 8  # 256 images a step, none of them labelled
    config.augment.weak = {"name": "identity"}
    config.model = NETS[chosen["net"]]
    config.objective = {"name": "denoising", "noise": "gaussian", "strength": 0.5}
    config.optimizer = {"name": "adam", "rate": {"name": "constant", "peak": 1e-3}}
    config.ema.decay = 0.99
    config.length = {"steps": 1172}  # five epochs of 60,000
    config.log_every = 50
    config.checkpoint.every = 293
    if chosen["recipe"] != "denoise":
        config.batch.labelled, config.batch.mu = 20, 12
    digits_denoise.put_to_use(config, chosen["recipe"], digits_denoise.VIEW, {"steps": 500})
    return config


def sweep(which="", seeds=range(3)):
    """On the same labels, with denoising and without: digits_denoise.py has the methods."""
    yield from digits_denoise.sweep(which, seeds)
