"""Digits (8x8, 10 classes) with one label per class, FixMatch with distribution alignment."""

from lowlabel_jax.configuration.keys import base


def get_config():
    """The recipe of the quickstart."""
    config = base()
    config.split.labelled = {"per_class": 1}  # 10 labels in all
    config.batch.labelled = 40
    config.batch.mu = 4
    config.augment.weak = {"name": "standard", "shift": 0.06, "rotate": 5.0}
    config.augment.strong = {"name": "standard", "shift": 0.12, "rotate": 20.0, "cutout": 0.3}
    config.model = {"name": "small_cnn", "channels": (32, 64)}
    config.objective = {"name": "fixmatch", "align": True}
    config.optimizer = {"name": "sgd", "rate": {"name": "cosine_7_16", "peak": 0.03}}
    config.length = {"steps": 600}
    return config
