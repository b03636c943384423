"""The tests' own config: digits, a net of a thousand weights, batches of eight, twelve steps."""

from lowlabel_jax.configuration.keys import base

RESTORING = {  # methods that restore images: the networks they need
    "denoising": {"name": "unet_autoencoder", "channels": (4, 8)},
    "reconstruction": {"name": "conv_autoencoder", "channels": (4, 8)},
    "vae": {"name": "vae", "latent": 3, "channels": (4, 8), "units": 8},
}


def get_config(objective="supervised"):
    """A run of an objective that takes a second once it is compiled."""
    config = base()
    config.split.labelled = {"per_class": 2}
    config.batch.labelled, config.batch.mu = 8, 3
    config.augment.weak = {"name": "standard", "shift": 0.1, "rotate": 10.0}
    config.augment.strong = {"name": "standard", "shift": 0.2, "rotate": 30.0, "cutout": 0.25}
    config.model = {"name": "small_cnn", "channels": (4, 8), "pool": (True, True)}
    config.objective = {"name": objective}
    if objective in RESTORING:
        config.model = RESTORING[objective]
        config.optimizer.rate.peak = 1e-3  # a VAE's loss is a sum over pixels
    config.length = {"steps": 12}
    config.log_every, config.devices = 5, 1
    config.checkpoint.every = 4
    return config


def sweep():
    """Two methods, two seeds."""
    for seed in range(2):
        for name in ("supervised", "fixmatch"):
            yield {"objective.name": name, "seed": seed}
