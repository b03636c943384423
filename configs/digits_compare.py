"""Digits with one label per class: supervised against FixMatch, six seeds of each, same labels."""

from digits_fixmatch import get_config as fixmatch_config


def get_config():
    """digits_fixmatch; sweep() puts the objective in its place."""
    return fixmatch_config()


def sweep():
    """Each method on each seed: the seed decides the labels, so the methods pair."""
    for seed in range(6):
        for name in ("supervised", "fixmatch"):
            yield {"objective.name": name, "seed": seed}
