"""CIFAR-100 with 400, 2500 or 10000 labels: FixMatch in its paper's protocol (arXiv:2001.07685).

python launch.py --config=configs/cifar100_fixmatch.py:labels=2500 --workdir=runs/c100
Budgets, data and sweep as in cifar10_fixmatch.py; what differs is WRN-28-8 and the weight decay.

The paper reports errors of 48.85 +- 1.75, 28.29 +- 0.11 and 22.60 +- 0.12 % (five label draws).
Not run here. Others report three to four times the cost of CIFAR-10: about a day on an A100.
"""

import cifar10_fixmatch

from lowlabel_jax.configuration.argument import choose


def get_config(which=""):
    """labels=400|2500|10000, budget=paper|short|laptop."""
    chosen = choose(which, labels=(400, 2500, 10_000), budget=cifar10_fixmatch.BUDGETS)
    config = cifar10_fixmatch.protocol(chosen["labels"])
    config.source = {"name": "tfds", "dataset": "cifar100"}
    config.model.width = 8  # some codebases report 28-2 here: other numbers
    config.optimizer.weight_decay = 1e-3
    return cifar10_fixmatch.within(config, chosen["budget"])


def sweep(which=""):
    """Five draws of the labels."""
    return cifar10_fixmatch.sweep()
