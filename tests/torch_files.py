"""PyTorch's zip files (.pth) written without PyTorch, instruction by instruction."""

import struct
import zipfile

import numpy as np

KINDS = {"f8": "Double", "f4": "Float", "f2": "Half", "i8": "Long", "i4": "Int", "i2": "Short"}
KINDS |= {"i1": "Char", "u1": "Byte", "b1": "Bool", "bfloat16": "BFloat16"}


def word(text):
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def number(value):
    return b"J" + struct.pack("<i", value) if -(2**31) <= value < 2**31 else _long(value)


def _long(value):
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def row(*items):
    return b"(" + b"".join(items) + b"t"


def table(pairs):
    """An OrderedDict of (key, instructions that make the value)."""
    made = b"".join(word(key) + value for key, value in pairs)
    return name("collections", "OrderedDict") + b")R(" + made + b"u"


def storage(kind, key, count):
    return row(word("storage"), name("torch", kind), word(key), word("cpu"), number(count)) + b"Q"


def tensor(held, offset, shape, strides):
    """A tensor from the instructions that make its storage; sizes count numbers."""
    shape, strides = (row(*map(number, each)) for each in (shape, strides))
    hooks = name("collections", "OrderedDict") + b")R"
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return rebuild + row(held, number(offset), shape, strides, b"\x89", hooks) + b"R"


def plain(key, array, offset=0):
    """The instructions for an array that begins its own storage `key`."""
    array = np.asarray(array, order="C")
    strides = [by // array.itemsize for by in array.strides]
    kind = KINDS["bfloat16" if array.dtype.name == "bfloat16" else array.dtype.str[1:]]
    return tensor(storage(f"{kind}Storage", key, array.size), offset, array.shape, strides)


def save(path, made, storages, folder="archive", order=b"little"):
    """An archive of instructions that make one value, and of the bytes of storages by key."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{folder}/data.pkl", b"\x80\x02" + made + b".")
        file.writestr(f"{folder}/byteorder", order)
        for key, data in storages.items():
            file.writestr(f"{folder}/data/{key}", data)
        file.writestr(f"{folder}/version", "3\n")
    return path


def save_arrays(path, arrays, **options):
    """A state_dict of arrays, each in a storage of its own."""
    made = table((key, plain(str(i), array)) for i, (key, array) in enumerate(arrays.items()))
    storages = {str(i): np.asarray(a).tobytes() for i, a in enumerate(arrays.values())}
    return save(path, made, storages, **options)
