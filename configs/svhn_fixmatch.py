"""SVHN (cropped) with 40, 250 or 1000 labels: FixMatch in its paper's protocol (arXiv:2001.07685).

python launch.py --config=configs/svhn_fixmatch.py:labels=250 --workdir=runs/svhn
Budgets, data and sweep as in cifar10_fixmatch.py; what differs is that no digit is mirrored.

The paper reports errors of 3.96 +- 2.17, 2.48 +- 0.38 and 2.28 +- 0.11 % (five label draws).
Not run here; the cost is that of CIFAR-10. The unlabelled images are the 73,257 of "train", as in
the paper; the 531,131 of "extra" would join by --config.source.train=train+extra, labels and all.
"""

import cifar10_fixmatch

from lowlabel_jax.configuration.argument import choose


def get_config(which=""):
    """labels=40|250|1000, budget=paper|short|laptop."""
    chosen = choose(which, labels=(40, 250, 1000), budget=cifar10_fixmatch.BUDGETS)
    config = cifar10_fixmatch.protocol(chosen["labels"])
    config.source = {"name": "tfds", "dataset": "svhn_cropped"}
    config.augment.weak = {"name": "flip_shift", "flip": False}  # a mirrored 2 is no digit
    config.augment.strong = {"name": "fixmatch_ra", "flip": False}
    return cifar10_fixmatch.within(config, chosen["budget"])


def sweep(which=""):
    """Five draws of the labels."""
    return cifar10_fixmatch.sweep()
