"""Bottleneck features: what a backbone says of each image, computed once and kept on disk.

They lie in the user's cache directory, features/FINGERPRINT/SET.npy, and can be deleted at any
time. The fingerprint changes with the backbone's weights, the network, the pixels it is shown, and
with any image, label or crop; another seed or method with the same ones finds them there.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import track

from lowlabel_jax.augment.views import normalise
from lowlabel_jax.core import files, log, parallel, tree, units
from lowlabel_jax.data.source import Source
from lowlabel_jax.ops.compiling import compile_options
from lowlabel_jax.ops.initialise import feature_size
from lowlabel_jax.state import TrainState
from lowlabel_jax.training import networks

Extract = Callable[[np.ndarray], np.ndarray]  # uint8 [m, h, w, c] -> float32 [m, f]


def features_of(config: Mapping[str, Any], source: Source, state: TrainState) -> Source:
    """The source with features float32 [f] for images, by the state's weights less the head.

    Every image is in its fixed crop, as in evaluation, and is computed when it is first asked for.
    """
    model = networks.network(config)
    size = feature_size(model, source.image_shape)
    found = fingerprint(config, source, state)
    folder = files.cache_directory() / "features" / found
    tables: dict[str, np.memmap] = {}
    made: list[Extract] = []

    def read(name: str, indices: np.ndarray) -> np.ndarray:
        if name not in tables:
            tables[name] = table(folder / f"{name}.npy", len(source.labels[name]), size)
        rows = tables[name]
        missing = np.unique(indices[rows[indices, size] == 0])
        if len(missing):
            made[:] = made or [extractor(config, model, state)]
            _fill(rows, missing, lambda part: source.read(name, part), made[0], config)
        return np.asarray(rows[indices, :size])

    def keep(name: str) -> None:
        read(name, np.arange(len(source.labels[name])))

    return source._replace(
        image_shape=(size,), dtype="float32", read=read, fingerprint=found, draw=None, keep=keep
    )


def fingerprint(config: Mapping[str, Any], source: Source, state: TrainState) -> str:
    """SHA-256 over all that features depend on."""
    backbone = {k: v for k, v in state.params.items() if k not in ("head", networks.HEADS)}
    said = [config["model"], config["pretrained"]["pixels"], source.fingerprint]
    digest = hashlib.sha256(json.dumps([*said, jax.default_backend()]).encode())
    for name, leaf in tree.named_leaves([backbone, state.batch_stats]).items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def table(path: Path, n: int, size: int) -> np.memmap:
    """float32 [n, size + 1] on disk: features, and 1 in the last column of those that are there.

    Several processes may fill it at once: what they write is the same.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(f"{path}.{os.getpid()}.tmp")
        np.lib.format.open_memmap(temporary, "w+", np.float32, (n, size + 1)).flush()
        try:
            os.link(temporary, path)  # never over another process' table, as a rename would be
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return np.load(path, mmap_mode="r+", allow_pickle=False)


def extractor(config: Mapping[str, Any], model: Any, state: TrainState) -> Extract:
    """The backbone as a function of images, compiled for one batch size, on the run's devices."""
    devices = parallel.device_count(config["devices"])
    size = batch_size(config, devices)
    apply = networks.whole(config, model)

    def forward(variables: Any, batch: Any) -> Any:
        return apply(variables, normalise(batch["image"]), train=False)[1]["features"]

    options = compile_options(jax.default_backend())
    mapped = parallel.mapped(forward, devices, sharded_out=True, options=options)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    variables = parallel.replicate(variables, devices)

    def extract(images: np.ndarray) -> np.ndarray:
        batch = parallel.shard_filled({"image": images}, size, devices)
        found = parallel.rows(mapped(variables, batch), len(images))
        return found.reshape(len(images), -1).astype(np.float32)

    return extract


def batch_size(config: Mapping[str, Any], devices: int) -> int:
    """Images a step of evaluation and of features: as configured, rounded up for the devices."""
    return -(-config["batch"]["evaluation"] // devices) * devices


def _fill(
    rows: np.memmap, missing: np.ndarray, read: Callable, extract: Extract, config: Any
) -> None:
    """Compute the features of these images into their rows, a mark behind each that is whole."""
    block = batch_size(config, parallel.device_count(config["devices"]))
    starts, began = range(0, len(missing), block), time.monotonic()
    quiet = not Console().is_terminal
    for start in track(starts, "features", transient=True, disable=quiet):
        part = missing[start : start + block]
        rows[part, :-1] = extract(read(part))
        rows.flush()  # the mark is on the disk after what it vouches for
        rows[part, -1] = 1
    rows.flush()
    spent = time.monotonic() - began
    log.say(
        f"features of {len(missing):,} images in {units.duration(spent)} "
        f"({len(missing) / spent:.0f} images/s), kept for the next run"
    )
