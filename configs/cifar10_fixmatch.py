"""CIFAR-10 with 40, 250 or 4000 labels: FixMatch in its paper's protocol (arXiv:2001.07685).

python launch.py --config=configs/cifar10_fixmatch.py:labels=250 --workdir=runs/c250
python launch.py --config=configs/cifar10_fixmatch.py:labels=250 --workdir=runs/c250 --sweep
    five label draws, FixMatch and supervised; budget=short or budget=laptop for less than
    the paper's 2^20 steps: --config=configs/cifar10_fixmatch.py:labels=250,budget=laptop
Data: TFDS, prepared before. --config.source.download=True fetches it, which takes TensorFlow;
without it or without a network: python -m tools.prepare_tfds cifar10 FOLDER DATA_DIR
    --config.source.data_dir=DATA_DIR        where it lies, if not in ~/tensorflow_datasets
    --config.source.name=arrays --config.source.path=cifar10.npz      or any .npz

The paper reports errors of 13.81 +- 3.37, 5.07 +- 0.65 and 4.26 +- 0.05 % (five label draws, median
of the last 20 checkpoints, as here). Its cost there: 6 hours on an A100, four days
on older GPUs. The budgets were not run here; cifar10_small.py has the cost of laptop.
"""

from lowlabel_jax.configuration.argument import choose
from lowlabel_jax.configuration.keys import base

BUDGETS = ("paper", "short", "laptop")
METHODS = {
    "fixmatch": {"objective.name": "fixmatch"},
    "supervised": {"objective.name": "supervised", "objective.strong": True},
    "supervised-weak": {"objective.name": "supervised"},
}


def get_config(which=""):
    """labels=40|250|4000, budget=paper|short|laptop."""
    chosen = choose(which, labels=(40, 250, 4000), budget=BUDGETS)
    config = protocol(chosen["labels"])
    config.source = {"name": "tfds", "dataset": "cifar10"}
    return within(config, chosen["budget"])


def protocol(labels):
    """What the FixMatch papers' image sets have in common (table 4 there)."""
    config = base()
    config.split.labelled = {"total": labels}  # as many of each class
    config.batch.labelled = 64
    config.batch.mu = 7  # 448 unlabelled images a step, each seen twice
    config.augment.weak = {"name": "flip_shift"}  # an eighth of the side
    config.augment.strong = {"name": "fixmatch_ra"}
    config.model = {  # BatchNorm's memory of 0.999 is the model's default
        "name": "wide_resnet",
        "depth": 28,
        "width": 2,
        "groups": 3,
    }
    config.objective = {"name": "fixmatch", "threshold": 0.95, "weight": 1.0}
    config.optimizer = {
        "name": "sgd",
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 5e-4,
        "rate": {"name": "cosine_7_16", "peak": 0.03},
    }
    config.ema.decay = 0.999
    config.ema.warmup = False  # the paper's average begins with the first weights
    config.length = {"steps": 2**20}
    config.log_every = 256
    config.checkpoint.every = 2**10  # the paper's "epoch"
    config.checkpoint.keep = 20
    config.median_of = 20
    return config


def within(config, budget):
    """The protocol within a budget: 2^20 steps (paper), 2^15 (short), 1,500 of a small net."""
    if budget == "short":  # a 32nd; the schedule shrinks with it
        config.length = {"steps": 2**15}
        config.checkpoint.every = 2**8
    if budget == "laptop":
        laptop(config)
    return config


def laptop(config):
    """Minutes instead of days: a small net, mu=3, 1,500 steps; what cifar10_small.py measures."""
    config.batch.mu = 3
    config.model = {
        "name": "small_cnn",
        "channels": (24, 48, 96),
        "momentum": 0.95,  # 0.999 remembers more steps than this run has
        "epsilon": 1e-3,
    }
    config.objective.threshold = 0.8  # on aligned probabilities
    config.objective.align = True
    config.objective.ramp = 0.2  # early guesses are poor
    config.objective.split = True  # the weak views go through without gradient: a third cheaper
    config.optimizer.rate = {"name": "cosine", "peak": 0.1, "warmup": 50}
    config.ema.decay = 0.99
    config.ema.warmup = True
    config.length = {"steps": 1500}
    config.log_every = 50
    config.checkpoint.every = 500
    config.checkpoint.keep, config.median_of = 2, 1


def sweep(which=""):
    """Five draws of the labels, as in the paper; the methods pair by them."""
    for seed in range(1, 6):
        for name, changes in METHODS.items():
            yield {"method": name, **changes, "seed": seed}
