"""Content moderation from a CSV `objectId,value`: ids are SHA-1 digests, which decide the split.

python launch.py --config=configs/moderation_csv.py --workdir=runs/mod \\
    --config.source.path=labels.csv --config.source.images=FOLDER
    python tools/sha1_csv.py FOLDER OUT      # makes such a CSV of class folders, to try it

An image's side is decided by the last byte of its digest, so none changes sides when the set grows:
0 to 24 test, 25 to 49 validation, else training; test and validation are cut to as many of each
class, and the rest goes to training. The classes are unequal (7,617 to 15,023 in the published
set): the loss weighs them alike, and balanced accuracy is the number to read. The network is a
small one, trained from nothing: pretrained ones have not moved in yet.
"""

import own_images

from lowlabel_jax.configuration.keys import base


def get_config():
    """Weighted cross-entropy on all training labels."""
    config = base()
    config.source = {
        "name": "table",
        "path": "data/moderation/labels.csv",
        "id": "objectId",
        "label": "value",
    }
    config.image.size = 128
    config.split.rule = "sha1_id"
    config.split.balanced = True
    config.split.labelled = {"fraction": 1.0}
    config.batch.labelled = 32
    config.augment.weak = {"name": "standard", "flip": True, "shift": 0.1, "zoom": 0.1}
    config.augment.strong = own_images.STRONG
    config.model = {"name": "small_cnn", "channels": (16, 32, 64, 128)}
    config.objective = {"name": "supervised", "balanced": True}
    config.optimizer = {"name": "adam", "rate": {"name": "cosine", "peak": 1e-3, "warmup": 50}}
    config.ema.decay = 0.99
    config.length = {"epochs": 10.0}
    config.batch.evaluation = 100
    return config
