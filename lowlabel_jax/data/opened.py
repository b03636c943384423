"""The data of a run, as its config says."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lowlabel_jax.data import normal
from lowlabel_jax.data.sets import Split, rows
from lowlabel_jax.data.source import Images, Source, open_source
from lowlabel_jax.data.unknown import without


def open_data(config: Mapping[str, Any]) -> Source:
    """The source of a config (a plain dict), less the classes that are to be unknown, or anomalies.

    Raises UserError where its data is not to be had.
    """
    source = open_source(config["source"], config["image"])
    known = without(source, config["split"]["unknown_classes"])
    return normal.validated(known, config["split"].get("normal_classes", ()))  # older runs: none


def images_of(source: Source, split: Split, name: str) -> tuple[Images, np.ndarray]:
    """(images [n, h, w, c], read as they are asked for, labels int32 [n]) of a run's set."""
    place, indices, label = rows(source, split, name)
    return Images(source, place, indices), label
