"""export.json: what an exported folder says of itself, written, and read again with its digests."""

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowlabel_jax import __version__
from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.images.crops import Fit

ABOUT = "export.json"
FORMAT = 1  # of export.json; a reader refuses a later one
FORMATS = {
    "stablehlo": "model.stablehlo",
    "safetensors": "model.safetensors",
    "onnx": "model.onnx",
}
AGAIN = "lowlabel export RUN --overwrite writes it anew."


def about(network: Any, parity: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    """What export.json says, less its files: labels, input and output, preprocessing, parity.

    network: an export.Network. shown: n and origin of the images behind `parity`.
    """
    from jax import default_backend, export

    config = network.config
    return {
        "format": FORMAT,
        "lowlabel_jax": __version__,
        **{name: importlib.metadata.version(name) for name in ("jax", "jaxlib")},
        "calling_convention_version": export.maximum_supported_calling_convention_version,
        "platforms": ["cpu", "cuda"],
        "task": network.task,
        "labels": list(config["info"]["class_names"]),
        "input": {"dtype": "uint8", "shape": ["b", *network.shape]},
        "preprocessing": {
            **{name: config["image"][name] for name in (*Fit._fields, "max_megapixels")},
            **{"size": network.shape[0], "channels": network.shape[2]},
            "pixels": config["pretrained"]["pixels"] or "uint8 to [-1, 1]",
        },
        "model": config["model"],
        "step": network.step,
        "data_fingerprint": config["data_fingerprint"],
        "parity": {**shown, "backend": default_backend(), "largest_difference": dict(parity)},
    }


def digest(said: Mapping[str, Any]) -> str:
    """The SHA-256 of what export.json says, less this digest itself."""
    rest = {key: value for key, value in said.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read(folder: Path) -> dict[str, Any]:
    """What an exported folder says of itself.

    Raises UserError where there is no export, a later format, or where it was changed.
    """
    place = folder / ABOUT
    if not place.exists():
        raise UserError(
            f"{folder} holds no export: there is no {ABOUT}.", "lowlabel export RUN makes one."
        )
    said = files.read_json(place)
    number = said.get("format") if isinstance(said, dict) else None
    if not isinstance(number, int):
        raise UserError(f"{place} is no {ABOUT} of an export.", AGAIN)
    if number > FORMAT:
        raise UserError(
            f"{place} has format {number}, and this version reads up to {FORMAT}.",
            f"use lowlabel_jax {said.get('lowlabel_jax', '')} or later, which wrote it.",
        )
    if said.get("sha256") != digest(said):
        raise UserError(f"{place} was changed since it was written.", AGAIN)
    return said


def checked(folder: Path, said: Mapping[str, Any], name: str) -> bytes:
    """A file of an export. Raises UserError where it is not there or not what was written."""
    place = folder / name
    if name not in said["files"]:
        raise UserError(
            f"{folder} was exported without {name}.",
            "lowlabel export RUN --format stablehlo,safetensors --overwrite writes it.",
        )
    if not place.is_file():
        raise UserError(f"{place} is missing.", AGAIN)
    data, kept = place.read_bytes(), said["files"][name]
    if hashlib.sha256(data).hexdigest() != kept["sha256"]:
        size = f" ({len(data):,} bytes, written with {kept['bytes']:,})"
        raise UserError(
            f"{place} is not what was exported: its SHA-256 differs"
            f"{size if len(data) != kept['bytes'] else ''}.",
            f"copy it again, or {AGAIN}",
        )
    return data
