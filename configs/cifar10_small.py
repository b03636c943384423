"""CIFAR-10's first 25,000 images with 250 or 5000 labels: FixMatch on a small net, on a laptop.

python tools/make_npz.py cifar10 FOLDER cifar10_small.npz --small
python launch.py --config=configs/cifar10_small.py:labels=250 --workdir=runs/small \\
    --config.source.path=cifar10_small.npz
Or from TFDS, whose order of the images, and so the draw of the labels, is another:
python -m tools.prepare_tfds cifar10 FOLDER DATA_DIR --small
    --config.source.name=tfds --config.source.dataset=cifar10 --config.source.data_dir=DATA_DIR

0.42 s of one core a step by CPU time, 10 to 11 core-minutes in all. Test accuracy (EMA, 2,000
images) on one draw of the labels, seed 1: 250 labels .469 (supervised on strong views .460, on weak
ones .404), 5,000 labels .654 (.599, .659): docs/methods.md has the table. The recipe is `laptop` of
cifar10_fixmatch.py.
"""

import cifar10_fixmatch

from lowlabel_jax.configuration.argument import choose


def get_config(which=""):
    """labels=250|5000."""
    config = cifar10_fixmatch.protocol(choose(which, labels=(250, 5000))["labels"])
    cifar10_fixmatch.laptop(config)
    config.source = {"name": "arrays", "path": "cifar10_small.npz", "train": 25_000, "test": 2_000}
    return config


METHODS = {
    **cifar10_fixmatch.METHODS,
    "flexmatch": {"objective.name": "flexmatch", "objective.split": True},
    "freematch": {"objective.name": "freematch", "objective.decay": 0.99, "objective.split": True},
}


def sweep(which="", seeds=range(1, 4)):
    """Each method on three draws of the labels."""
    for seed in seeds:
        for name, changes in METHODS.items():
            yield {"method": name, **changes, "seed": seed}
