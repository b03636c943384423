"""Zip archives of arrays: numpy's .npz, and what .pth shares with it; none is unpacked to disk."""

import io
import math
import zipfile
from typing import NamedTuple

import numpy as np

from lowlabel_jax.core.errors import UserError

DEFLATE = 1040  # a byte that is packed becomes no more than 1032
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Held(NamedTuple):
    """What a file of any format holds, whichever reads it."""

    tensors: dict[str, np.ndarray]  # by the file's own names; read-only where they share memory
    metadata: dict[str, str]  # what the file says of itself
    notes: tuple[str, ...]  # what was unwrapped or left out, for the reader


def npz(data: bytes, most: int) -> Held:
    """The arrays of an .npz file by name. Raises UserError for arrays of Python objects."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        found = members(file, data, most)
        tensors = {}
        for name in found:
            if not name.endswith(".npy"):
                raise UserError(f"it holds {name!r}, which is no array.")
            tensors[name.removesuffix(".npy")] = _npy(file.read(name), name)
    return Held(tensors, {}, ())


def members(file: zipfile.ZipFile, data: bytes, most: int) -> dict[str, zipfile.ZipInfo]:
    """What an archive, whose bytes are `data`, holds by name, before any of it is unpacked.

    Raises UserError for a name that comes twice, another packing than numpy's and PyTorch's, a
    password, or sizes that the archive cannot hold or that come to more than `most` bytes.
    """
    end = data.rfind(b"PK\x05\x06")  # the end of its list says how long that is; zipfile ignores it
    if int.from_bytes(data[end + 10 : end + 12], "little") != len(file.infolist()) % 2**16:
        raise UserError("its list of members is broken.")
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in file.infolist():
        if entry.filename in found:
            raise UserError(f"it holds {entry.filename!r} twice.")
        if entry.compress_type not in PACKINGS or entry.flag_bits & 1:
            raise UserError(f"{entry.filename!r} is packed in another way, or locked.")
        if entry.file_size > entry.compress_size * DEFLATE:
            raise UserError(f"{entry.filename!r} declares more bytes than it can hold.")
        found[entry.filename] = entry
    size = sum(entry.file_size for entry in found.values())
    if size > len(data) * DEFLATE or size > most:
        raise UserError(f"it declares {size} bytes, more than it can hold or than {most} allowed.")
    return found


def _npy(data: bytes, name: str) -> np.ndarray:
    """The array of one .npy member, whose header is compared with the bytes there are."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):  # what numpy writes for plain arrays
        raise UserError(f"{name}: version {version} of the .npy format is not read.")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject or dtype.kind not in "fiub":
        raise UserError(f"{name} holds {dtype}, not plain numbers.", "save arrays of numbers.")
    there = len(data) - stream.tell()
    if math.prod(shape) * dtype.itemsize != there:
        raise UserError(f"{name} declares {dtype} {list(shape)} but has {there} bytes.")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)
