"""Keras' HDF5 files, whose tensors are named "layer/variable" here: "conv1_bn/moving_mean".

Two kinds: model.save("x.h5") and the save_weights of Keras 1 and 2, where every layer lists the
names of its weights; and Keras 3's x.weights.h5, where variables are only counted, and the layer's
kind says what they are. Before anything is read the whole file is walked: links that lead
elsewhere, objects, and data sets that declare more than the file holds are refused.
"""

import io
import re
from typing import Any

import numpy as np

from lowlabel_jax.core.errors import UserError

NORM = ("gamma", "beta", "moving_mean", "moving_variance")
KINDS = {  # Keras 3: kind of layer -> its variables in the order in which they are counted
    "dense": [("kernel",), ("kernel", "bias")],
    "conv2d": [("kernel",), ("kernel", "bias")],
    "depthwise_conv2d": [("kernel",), ("kernel", "bias")],
    "separable_conv2d": [
        ("depthwise_kernel", "pointwise_kernel"),
        ("depthwise_kernel", "pointwise_kernel", "bias"),
    ],
    "batch_normalization": [NORM[2:], NORM],  # with one of gamma and beta: nobody can tell which
    "layer_normalization": [("gamma", "beta")],
    "normalization": [("mean", "variance", "count")],
}
OLD = {"W": "kernel", "b": "bias"}  # Keras 1, whose VGG files are still handed out
NAMED = 'save it anew with names, in Keras: model.save("x.h5").'
LONGEST = 2**24  # bytes of a list of names
NO_LAYERS = {"optimizer", "metrics", "loss", "seed_generator"}  # groups that are not the network's


def tensors(data: bytes) -> dict[str, np.ndarray]:
    """The tensors of the bytes of an HDF5 file, by "layer/variable". Raises UserError.

    libhdf5 can hang or crash on a broken file: apart.py calls this in a process of its own.
    """
    import h5py

    if not data.startswith(b"\x89HDF\r\n\x1a\n"):
        raise UserError("it is not an HDF5 file.")
    file: Any
    with h5py.File(io.BytesIO(data), "r") as file:
        _check(file, len(data))
        top = file.get("model_weights", file)
        if "layer_names" in top.attrs or "layer_names0" in top.attrs:
            return _listed(top)
        return _counted(file)


def _check(file: Any, held: int) -> None:
    """Walk every link of a file of `held` bytes. Raises UserError for what may not be read."""
    from h5py import Dataset, Group, HardLink, h5o  # type: ignore[attr-defined]

    seen, size, waiting = set(), 0, [file]
    while waiting:
        group = waiting.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), HardLink):
                raise UserError(f"{name!r} in it is a link to somewhere else.")
            one = group[name]
            place = h5o.get_info(one.id).addr
            if place in seen or not isinstance(one, Dataset | Group):
                raise UserError(f"{name!r} in it is there twice, or no array.")
            seen.add(place)
            if isinstance(one, Group):
                waiting.append(one)
            else:
                size += _size(one, name, held)
    if size > held:
        raise UserError(f"its arrays declare {size} bytes, and it has {held} in all.")


def _size(data: Any, name: str, held: int) -> int:
    """The bytes of a data set's numbers. Raises UserError where the file (`held`) has fewer."""
    from h5py import h5d  # type: ignore[attr-defined]

    plan = data.id.get_create_plist()
    if plan.get_layout() == h5d.VIRTUAL or (
        plan.get_layout() == h5d.CONTIGUOUS and plan.get_external_count()
    ):
        raise UserError(f"the numbers of {name!r} lie in another file.")
    if data.dtype.kind not in "fiub":
        raise UserError(f"{name!r} holds {data.dtype}, not plain numbers.")
    if plan.get_nfilters():
        raise UserError(f"{name!r} is packed, which Keras does not do.")
    size = int(np.prod(data.shape, dtype=object)) * data.dtype.itemsize
    if size > min(data.id.get_storage_size(), held):
        raise UserError(f"{name!r} declares {list(data.shape)}, more than the file holds of it.")
    return size


def _listed(top: Any) -> dict[str, np.ndarray]:
    """The tensors of a file whose layers list their weights."""
    found: dict[str, np.ndarray] = {}
    for layer in _words(top, "layer_names"):
        group = _below(top, layer)
        for weight in _words(group, "weight_names"):
            _put(found, _name(layer, weight), _below(group, weight))
    return found


def _name(layer: str, weight: str) -> str:
    """ "layer/variable" for a weight that a layer lists: "conv1/kernel:0", "conv1_1/kernel:0", ..

    A network within the network lists its own layers: "inner/conv/kernel".
    """
    *scopes, variable = re.sub(r":\d+$", "", weight).split("/")
    again = re.fullmatch(rf"{re.escape(layer)}(_\d+)?", "/".join(scopes))
    owner = scopes[-1] if scopes and not again else layer
    if old := re.fullmatch(rf"{re.escape(owner)}_(W|b)(_\d+)?", variable):
        variable = OLD[old[1]]
    return f"{owner}/{variable}"


def _counted(file: Any) -> dict[str, np.ndarray]:
    """The tensors of a file whose layers count their variables."""
    from h5py import Group

    found: dict[str, np.ndarray] = {}
    waiting = [("", file)]
    while waiting:
        place, group = waiting.pop()
        kind = re.sub(r"_\d+$", "", place.rpartition("/")[2])
        if kind in NO_LAYERS:
            continue
        below = {name: one for name, one in group.items() if isinstance(one, Group)}
        variables = below.pop("vars", {})
        for number, variable in enumerate(_variables(kind, place, len(variables))):
            layer = _layer(variables, place)
            _put(found, f"{layer}/{variable}", _below(variables, str(number)))
        waiting += [(f"{place}/{name}", one) for name, one in below.items()]
    return found


def _variables(kind: str, place: str, count: int) -> tuple[str, ...]:
    """What the variables of a layer of this kind are called, of which there are `count`."""
    for names in [(), *KINDS.get(kind, [])]:
        if len(names) == count:
            return names
    raise UserError(f"{place} in it has {count} variables without names.", NAMED)


def _layer(variables: Any, place: str) -> str:
    """The name of the layer that these variables belong to."""
    name = variables.attrs.get("name")
    if not isinstance(name, str) or not name:
        raise UserError(f"{place} in it does not say what its layer is called.", NAMED)
    return name


def _words(group: Any, key: str) -> list[str]:
    """A list of words in a group's attribute, or in several (key0, key1, ..) where it is long."""
    keys = [key] if key in group.attrs else []
    while f"{key}{len(keys)}" in group.attrs:
        keys.append(f"{key}{len(keys)}")
    words = []
    for one in keys:
        attribute = group.attrs.get_id(one)
        if int(np.prod(attribute.shape, dtype=object)) * attribute.dtype.itemsize > LONGEST:
            raise UserError(f"its attribute {one} is longer than {LONGEST} bytes.")
        words += [word.decode() if isinstance(word, bytes) else word for word in group.attrs[one]]
    return words


def _below(group: Any, name: str) -> Any:
    """What a group holds by a name from the file."""
    if name.startswith("/") or name not in group:
        raise UserError(f"it lists {name!r}, which is not there.")
    return group[name]


def _put(found: dict[str, np.ndarray], name: str, data: Any) -> None:
    """Read a data set. Raises UserError where another one has its name, or it is none."""
    from h5py import Dataset

    if name in found or not isinstance(data, Dataset):
        raise UserError(f"two of its tensors are called {name}, or it is none.")
    found[name] = np.asarray(data[()])
