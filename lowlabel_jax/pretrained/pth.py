"""PyTorch's .pth files (the zip format, since PyTorch 1.6) without PyTorch; see unpickling.py.

What the pickle in them says of a tensor is compared with the bytes of its storage before any array
is made, so nothing is allocated that the file does not hold.
"""

import io
import math
import zipfile
from typing import Any

import numpy as np

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.pretrained import zips
from lowlabel_jax.pretrained.unpickling import CONVERT, Storage, Tensor, unpickle

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # keys below which weights may lie
DEEPEST = 2  # so many of them, one below the other


def tensors(data: bytes, most: int) -> zips.Held:
    """The tensors of the bytes of a .pth file, and what was unwrapped.

    The archive, and the tensors, come to at most `most` bytes. Raises UserError.
    """
    if not data.startswith(b"PK\x03\x04"):
        raise UserError("it is not the zip file that PyTorch 1.6 and later write.", CONVERT)
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = zips.members(file, data, most)
        folder = _folder(members)
        if f"{folder}byteorder" in members and file.read(f"{folder}byteorder") != b"little":
            raise UserError("its numbers are not in little-endian order.", CONVERT)
        state, notes = _state(unpickle(file.read(f"{folder}data.pkl")))
        stored = {
            storage: _bytes(file, members, f"{folder}data/{storage.key}", storage)
            for storage in dict.fromkeys(tensor.storage for tensor in state.values())
        }
    made = {name: _array(name, tensor, stored) for name, tensor in state.items()}
    if (size := sum(array.nbytes for array in made.values())) > most:
        raise UserError(f"its tensors come to {size} bytes, more than the {most} allowed.")
    return zips.Held(made, {}, notes)


def _folder(members: dict[str, zipfile.ZipInfo]) -> str:
    """What comes before data.pkl in the archive: "archive/"."""
    found = [name for name in members if name.endswith("/data.pkl")]
    if len(found) != 1:
        raise UserError("it is a zip file, but not one that torch.save wrote.")
    return found[0].removesuffix("data.pkl")


def _state(value: Any) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """(the tensors of a state_dict by name, where it lay and what was left out)."""
    notes = []
    for _ in range(DEEPEST):
        if isinstance(value, dict) and (key := _wrapper(value)):
            value = value[key]
            notes.append(f"the weights lay below {key!r}")
    if not isinstance(value, dict):
        raise UserError("it holds no state_dict, a dict of tensors.", CONVERT)
    found = {str(key): one for key, one in value.items() if isinstance(one, Tensor)}
    if not found:
        shown = ", ".join(map(str, list(value)[:6]))
        raise UserError(f"it holds no tensors by name, but: {shown or 'nothing'}.", CONVERT)
    if rest := [str(key) for key in value if str(key) not in found]:
        notes.append(f"{len(rest)} entries that are no tensors left out: {', '.join(rest[:3])}")
    return found, tuple(notes)


def _wrapper(value: dict) -> str:
    """The key below which the weights lie, or "" where they lie here."""
    if any(isinstance(one, Tensor) for one in value.values()):
        return ""
    return next((key for key in WRAPPERS if isinstance(value.get(key), dict)), "")


def _bytes(
    file: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], name: str, storage: Storage
) -> np.ndarray:
    """A storage's numbers [count]. Raises UserError where its member has another size."""
    import ml_dtypes

    dtype = np.dtype(ml_dtypes.bfloat16 if storage.dtype == "bfloat16" else storage.dtype)
    there = members[name].file_size if name in members else 0
    if there != storage.count * dtype.itemsize:
        raise UserError(
            f"storage {storage.key!r} declares {storage.count} numbers of {dtype.itemsize} bytes, "
            f"but has {there} bytes."
        )
    return np.frombuffer(file.read(name), dtype)


def _array(name: str, tensor: Tensor, stored: dict[Storage, np.ndarray]) -> np.ndarray:
    """The window of a tensor onto its storage, read-only; bfloat16 as float32.

    Raises UserError where it reaches out of the storage or holds more numbers than that.
    """
    _, offset, shape, strides = tensor
    numbers = stored[tensor.storage]
    whole = isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides)
    if not whole or any(type(n) is not int or n < 0 for n in (offset, *shape, *strides)):
        raise UserError(f"{name} has the shape {shape!r}, strides {strides!r}, offset {offset!r}.")
    last = offset + sum((n - 1) * by for n, by in zip(shape, strides, strict=True))
    count = math.prod(shape)
    if count > len(numbers) or (count and last >= len(numbers)):
        raise UserError(
            f"{name}, {list(shape)} by {list(strides)} from {offset}, reaches beyond its storage "
            f"of {len(numbers)} numbers."
        )
    steps = [by * numbers.itemsize for by in strides]
    window = np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps, writeable=False)
    return window.astype(np.float32) if tensor.storage.dtype == "bfloat16" else window
