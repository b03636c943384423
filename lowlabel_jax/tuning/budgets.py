"""How much learning and training may cost: presets by name, all of them in steps and trials."""

from typing import Any, NamedTuple


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
    "smoke": Budget(20, 2, 3, 2, 40, 20, 40, 1),
    "laptop": Budget(100, 3, 5, 4, 60, 200, 800, 6),
    "short": Budget(300, 6, 16, 10, 200, 6_000, 12_000, 3),
    "paper": Budget(2_000, 8, 40, 20, 500, 50_000, 2**20, 6),
}
REGULARISATION = 1.5  # most that its search may cost, in trainings (Masterful states the same)


def of(tune: Any) -> Budget:
    """What a config's `tune` asks for: its budget, with the lengths that it sets itself."""
    budget = BUDGETS[tune.budget]
    own = {name: tune[name] for name in ("supervised", "semi_supervised", "seeds")}
    return budget._replace(**{name: value for name, value in own.items() if value is not None})
