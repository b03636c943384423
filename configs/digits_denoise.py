"""Digits (8x8): a small U-shaped network takes noise away, and what that is worth to a classifier.

python launch.py --config=configs/digits_denoise.py --workdir=runs/dd          # under a minute
    --config.objective.noise=salt_and_pepper or masking; --config.objective.strength=0.3
python launch.py --config=configs/digits_denoise.py:transfer --workdir=runs/dt --sweep
    recipes: denoise (the default); transfer: denoising, then the ten labels; scratch: those alone;
    probe: denoising, then logistic regression on its code

No label is used in denoising. Numbers: docs/autoencoders.md.
"""

import digits_fixmatch

from lowlabel_jax.configuration.argument import choose
from lowlabel_jax.configuration.keys import base

RECIPES = ("denoise", "transfer", "scratch", "probe")
FIRST = {"conv_autoencoder": "conv_1", "unet_autoencoder": "down_1"}  # behind the decoder
NOTHING = {"phases.pretrain.length.steps": 1}  # as good as no denoising
AGAINST = {  # what a sweep of recipe=transfer holds against each other
    "transfer": {},
    "scratch": {**NOTHING, "phases.labels.fresh": True},
    "probe": {"phases.labels.features": "probe"},
    "probe-untrained": {**NOTHING, "phases.labels.features": "probe"},
}
VIEW = digits_fixmatch.get_config().augment.weak.to_dict()


def get_config(which=""):
    """recipe=denoise|transfer|scratch|probe."""
    recipe = choose(which, recipe=RECIPES)["recipe"]
    config = base()
    config.source = {"name": "digits"}
    config.split.labelled = {"per_class": 1}
    config.batch.labelled, config.batch.mu = 10, 12  # 120 images a step, none of them labelled
    config.augment.weak = {"name": "identity"}
    config.model = {"name": "unet_autoencoder", "channels": (16, 32, 64)}  # 8 -> 4 -> 2 pixels
    config.objective = {"name": "denoising", "noise": "gaussian", "strength": 0.5}
    config.optimizer = {"name": "adam", "rate": {"name": "cosine", "peak": 2e-3}}
    config.ema.decay = 0.99
    config.length = {"steps": 600}
    config.log_every = 50
    config.checkpoint.every = 300
    put_to_use(config, recipe, VIEW, {"steps": 500})
    return config


def put_to_use(config, recipe, view, length):
    """Phases for the recipes that classify: `view` of all images, `length` of the labels' phase."""
    config.method = recipe
    if recipe == "denoise":
        return
    config.augment.weak = view  # of both phases, so that what came before is the one difference
    labels = {
        "objective": {"name": "supervised"},
        "length": length,
        "train_from": FIRST[config.model.name],
        "features": "probe" if recipe == "probe" else "off",
        "fresh": False,
    }
    pretrain = {"objective": config.objective.to_dict(), "length": config.length.to_dict()}
    config.phases = {"pretrain": pretrain, "labels": labels}
    config.order = ("pretrain", "labels")
    if recipe == "scratch":
        config.phases = {"labels": labels}
        config.order = ("labels",)


def sweep(which="", seeds=range(6)):
    """On the same labels: after denoising and from nothing, by training and by a probe."""
    for seed in seeds:
        for method, changes in AGAINST.items() if "transfer" in which else [(which, {})]:
            yield {"method": method or "denoise", **changes, "seed": seed}
