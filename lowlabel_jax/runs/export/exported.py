"""An exported folder at work: `lowlabel predict --exported` and lowlabel_jax.load_export.

It needs export.json and model.stablehlo alone: no run, no checkpoint, no code of the network.
Images are read by the code that `lowlabel predict RUN` uses.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.runs.export import export_format, export_program
from lowlabel_jax.runs.predict.labelling import (
    Guess,
    Part,
    Row,
    batch_size,
    check_topk,
    parts,
    rows,
    sound,
)
from lowlabel_jax.runs.predict.predict_images import Item, Shown, items_of, shown_as

PLATFORMS = {"gpu": "cuda"}  # JAX's default backend -> what jax.export calls it


class Exported:
    """A network that `lowlabel export` has written, ready for images as predict.Run is."""

    def __init__(self, folder: str | os.PathLike[str]):
        """Raises UserError where there is no export, a changed file, or another backend."""
        self.folder = Path(folder)
        self.about = export_format.read(self.folder)
        check_runs_here(self.about)
        if self.about["task"] != "classification":
            raise UserError(
                f"{folder} restores images and knows no labels.",
                "its README.md shows how to run it.",
            )
        self.class_names: tuple[str, ...] = tuple(self.about["labels"])
        data = export_format.checked(self.folder, self.about, "model.stablehlo")
        self._program = export_program.loaded(data)
        self._shown = shown_by(self.about)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self._shown.shape))
        return f"<Exported {self.folder}: {len(self.class_names)} classes, images {shape}>"

    def predict(self, images: Any, topk: int = 3) -> list[Row]:
        """The likeliest classes of each image, as Run.predict."""
        check_topk(topk, "topk=")
        return [row for part in self.parts(items_of(images)) for row in self.rows(part, topk)]

    def probabilities(self, images: Any) -> np.ndarray:
        """float32 [n, k], in the order of class_names. Raises UserError for a file that cannot be
        read.
        """
        found = [sound(part).probs for part in self.parts(items_of(images))]
        return np.concatenate(found) if found else np.zeros((0, len(self.class_names)), np.float32)

    def parts(self, items: Sequence[Item], features: bool = False) -> Iterator[Part]:
        """What is found of images, some at a time."""
        widths = (len(self.class_names), self._feature_size() if features else None)
        size = batch_size(len(items))
        return parts(items, self._shown, self._guess(size, features), size, widths)

    def rows(self, part: Part, topk: int) -> Iterator[Row]:
        """A row for each image of a part."""
        return rows(part, self.class_names, topk)

    def _guess(self, size: int, features: bool) -> Guess:
        """images uint8 [n, h, w, c], n at most size -> (probabilities, features or None).

        Padded to `size`: the program is compiled once for each number of images.
        """

        def guess(images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
            padded = np.concatenate([images, np.repeat(images[:1], size - len(images), axis=0)])
            found = self._program(padded)
            kept = {name: np.asarray(value)[: len(images)] for name, value in found.items()}
            return kept["probabilities"], kept["features"] if features else None

        return guess

    def _feature_size(self) -> int:
        images = jax.ShapeDtypeStruct((1, *self._shown.shape), np.uint8)
        return jax.eval_shape(self._program, images)["features"].shape[-1]


def shown_by(about: Mapping[str, Any]) -> Shown:
    """How images become what the exported network takes."""
    shape = {"image_shape": about["input"]["shape"][1:]}
    return shown_as({"info": shape, "image": about["preprocessing"]})


def check_runs_here(about: Mapping[str, Any]) -> None:
    """Raise UserError where this JAX, or what it computes on, cannot run the program."""
    backend = PLATFORMS.get(jax.default_backend(), jax.default_backend())
    if backend not in about["platforms"]:
        raise UserError(
            f"it was exported for {' and '.join(about['platforms'])}, and JAX computes on "
            f"{backend} here.",
            "JAX_PLATFORMS=cpu before the command takes the CPU.",
        )
    low = export.minimum_supported_calling_convention_version
    high = export.maximum_supported_calling_convention_version
    version = about["calling_convention_version"]
    if not low <= version <= high:
        raise UserError(
            f"it has calling convention {version} of jax.export, and JAX {jax.__version__} reads "
            f"{low} to {high}.",
            f"use JAX {about['jax']}, which wrote it, or export the run again with this one.",
        )
