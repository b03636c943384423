"""MNIST: a variational autoencoder, with a code of 16 numbers or of two, which make a map.

python launch.py --config=configs/mnist_vae.py:latent=2 --workdir=runs/mv \\
    --config.source.path=FOLDER      # with the four idx files, if not in data/mnist
    --config.objective.beta=4 for a stronger pull to N(0, 1), --config.objective.free_bits=0.1

No label is used. beta=1 is the evidence lower bound, in nats an image. Numbers:
docs/autoencoders.md.
"""

from lowlabel_jax.configuration.argument import choose
from lowlabel_jax.configuration.keys import base


def get_config(which=""):
    """latent=16|2."""
    chosen = choose(which, latent=(16, 2))
    config = base()
    config.source = {"name": "mnist_idx", "path": "data/mnist"}
    config.split.labelled = {"total": 20}
    config.batch.labelled, config.batch.mu = 32, 4  # 128 images a step, none of them labelled
    config.augment.weak = {"name": "identity"}
    config.model = {"name": "vae", "latent": chosen["latent"], "channels": (16, 32)}
    config.objective = {"name": "vae"}
    config.optimizer = {"name": "adam", "rate": {"name": "cosine", "peak": 1e-3}}
    config.ema.decay = 0.99
    config.length = {"steps": 2345}  # five epochs of 60,000
    config.log_every = 50
    config.checkpoint.every = 469
    config.method = f"vae-{chosen['latent']}"
    return config
