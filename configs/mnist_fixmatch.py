"""MNIST with 20 or 40 labels: FixMatch with distribution alignment on a small net.

python launch.py --config=configs/mnist_fixmatch.py --workdir=runs/m1
"""

from lowlabel_jax.configuration.argument import choose
from lowlabel_jax.configuration.keys import base


def get_config(which=""):
    """labels=20|40."""
    config = base()
    config.source = {"name": "mnist_idx", "path": "data/mnist"}
    config.split.labelled = {"total": choose(which, labels=(20, 40))["labels"]}
    config.batch.labelled = 20
    config.batch.mu = 3
    config.augment.weak = {
        "name": "standard",
        "shift": 0.1,
        "rotate": 10.0,
        "shear": 8.5,
        "zoom": 0.1,
        "fill": "constant",  # black, as a digit's surroundings are
    }
    config.augment.strong = {
        "name": "standard",
        "shift": 0.15,
        "rotate": 25.0,
        "shear": 16.7,
        "zoom": 0.2,
        "brightness": 0.5,
        "contrast": 0.5,
        "gamma": 0.6,
        "cutout": 0.35,
        "hole": 0.0,
        "fill": "constant",
    }
    config.model = {
        "name": "small_cnn",
        "channels": (32, 32, 64),
        "pool": (True,),
        "head": "flatten",
        "momentum": 0.95,
        "epsilon": 1e-3,
    }
    config.objective = {"name": "fixmatch", "threshold": 0.8, "align": True, "ramp": 0.2}
    config.optimizer = {"name": "sgd", "rate": {"name": "cosine", "peak": 0.1, "warmup": 20}}
    config.ema.decay = 0.99
    config.length = {"steps": 1000}
    config.log_every = 50
    config.checkpoint.every = 500
    return config


def sweep(which=""):
    """Five draws of the labels, with FixMatch and without."""
    for seed in range(1, 6):
        yield {"method": "fixmatch", "seed": seed}
        yield {
            "method": "supervised",
            "objective.name": "supervised",
            "objective.strong": True,
            "seed": seed,
        }
