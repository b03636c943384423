"""Whether an objective finds in a run what it wants: images, a teacher, endpoints."""

from collections.abc import Mapping
from typing import Any

from lowlabel_jax.augment.views import streams
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.objectives.base import Objective
from lowlabel_jax.ops.initialise import endpoints


def satisfied(config: Mapping[str, Any], objective: Objective) -> None:
    """Raise UserError where an objective wants what the run does not have."""
    if "unlabelled" in streams(objective.views) and not config["info"]["sizes"]["unlabelled"]:
        raise UserError(
            "this objective needs unlabelled images: got 0.",
            "add some, or set split.unlabelled_includes_labelled=True.",
        )
    if "teacher" in objective.views and not config["teacher"]:
        raise UserError(
            "this objective learns from a finished run, and teacher is empty.",
            "train one first, e.g. with objective supervised, then --config.teacher=RUN.",
        )


def looks_at(config: Mapping[str, Any], spec: Mapping[str, Any], model: Any, of: Objective) -> None:
    """Raise UserError where an objective looks at endpoints that the network does not have."""
    if not of.needs:
        return
    on_images, shape = spec["features"] == "off", tuple(config["info"]["image_shape"])
    ends = endpoints(model, shape) if on_images else {}
    if missing := [name for name in of.needs if name not in ends]:
        fits = "vae" if "mean" in of.needs else "conv_autoencoder, unet_autoencoder or vae"
        raise UserError(
            f"objective {spec['objective']['name']!r} looks at {', '.join(missing)}, which model "
            f"{config['model']['name']!r} with features={spec['features']!r} does not have.",
            f"use model.name={fits}, and features='off'.",
        )
