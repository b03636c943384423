"""The command `lowlabel export`."""

import argparse
from collections.abc import Callable
from pathlib import Path

from lowlabel_jax.core import log


def add_to(command: Callable) -> None:
    """Make the command line of `lowlabel export`."""
    add = command(export).add_argument
    add("run_directory", metavar="RUN", type=Path)
    add("--out", type=Path, metavar="DIR", help="where it goes (RUN/export)")
    add(
        "--format",
        default="stablehlo,safetensors",
        metavar="LIST",
        help="of stablehlo, safetensors, onnx; with commas (stablehlo,safetensors)",
    )
    add("--overwrite", action="store_true", help="replace an export that is there")


def export(options: argparse.Namespace) -> int:
    """Write a finished run as files that need neither the run nor this package."""
    from lowlabel_jax import start

    start.jax_ready()
    from lowlabel_jax.runs.export import export as run_export

    out = options.out or options.run_directory / "export"
    formats = [name.strip() for name in options.format.split(",")]
    said = run_export.export(options.run_directory, out, formats, options.overwrite)
    log.say(page(said, out))
    return 0


def page(said: dict, out: Path) -> str:
    """What was written, how near it is to the run, how it is used."""
    lines = [
        f"{out / name}  {kept['bytes']:,} bytes  SHA-256 {kept['sha256'][:12]}…"
        for name, kept in said["files"].items()
    ]
    n, origin = said["parity"]["n"], said["parity"]["images"]
    for name, off in said["parity"]["largest_difference"].items():
        worst = ", ".join(f"{value:.1e} of {key}" for key, value in off.items())
        lines.append(f"{name}: differs from the run by at most {worst}, over {n} {origin} images")
    if "model.stablehlo" in said["files"] and said["task"] == "classification":
        lines.append("next: " + log.typed(f"lowlabel predict --exported {out} IMAGES"))
    return "\n".join(lines)
