"""`lowlabel export`: a finished run as a folder that needs neither the run nor this package.

export.json is written last: it names every file with its SHA-256, and a folder without it is none.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError, nearest
from lowlabel_jax.data import splits
from lowlabel_jax.data.opened import images_of, open_data
from lowlabel_jax.runs import evaluate, places
from lowlabel_jax.runs.export import export_onnx, export_program, export_weights, model_card
from lowlabel_jax.runs.export.export_format import ABOUT, FORMATS, about, digest
from lowlabel_jax.runs.export.export_readme import readme
from lowlabel_jax.training import build, networks

CHECKED = 64  # images on which the written program is compared with the run
TOLERANCE = 1e-5  # of probabilities and of pixels in [0, 1]


class Network(NamedTuple):
    """What of a run is exported."""

    config: dict[str, Any]
    step: int
    task: str  # classification or restoration
    apply: Any
    variables: dict[str, Any]  # averaged; what objectives bring beside the network is left out

    @property
    def shape(self) -> tuple[int, ...]:
        """(h, w, c) of its images."""
        return tuple(self.config["info"]["image_shape"])


def export(
    directory: Path,
    out: Path | None = None,
    formats: Sequence[str] = ("stablehlo", "safetensors"),
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write a run's export into `out` (RUN/export) and return what its export.json says.

    Raises UserError before any work where there is no run, an unknown format, or an export that
    `overwrite` does not allow to replace; and where the written program differs from the run.
    """
    out = out or directory / "export"
    check_formats(formats)
    free(out, overwrite)
    network = network_of(directory)
    images, origin = images_for(network.config, directory)
    made = export_program.program(network.apply, network.task, network.variables)
    wanted = _as_the_run(network, images)
    written, parity = {}, {}
    for name in formats:
        data, found = _written(name, network, made, images)
        parity |= {name: _close(name, wanted, found)} if found else {}
        written[FORMATS[name]] = data
    said = about(network, parity, {"n": len(images), "images": origin})
    written |= {
        "README.md": readme(said, list(written)).encode(),
        "MODEL_CARD.md": model_card.card(directory, network.config, said).encode(),
    }
    return _kept(out, said, written)


def check_formats(formats: Sequence[str]) -> None:
    """Raise UserError for a format that there is not, or for none."""
    for name in formats or [""]:
        if name not in FORMATS:
            raise UserError(
                f"no format called {name!r}.{nearest(name, FORMATS)}",
                f"there are: {', '.join(FORMATS)}. --format stablehlo,safetensors writes two.",
            )
    if "onnx" in formats:
        export_onnx.check()


def free(out: Path, overwrite: bool) -> None:
    """Raise UserError where `out` is no place for an export, or holds one that is to stay."""
    if (out / ABOUT).exists() and not overwrite:
        raise UserError(f"{out} holds an export.", "add --overwrite, or give another --out.")
    places.check("--out", out / ABOUT)
    mine = {ABOUT, "README.md", "MODEL_CARD.md", *FORMATS.values()}
    foreign = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if not (out / ABOUT).exists() and set(foreign) - mine:
        raise UserError(
            f"{out} holds other files (first: {foreign[0]}).", "give a folder of its own."
        )


def network_of(directory: Path) -> Network:
    """The averaged network of a run's newest checkpoint. Raises UserError as evaluate.load."""
    config, state = evaluate.load(directory)
    task = build.last_objective(config).task
    return Network(config, int(state.step), task, state.apply_fn, without_heads(state.ema))


def without_heads(ema: Mapping[str, Any]) -> dict[str, Any]:
    """Averaged variables as numpy arrays, less the layers that objectives bring."""
    own = {name: leaf for name, leaf in ema["params"].items() if name != networks.HEADS}
    return jax.tree.map(np.asarray, {**ema, "params": own})


def images_for(config: Mapping[str, Any], directory: Path) -> tuple[np.ndarray, str]:
    """(uint8 [n, h, w, c], "test" or "random"): test images where the data is at hand."""
    try:
        data = open_data(config)
        if data.fingerprint == config["data_fingerprint"]:
            split = splits.read(evaluate.kept_split(directory), data)
            images, _ = images_of(data, split, "test")
            if len(images):
                return np.asarray(images[:CHECKED]), "test"
    except UserError:
        pass  # the data is elsewhere: any images will do
    shape = (CHECKED, *config["info"]["image_shape"])
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8), "random"


def _as_the_run(network: Network, images: np.ndarray) -> export_program.Outputs:
    """What the run's own network says, through no export."""
    run = jax.jit(lambda v, x: export_program.outputs(network.apply, network.task, v, x))
    return run(network.variables, images)


def _written(
    name: str, network: Network, made: export_program.Program, images: np.ndarray
) -> tuple[bytes, export_program.Outputs | None]:
    """(a file's bytes, what the program in it says of images; None of a file of weights alone)."""
    if name == "safetensors":
        return export_weights.safetensors(network.variables, network.config), None
    if name == "onnx":
        data = export_onnx.onnx(network)
        return data, export_onnx.run(data, images)
    data = bytes(export_program.stablehlo(made, network.shape).serialize())
    return data, export_program.loaded(data)(images)


def _close(name: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, float]:
    """The largest difference of each output. Raises UserError where it is not near the run's."""
    off = export_program.differences(wanted, found)
    worst = max(value for key, value in off.items() if key != "features")
    if not worst <= TOLERANCE:
        raise UserError(
            f"the {name} program differs from the run by {worst:.1e}, over {TOLERANCE:g}; nothing "
            "was written.",
            "this is a bug of the export: report it with the run's config.json.",
        )
    return off


def _kept(out: Path, said: dict[str, Any], written: Mapping[str, bytes]) -> dict[str, Any]:
    """Write all files, export.json last, and remove what an older export had besides."""
    about_file = out / ABOUT
    stale = files.read_json(about_file).get("files", {}) if about_file.exists() else {}
    about_file.unlink(missing_ok=True)
    for name in set(stale) & set(FORMATS.values()) - set(written):
        (out / name).unlink(missing_ok=True)
    for name, data in written.items():
        files.write_bytes(out / name, data)
    listed = {n: {"sha256": files.sha256(out / n), "bytes": len(d)} for n, d in written.items()}
    said = json.loads(json.dumps({**said, "files": listed}))
    said["sha256"] = digest(said)
    files.write_json(about_file, said)
    return said
