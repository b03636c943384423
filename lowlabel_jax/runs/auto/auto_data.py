"""What `lowlabel auto DATA` begins with: a config for data that nobody has written one for.

Everything here is a place to start from; what matters is learnt, or shown by `--dry_run`.
"""

from collections.abc import Iterable
from typing import Any

from lowlabel_jax.configuration import check, keys, load
from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data.opened import open_data
from lowlabel_jax.runs.data_check import data_given

TINY = 40  # sides up to which images are small enough for RandAugment's 32x32 settings
WEAK: dict[str, Any] = {"name": "standard", "shift": 0.1, "zoom": 0.1}
STRONG_GREY = {
    "name": "standard",
    "shift": 0.15,
    "rotate": 20.0,
    "shear": 15.0,
    "zoom": 0.2,
    "brightness": 0.5,
    "contrast": 0.5,
    "gamma": 0.6,
    "cutout": 0.35,
}
STRONG_PHOTO = {
    "name": "photo",
    "crop": 0.3,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
    "hue": 0.1,
    "jitter": 0.8,
    "grey": 0.1,
}


def config_for(
    data: str,
    overrides: Iterable[str],
    labels: int,
    budget: str,
    seeds: int | None = None,
    weights: str = "",
) -> tuple[str, Config]:
    """(name, config) of DATA: a config as it is, or one made for a folder, a table, an array file.

    labels: of each class; 0: all, or as the config has them. Raises UserError for what cannot be.
    """
    if labels < 0:
        raise UserError(f"--labels-per-class {labels} is no number of labels.", "give 1 or more.")
    parsed = load.parse(overrides)
    name, config, is_config = data_given.config_of(data, {})
    if not is_config:
        config = _for_source(config, weights)
    with config.unlocked():
        if config.tune.budget == "off" or not is_config or budget != "laptop":
            config.tune.budget = budget
        if seeds is not None:
            keys.assign(config, "tune.seeds", seeds)
        if labels:
            keys.assign(config, "split.labelled", {"per_class": labels})
    config = load.override(config, parsed)
    check.check(config)
    return name, config


def _for_source(config: Config, weights: str) -> Config:
    """The config of a source, with views, optimiser and method to begin with."""
    files = config.source.name in ("folder", "table", "food101")
    with config.unlocked():
        if files:
            config.image.size = 224 if weights else 96
    shape = open_data(config.to_dict()).image_shape
    with config.unlocked():
        colour, side = shape[-1] == 3, max(shape[:2])
        keys.assign(config, "augment.weak", WEAK | ({"flip": True} if colour else {}))
        keys.assign(config, "augment.strong", _strong(colour, side))
        config.split.rule = "content"
        keys.assign(config, "split.test", {"fraction": 0.2})
        keys.assign(config, "split.labelled", {"fraction": 1.0})
        config.batch.labelled, config.batch.mu = 32, 3
        objective = {"name": "fixmatch", "threshold": 0.9, "align": True}
        keys.assign(config, "objective", objective)
        rate = {"name": "cosine", "peak": 3e-4 if weights else 1e-3, "warmup": 20}
        keys.assign(config, "optimizer", {"name": "adam", "rate": rate})
        config.ema.decay, config.log_every, config.checkpoint.every = 0.99, 100, 500
        config.tune.learn = ("batch", "rate", "regularisation", "semi")
        if weights:
            keys.assign(config, "model", {"name": "efficientnet", "size": "lite0"})
            config.pretrained.weights, config.batch_norm = weights, "running"
        else:
            config.tune.learn = ("model", *config.tune.learn)
    return config


def _strong(colour: bool, side: int) -> dict[str, Any]:
    """The strong view that a kind of images begins with."""
    if not colour:
        return STRONG_GREY
    return STRONG_PHOTO if side > TINY else {"name": "fixmatch_ra"}
