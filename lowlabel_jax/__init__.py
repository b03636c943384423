"""Few-label image classification: supervised, transfer and semi-supervised training in JAX.

    import lowlabel_jax as ll

    run = ll.train(ll.config("digits_fixmatch"), "runs/first")
    ll.load(run).predict(["a.png", "b.png"])

Nothing here imports JAX before a function is called. docs/api.md goes through it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from typing import Any

    from lowlabel_jax.configuration.keys import Config
    from lowlabel_jax.runs.api import Trained, What
    from lowlabel_jax.runs.export.exported import Exported
    from lowlabel_jax.runs.predict.predict import Run

__version__ = "0.1.0"
__all__ = ["config", "load", "load_export", "train"]


def config(what: What, overrides: Mapping[str, Any] | None = None) -> Config:
    """A complete config, checked: by name or file, or from sections that stand on the defaults.

    config("digits_fixmatch", {"objective.threshold": 0.9}), config("configs/own_images.py:probe"),
    config({"source": {"name": "folder", "path": "photos"}, "batch.labelled": 8}). A name is looked
    up in the project's configs/, or in that of the folder one stands in.
    Raises UserError that lists all that is wrong.
    """
    from lowlabel_jax.runs import api

    return api.config(what, overrides)


def train(
    config: What,
    workdir: str | os.PathLike[str],
    *,
    command: Sequence[str] = (),
    resume: str = "auto",
    force_resume: bool = False,
    overwrite: bool = False,
    max_seconds: float = 0,
) -> Trained:
    """Train the run of a directory, or go on with it: (directory, numbers), for load to take.

    The options are those of launch.py: resume "auto", "never" or "must"; max_seconds: after so many
    the run is saved and left; 0: no limit. command: what the run's command.sh says; empty: one
    that trains the same. With tune.budget the settings are learnt first.
    Compiled programs are kept in the user's cache directory.
    Raises UserError for what the user can mend, Busy where another process is at it, Diverged, and
    Interrupted after saving.
    """
    from lowlabel_jax.runs import api

    how = {"command": command, "resume": resume, "force_resume": force_resume}
    return api.train(config, workdir, overwrite=overwrite, max_seconds=max_seconds, **how)


def load(run: str | os.PathLike[str]) -> Run:
    """A finished run, ready for images: load("runs/mine").predict(["a.jpg"]).

    Raises UserError where there is no run, or none that has a checkpoint.
    """
    from lowlabel_jax.runs.predict.predict import Run  # JAX is imported here, not with the package

    return Run(run)


def load_export(folder: str | os.PathLike[str]) -> Exported:
    """What `lowlabel export` has written, ready for images: load_export("runs/mine/export").

    Raises UserError where there is no export, or one that was changed or cannot run here.
    """
    from lowlabel_jax.runs.export.exported import Exported

    return Exported(folder)
