"""Denoising autoencoders (Vincent et al. 2008): shown a corrupted image, the network restores it.

It looks at no label. What it has learnt to see through noise may be the start of a classifier.
"""

from typing import Any, Literal

import jax

from lowlabel_jax.core import parallel
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.core.ranges import NonNegative, traced
from lowlabel_jax.objectives.base import Objective
from lowlabel_jax.objectives.corruption import KINDS
from lowlabel_jax.objectives.pixels import restore
from lowlabel_jax.ops.restoring import as_images, as_pixels


def denoising(
    *,
    info: Any,
    loss: Literal["bce", "mse"] = "bce",
    noise: Literal["gaussian", "salt_and_pepper", "masking"] = "gaussian",
    strength: NonNegative = 0.5,
) -> Objective:
    """What the network makes of the corrupted weak view of the unlabelled images is the clean one.

    loss: binary cross-entropy against grey values, or squared error; the mean over all values.
    noise: "gaussian" of standard deviation `strength` on pixels in [0, 1], clipped to them;
    "salt_and_pepper": so large a share of the pixels becomes black or white; "masking": 0.
    Evaluation corrupts images in the same way, by `corrupt`.
    Raises UserError for a share above 1.
    """
    if noise != "gaussian" and not traced(strength) and strength > 1:
        raise UserError(
            f"objective.strength = {strength!r} with noise={noise!r} is a share of the pixels.",
            "give a number from 0 to 1.",
        )
    corrupt = KINDS[noise](strength)

    def restored(params, state, views, key):
        clean = views["weak"]
        places = parallel.positions(len(clean))
        keys = parallel.example_keys(jax.random.fold_in(key, 1), places)
        noisy = as_images(jax.vmap(corrupt)(keys, as_pixels(clean)))
        return restore(params, state, noisy, clean, key, loss)

    return Objective(("weak",), restored, task="restoration", corrupt=corrupt, needs=("restored",))
