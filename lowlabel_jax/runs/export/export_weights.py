"""The averaged weights alone, as safetensors: for other programs, and for years from now."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from lowlabel_jax.core.tree import named_leaves


def safetensors(variables: Mapping[str, Any], config: Mapping[str, Any]) -> bytes:
    """Every leaf by its path, "params/head/kernel"; the network and its classes as metadata.

    Metadata is one string: of several, safetensors would choose the order anew each time.
    """
    import safetensors.numpy

    leaves = {name: np.ascontiguousarray(leaf) for name, leaf in named_leaves(variables).items()}
    told = {
        "model": config["model"],
        "num_classes": config["info"]["num_classes"],
        "class_names": config["info"]["class_names"],
        "image_shape": config["info"]["image_shape"],
        "pixels": config["pretrained"]["pixels"],
    }
    return safetensors.numpy.save(leaves, {"lowlabel_jax": json.dumps(told, sort_keys=True)})
