"""A network as a table: layers, shapes, parameters, FLOPs."""

from typing import Any

import jax
import jax.numpy as jnp

from lowlabel_jax.configuration import check, load
from lowlabel_jax.core import named
from lowlabel_jax.data.opened import open_data
from lowlabel_jax.runs import listing


def model_table(model: Any, image_shape: tuple[int, int, int], width: int = 120) -> str:
    """One row a layer for one image [1, h, w, c], from Flax's own tabulate; nothing is computed."""
    images = jnp.zeros((1, *image_shape))
    return model.tabulate(
        jax.random.key(0),
        images,
        train=False,
        depth=1,
        compute_flops=True,
        console_kwargs={"width": width, "force_terminal": False},
    )


def of_config(name: str) -> str:
    """The table of the network that a config (a file, or a name in configs/) would train."""
    config = load.load(listing.config_path(name))
    check.check(config)
    data = open_data(config.to_dict())
    model = named.build("model", config.model.to_dict(), num_classes=len(data.class_names))
    return model_table(model, data.image_shape)
