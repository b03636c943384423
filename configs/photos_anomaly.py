"""Photos: an autoencoder that has seen one kind alone, cats say, and is to notice what is none.

python launch.py --config=configs/photos_anomaly.py:normal=cats --workdir=runs/pa \\
    --config.source.path=FOLDER      # with train/{cats,dogs} and validation/{cats,dogs}
    --config.source.test= --config.split.test.fraction=0.2 where there is one folder a class alone
    normal=NAME    the folder of the normal ones; several as normal=cats+dogs

Held-out normals (a tenth) set the threshold; the others train. Errors of pixels notice what looks
different as a whole: another background, light, or object. They hardly tell cats from dogs.
"""

from lowlabel_jax.configuration.keys import base


def get_config(which=""):
    """normal=NAME, a class of the source, or several with + between them."""
    config = base()
    names = which.removeprefix("normal=") or "cats"
    config.source = {
        "name": "folder",
        "path": "data/cats_dogs",
        "validation": "",
        "test": "validation",
    }
    config.image.size = 64
    config.split.normal_classes = tuple(names.split("+"))
    config.split.labelled = {"per_class": 1}
    config.split.validation = {"fraction": 0.1}
    config.batch.labelled, config.batch.mu = 8, 4  # 32 images a step, none of them labelled
    config.batch.evaluation = 100
    config.augment.weak = {"name": "flip_shift", "shift": 0}
    config.model = {"name": "vae", "latent": 32, "channels": (16, 32, 32)}
    config.objective = {"name": "reconstruction"}
    config.optimizer = {"name": "adam", "rate": {"name": "cosine", "peak": 1e-3}}
    config.ema.decay = 0.99
    config.length = {"steps": 600}
    config.log_every = 50
    config.checkpoint.every = 300
    return config
