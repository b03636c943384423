"""Whether a file that a command is told to write can be written: known before any work is done."""

import os
from pathlib import Path

from lowlabel_jax.core.errors import UserError


def check(option: str, place: Path | None, suffix: str = "") -> None:
    """Raise UserError where `option place` could not be written in the end, or has another suffix.

    Nothing to check where place is None.
    """
    if place is None:
        return
    if suffix and place.suffix != suffix:
        raise UserError(f"{option} {place} is no {suffix}.", f"{option} {place.stem}{suffix}")
    if os.path.lexists(place) and not place.is_file():
        raise UserError(f"{option} {place} is no file.", "give a file; it is written anew.")
    folder = place.parent
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(
            f"{option} {place} cannot be written: {folder} is no folder to write in.",
            f"{option} {place.name} writes here.",
        )
