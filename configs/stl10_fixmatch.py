"""STL-10 (96 pixels) with 1000 labels: FixMatch in its paper's protocol (arXiv:2001.07685).

python launch.py --config=configs/stl10_fixmatch.py --workdir=runs/stl
Budgets and sweep as in cifar10_fixmatch.py; what differs is WRN-37-2 and the unlabelled images:
the 100,000 that have no label and the 5,000 of "train", 2.9 GB on the device.

The paper reports an error of 7.98 +- 1.50 % over five of the ten folds that come with STL-10, 1000
given labels each. TFDS does not carry these folds: here each seed draws 100 of the 500 labels of
each class. A fold can be given as --config.split.file (the JSON that a run keeps in splits/).
Not run here: nine times the pixels of CIFAR-10.
"""

import cifar10_fixmatch

from lowlabel_jax.configuration.argument import choose


def get_config(which=""):
    """labels=1000, budget=paper|short|laptop."""
    chosen = choose(which, labels=(1000,), budget=cifar10_fixmatch.BUDGETS)
    config = cifar10_fixmatch.protocol(chosen["labels"])
    config.source = {"name": "tfds", "dataset": "stl10", "train": "train+unlabelled"}
    config.model.depth = 37  # four groups of four blocks: the last map is 12 pixels wide
    config.model.groups = 4
    return cifar10_fixmatch.within(config, chosen["budget"])


def sweep(which=""):
    """Five draws of the labels."""
    return cifar10_fixmatch.sweep()
