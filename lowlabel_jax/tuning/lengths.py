"""The phases that a learnt run is trained in, and how long they may last.

BatchNorm's statistics first, then labels alone; the statistics of the other batches, then labels
and unlabelled images together: what the self-tuning trainer does (docs/auto.md).
"""

from typing import Any

from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.training import networks, statistics
from lowlabel_jax.tuning import trial
from lowlabel_jax.tuning.findings import applied
from lowlabel_jax.tuning.ground import Ground
from lowlabel_jax.tuning.phase import supervised

STUDENT = "noisy_student"
LOOKS = 40  # looks at the validation set in a phase of full length
WINDOW = 10  # of them that the plateau is judged by


def phased(ground: Ground, config: Config, validates: bool) -> Config:
    """The config with its phases. Where labels can be spared to validate, a phase ends when the
    validation loss has stabilised, and its best weights are kept; else it has its length."""
    budget = ground.budget
    labels = _section(config, "supervised", budget.supervised, ground, validates)
    phases, order = {"supervised": labels}, ["supervised"]
    if len(ground.split.unlabelled) and config.objective.name != "supervised":
        both = _section(config, "semi-supervised", budget.semi_supervised, ground, validates)
        phases["semi_supervised"] = both
        order.append("semi_supervised")
    with (config := applied(config, [])).unlocked():
        warms = moving_norms(ground, config)
        for number, name in enumerate(order if warms else (), 1):
            phases[f"warm_{number}"] = {
                "objective": phases[name]["objective"],
                "moves": "statistics",
                "length": {"steps": budget.warmup},
                "fresh": phases[name]["objective"]["name"] == STUDENT,  # a student begins anew
            }
        if warms:
            order = [n for i, name in enumerate(order, 1) for n in (f"warm_{i}", name)]
        config.order = tuple(order)
        config.phases = phases
        config.evaluate_every = _every(budget.supervised) if validates else 0
    return config


def moving_norms(ground: Ground, config: Config) -> bool:
    """Whether the network has a BatchNorm whose statistics training would move."""
    made = trial.single(ground, config, ground.split, 1)
    try:
        statistics.moving(
            networks.network(made), tuple(ground.source.image_shape), made["phases"][0]
        )
    except UserError:
        return False
    return True


def _section(
    config: Config, name: str, steps: int, ground: Ground, validates: bool
) -> dict[str, Any]:
    """One phase of training, as config.phases has it."""
    of = supervised(config) if name == "supervised" else config
    objective = of.objective.to_dict()
    optimizer = config.optimizer.to_dict()
    if "warmup" in optimizer["rate"]:
        warmup = min(ground.budget.warmup, steps // 10)
        optimizer["rate"] = {**optimizer["rate"], "warmup": warmup}
    found: dict[str, Any] = {"objective": objective, "optimizer": optimizer}
    found["length"] = {"steps": steps}
    return found | ({"plateau": WINDOW, "keep": "best"} if validates else {})


def _every(steps: int) -> int:
    """Steps between looks."""
    return max(steps // LOOKS, 1)
