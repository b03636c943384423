"""How much learning and training may cost: presets by name, all of them in steps and trials."""

from typing import NamedTuple


class Budget(NamedTuple):
    """What a name in `tune.budget` stands for. A trial is a short run on each of the folds."""

    trial: int  # steps of a trial
    rates: int  # learning rates tried around the one that the range test suggests
    regularisation: int  # trials of augmentation, mixing, smoothing, weight decay
    semi: int  # trials of methods, thresholds, weights, mu
    warmup: int  # steps of BatchNorm's warm-up and of the rate's, before either phase
    supervised: int  # most steps of the supervised phase
    semi_supervised: int  # most steps of the semi-supervised phase
    seeds: int  # draws of the labels that auto is compared with its baselines on


BUDGETS = {
    "smoke": Budget(20, 3, 3, 3, 5, 20, 40, 1),
    "laptop": Budget(100, 4, 6, 6, 20, 200, 800, 6),
    "short": Budget(300, 6, 16, 10, 200, 6_000, 12_000, 3),
    "paper": Budget(2_000, 8, 40, 20, 500, 50_000, 2**20, 6),
}
REGULARISATION = 1.5  # most that its search may cost, in trainings (Masterful states the same)
