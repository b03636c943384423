"""Weight files into arrays, safely: what a file declares is compared before anything is allocated,
and nothing that a file names is ever run.

A file is read once, whole: its SHA-256 is that of the very bytes that the arrays were made of.
What is odd is refused in one line; a file is never half read.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.pretrained import apart, pth, zips
from lowlabel_jax.pretrained.zips import Held

GIB = 2**30
MOST_GIB = 4.0  # the largest network of the catalogue has a third of one
CONVERT = {  # suffix -> what to type where a file is not one that is read here
    ".keras": 'keras.models.load_model("x.keras").save_weights("x.weights.h5")',
    ".pkl": 'safetensors.torch.save_file(state_dict, "x.safetensors") where the file was made',
    ".ckpt": 'safetensors.torch.save_file(state_dict, "x.safetensors") where the file was made',
}


class Weights(NamedTuple):
    """What a weight file holds."""

    tensors: dict[str, np.ndarray]  # by the file's own names; read-only where they share memory
    sha256: str  # of the file, in hex
    metadata: dict[str, str]  # what the file says of itself
    notes: tuple[str, ...] = ()  # what was unwrapped or turned on the way, for the reader


def read(path: str | Path, most_gib: float = MOST_GIB) -> Weights:
    """The tensors of a .safetensors, .npz, .h5 or .pth file, bfloat16 and quantised as float32.

    most_gib: a file that is larger, or declares more, is refused. Raises UserError, one line that
    names the file, for whatever is not as it should be.
    """
    path, most = Path(path), int(most_gib * GIB)
    reads, data = reader(path), _bytes(path, most)
    try:
        held = _without_wrapping(_dequantised(reads(data, most)))
    except UserError as error:
        raise UserError(f"{path}: {error.message}", error.hint) from None
    except Exception as error:  # a broken file can raise anything in the library that reads it
        raise UserError(
            f"{path} is not a whole {path.suffix} file ({_one_line(error)}).",
            "was the download cut short? Compare its size and SHA-256 with what its source says.",
        ) from None
    return Weights(held.tensors, hashlib.sha256(data).hexdigest(), held.metadata, held.notes)


def sha256(path: str | Path) -> str:
    """The SHA-256 of a weight file, in hex. Raises UserError where there is no such file."""
    _check_there(Path(path))
    return files.sha256(Path(path))


def describe(path: str | Path) -> str:
    """One line about a weight file: format, tensors, numbers in them, size, digest."""
    path = Path(path)
    weights = read(path)
    numbers = sum(tensor.size for tensor in weights.tensors.values())
    size = path.stat().st_size / 2**20
    return (
        f"{path.name}: {path.suffix}, {len(weights.tensors)} tensors, {numbers / 1e6:.2f} M "
        f"numbers, {size:.1f} MiB, sha256 {weights.sha256[:12]}"
    )


def reader(path: Path) -> Callable[[bytes, int], Held]:
    """What reads files of this suffix. Raises UserError where nothing does."""
    readers = {".safetensors": _safetensors, ".npz": zips.npz, ".h5": apart.keras}
    readers |= dict.fromkeys((".pth", ".pt", ".th", ".bin"), pth.tensors)
    if path.suffix in readers:
        return readers[path.suffix]
    there = ", ".join(readers)
    way = CONVERT.get(path.suffix)
    raise UserError(
        f"{path}: files {path.suffix or 'without a suffix'} are not read as weights, only {there}.",
        f"convert it: {way}." if way else "is it the file you think?",
    )


def _check_there(path: Path) -> None:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise UserError(f"the weight file {path} {what}.", "give the path of one file.")


def _bytes(path: Path, most: int) -> bytes:
    """The whole file. Raises UserError where it is missing or larger than `most` bytes."""
    _check_there(path)
    size = path.stat().st_size
    if size > most:
        raise UserError(f"{path} has {size / GIB:.1f} GiB, more than {most / GIB:g} GiB.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None


def _safetensors(data: bytes, most: int) -> Held:
    """A .safetensors file; the library checks offsets, shapes and sizes against the bytes."""
    import ml_dtypes
    import safetensors

    names = {"BF16": ml_dtypes.bfloat16, "BOOL": np.bool_}
    names |= {f"F{8 * n}": f"<f{n}" for n in (2, 4, 8)}
    names |= {f"{k.upper()}{8 * n}": f"<{k}{n}" for k in "iu" for n in (1, 2, 4, 8)}
    length = int.from_bytes(data[:8], "little")
    if length > len(data) - 8:
        raise UserError(f"its header declares {length} bytes, more than the file has.")
    found = safetensors.deserialize(data)
    header = json.loads(data[8 : 8 + length], object_pairs_hook=_once)
    tensors = {}
    for name, entry in found:
        if entry["dtype"] not in names:
            raise UserError(f"{name} has the type {entry['dtype']}, which is not read.")
        array = np.frombuffer(entry["data"], names[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = array.astype(np.float32) if entry["dtype"] == "BF16" else array
    return Held(tensors, header.get("__metadata__", {}), ())


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object whose names are all different. Raises UserError for the first that is not."""
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise UserError(f"its header names {name!r} twice.")
        found[name] = value
    return found


def _dequantised(held: Held) -> Held:
    """uint8 tensors with (scale, minimum) in the metadata's `quant` as float32."""
    tensors, metadata, notes = held
    if "quant" not in metadata:
        return Held(tensors, metadata, notes)
    scales: dict[str, list[float]] = json.loads(metadata["quant"])
    turned = dict(tensors)
    for name, (scale, least) in scales.items():
        if name not in tensors or tensors[name].dtype != np.uint8:
            raise UserError(
                f"its metadata say how to turn {name}, which it does not hold as uint8."
            )
        if not (math.isfinite(scale) and math.isfinite(least)):
            raise UserError(f"{name} is quantised with ({scale}, {least}), not finite numbers.")
        turned[name] = tensors[name].astype(np.float32) * np.float32(scale) + np.float32(least)
    rest = {key: value for key, value in metadata.items() if key != "quant"}
    return Held(turned, rest, (*notes, f"{len(scales)} tensors turned from 8 bits to float32"))


def _without_wrapping(held: Held) -> Held:
    """Names without what PyTorch's DataParallel and compile put before all of them."""
    tensors, notes = held.tensors, held.notes
    for prefix in ("module.", "_orig_mod."):
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): array for name, array in tensors.items()}
            notes = (*notes, f"{prefix!r} taken off all names")
    if not tensors:
        raise UserError("it holds no tensors.")
    return Held(tensors, held.metadata, notes)


def _one_line(error: Exception) -> str:
    """What an error says, without line breaks and of bearable length."""
    text = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
    return text if len(text) < 160 else f"{text[:157]}…"
