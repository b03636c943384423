"""Reconstruction (Hinton and Salakhutdinov 2006): an image through a narrow code and back.

It looks at no label. What the code learns may be the start of a classifier.
"""

from typing import Any, Literal

from lowlabel_jax.objectives.base import Objective
from lowlabel_jax.objectives.pixels import restore


def reconstruction(*, info: Any, loss: Literal["bce", "mse"] = "bce") -> Objective:
    """What the network makes of the weak view of the unlabelled images should be the same view.

    loss: binary cross-entropy against grey values, or squared error; the mean over all values.
    """

    def restored(params, state, views, key):
        return restore(params, state, views["weak"], views["weak"], key, loss)

    return Objective(("weak",), restored, task="restoration", needs=("restored",))
