"""Learnt regularisation as a file that can be saved, loaded and shared."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError, nearest

FOLDER = Path(__file__).parent / "presets"
SECTIONS = (
    "augment.strong.",
    "phases.supervised.",
    "optimizer.weight_decay",
    "model.dropout",
)  # what a preset may set


def load(name: str) -> dict[str, Any]:
    """A preset by its name (CIFAR10_SMALL) or file: {"name", "about", "values": {path: value}}.

    Raises UserError where there is none, or where it sets what is no regularisation.
    """
    shipped = {path.stem.upper(): path for path in sorted(FOLDER.glob("*.json"))}
    path = shipped.get(name.upper(), Path(name))
    if not path.exists():
        raise UserError(
            f"there is no preset {name!r}.{nearest(name.upper(), shipped)}",
            f"give a file, as a run's tuning/preset.json, or one of: {', '.join(shipped)}.",
        )
    found = files.read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("values"), dict):
        raise UserError(
            f"{path} is no preset.", 'it needs {"name": …, "values": {setting: value}}.'
        )
    if wrong := [p for p in found["values"] if not p.startswith(SECTIONS)]:
        raise UserError(
            f"the preset {path} sets {wrong[0]!r}.", f"it may set {', '.join(SECTIONS)} alone."
        )
    return {"name": path.stem, "about": "", **found}


def save(path: Path, name: str, about: str, values: Mapping[str, Any]) -> None:
    """Keep settings as a preset."""
    files.write_json(path, {"name": name, "about": about, "values": dict(values)})
