"""CIFAR-10, 5,000 labels and 20,000 unlabelled images, MobileNet: the trainer that tunes itself.

python tools/make_npz.py cifar10 FOLDER cifar10_small.npz --small
python launch.py --config=configs/cifar10_auto.py --workdir=runs/auto \\
    --config.source.path=cifar10_small.npz
    :baseline    the published baseline to the letter: Adam 1e-3, batch 64, 30 epochs, mirrored
    :stem=1      a first convolution that keeps all pixels, for images this small
    --config.tune.budget=smoke|laptop|short|paper   what learning and training may cost

docs/auto.md tells the story, with the numbers and what they took.
"""

from lowlabel_jax.configuration.argument import choose
from lowlabel_jax.configuration.keys import base


def get_config(which=""):
    """recipe=auto|baseline, stem=2|1."""
    chosen = choose(which, recipe=("auto", "baseline"), stem=(2, 1))
    config = base()
    config.source = {"name": "arrays", "path": "cifar10_small.npz", "train": 25_000, "test": 2_000}
    config.split.labelled = {"total": 5_000}
    config.split.unlabelled_includes_labelled = False
    config.model = {  # Keras': a stem of stride 2, slow BatchNorm, Glorot's first weights
        "name": "mobilenet_v1",
        "stem_stride": chosen["stem"],
        "dropout": 0.001,
        "momentum": 0.99,
        "epsilon": 1e-3,
        "initial": "glorot_uniform",
    }
    config.augment.weak = {"name": "standard", "flip": True}
    config.batch.labelled, config.batch.mu = 64, 2
    config.optimizer = {"name": "adam", "rate": {"name": "constant", "peak": 1e-3}}
    config.objective = {"name": "supervised"}
    config.length = {"epochs": 30}
    config.log_every = 79
    config.checkpoint.every = 790
    if chosen["recipe"] == "auto":
        learnt(config)
    return config


def learnt(config):
    """What tuning begins with."""
    config.tune.budget = "short"
    config.tune.seeds = 3
    config.model.momentum = 0.95  # 0.99 remembers more than a trial has steps
    config.augment.weak = {"name": "standard", "flip": True, "shift": 0.125, "fill": "reflect"}
    config.augment.strong = {"name": "fixmatch_ra"}
    config.objective = {"name": "fixmatch", "threshold": 0.9, "align": True, "split": True}
    config.optimizer.rate = {"name": "cosine_7_16", "peak": 1e-3, "warmup": 100}
    config.ema.decay = 0.999
    # Twenty-seven norms at Adam's rates: averaged weights with the last weights' statistics guess.
    config.ema.batch_stats = True
    config.checkpoint.seconds = 600
