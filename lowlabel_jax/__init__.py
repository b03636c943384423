"""Few-label image classification: supervised, transfer and semi-supervised training in JAX."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from lowlabel_jax.runs.predict import Run

__version__ = "0.1.0"


def load(run: str | os.PathLike[str]) -> Run:
    """A finished run, ready for images: load("runs/mine").predict(["a.jpg"]).

    Raises UserError where there is no run, or none that has a checkpoint.
    """
    from lowlabel_jax.runs.predict import Run  # JAX is imported here, not with the package

    return Run(run)
