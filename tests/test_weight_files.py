"""Weight files: what was saved is what is read, and nothing that a file says is run or believed."""

import io
import json
import os
import pickle
import random
import struct
import tracemalloc
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from lowlabel_jax.core import named
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.pretrained import catalogue, pixels, reading
from tests import torch_files as torch

ROOT = Path(__file__).parent.parent
REAL = Path(os.environ.get("LOWLABEL_TEST_DATA", ROOT.parent / "shared" / "data")) / "weights"


def some_arrays():
    """Arrays of every kind that weight files hold, by name."""
    rng = np.random.default_rng(0)
    return {
        "conv.weight": rng.normal(size=(4, 3, 2, 2)).astype(np.float32),
        "half": rng.normal(size=5).astype(np.float16),
        "double": rng.normal(size=(1, 2)),
        "steps": np.array(7),
        "mask": np.array([True, False]),
        "bytes": np.arange(3, dtype=np.uint8),
        "none": np.zeros((0, 3), np.float32),
    }


def same(found, wanted):
    """Whether two dicts of arrays have the same names, types, shapes and numbers."""
    return set(found) == set(wanted) and all(
        found[k].dtype == v.dtype and found[k].shape == v.shape and (found[k] == v).all()
        for k, v in wanted.items()
    )


def written(path, arrays=None):
    """A file of arrays in the format of its suffix."""
    arrays = some_arrays() if arrays is None else arrays
    if path.suffix == ".safetensors":
        safetensors.numpy.save_file(arrays, path)
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        torch.save_arrays(path, arrays)
    return path


def refused(path, *words):
    """The one line with which a file is refused; it names the file and says these words."""
    with pytest.raises(UserError) as caught:
        reading.read(path)
    message = caught.value.message
    assert "\n" not in message and str(path) in message and len(message) < 400, message
    for said in words:
        assert said in message + caught.value.hint, message
    return message


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth", ".pt"])
def test_what_was_saved_is_read(tmp_path, suffix):
    path = written(tmp_path / f"a{suffix}")
    weights = reading.read(path)
    assert same(weights.tensors, some_arrays()) and weights.notes == ()
    assert weights.sha256 == reading.sha256(path)
    said = reading.describe(path)
    assert f"a{suffix}: {suffix}, 7 tensors, 0.00 M numbers" in said
    assert weights.sha256[:12] in said and "\n" not in said


def test_bfloat16_becomes_float32(tmp_path):
    numbers = np.array([[1.5, -2.0], [0.0078125, 3e38]], ml_dtypes.bfloat16)
    for suffix in (".safetensors", ".pth"):
        found = reading.read(written(tmp_path / f"a{suffix}", {"x": numbers})).tensors["x"]
        assert found.dtype == np.float32 and (found == numbers.astype(np.float32)).all()


def test_what_a_file_says_of_itself_is_kept(tmp_path):
    safetensors.numpy.save_file({"x": np.ones(2)}, tmp_path / "a.safetensors", {"source": "me"})
    assert reading.read(tmp_path / "a.safetensors").metadata == {"source": "me"}


def test_eight_bit_weights_are_turned_into_float32(tmp_path):
    path = tmp_path / "a.safetensors"
    arrays = {"x": np.array([0, 255], np.uint8), "raw": np.array([3], np.uint8)}
    safetensors.numpy.save_file(arrays, path, {"quant": json.dumps({"x": [0.5, -1.0]})})
    weights = reading.read(path)
    assert same(weights.tensors, {"x": np.float32([-1, 126.5]), "raw": arrays["raw"]})
    assert weights.metadata == {} and "1 tensors turned from 8 bits" in weights.notes[0]
    safetensors.numpy.save_file(arrays, path, {"quant": '{"x": [1e999, 0]}'})
    refused(path, "x is quantised with (inf, 0)")
    safetensors.numpy.save_file(arrays, path, {"quant": '{"y": [1, 0]}'})
    refused(path, "how to turn y, which it does not hold")
    floats = {"x": np.ones(2, np.float32)}
    safetensors.numpy.save_file(floats, path, {"quant": '{"x": [1, 0]}'})
    refused(path, "how to turn x, which it does not hold")
    safetensors.numpy.save_file(arrays, path, {"quant": "[1]"})
    refused(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_prefixes_of_all_names_are_taken_off(tmp_path, suffix, prefix):
    wanted = some_arrays()
    wrapped = {prefix + name: array for name, array in wanted.items()}
    weights = reading.read(written(tmp_path / f"a{suffix}", wrapped))
    assert same(weights.tensors, wanted) and prefix in weights.notes[0]
    mixed = reading.read(written(tmp_path / f"b{suffix}", {**wrapped, "other": np.ones(1)}))
    assert set(mixed.tensors) == {*wrapped, "other"}


def test_other_suffixes_are_refused_with_a_way_out(tmp_path):
    for name, way in [
        ("a.keras", "save_weights"), ("a.pkl", "safetensors.torch"), ("a.ckpt", "save_file"),
        ("a", "the file you think"), ("a.onnx", "the file you think"),
    ]:  # fmt: skip
        (tmp_path / name).write_bytes(b"x")
        refused(tmp_path / name, ".safetensors, .npz, .h5", way)


def test_missing_files_folders_and_large_files_are_refused(tmp_path):
    refused(tmp_path / "a.npz", "is not there")
    (tmp_path / "b.npz").mkdir()
    refused(tmp_path / "b.npz", "is a folder")
    with pytest.raises(UserError, match="is not there"):
        reading.sha256(tmp_path / "a.npz")
    path = tmp_path / "large.safetensors"
    with open(path, "wb") as file:
        file.truncate(5 * 2**30)  # takes no room on the disk
    tracemalloc.start()
    refused(path, "5.0 GiB, more than 4 GiB")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
def test_a_file_without_tensors_is_refused(tmp_path, suffix):
    refused(written(tmp_path / f"a{suffix}", {}), "no tensors")


def header(path, entries, data=b"", length=None):
    """A .safetensors file by hand."""
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(shape, start, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_safetensors_that_lie_are_refused(tmp_path):
    path, data = tmp_path / "a.safetensors", bytes(16)
    good = {"x": entry([4], 0, 16)}
    assert set(reading.read(header(path, good, data)).tensors) == {"x"}
    tracemalloc.start()
    refused(header(path, good, data, length=2**62), "header declares")
    refused(header(path, {"x": entry([2**40], 0, 2**42)}, data))
    refused(header(path, {"x": entry([2**32, 2**32], 0, 0)}, data))
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    refused(header(path, {"x": entry([4], 0, 16), "y": entry([2], 8, 16)}, data))
    refused(header(path, {"x": entry([3], 0, 16)}, data))
    refused(header(path, {"x": entry([4], -4, 12)}, data))
    refused(header(path, {"x": entry([2, 8], 0, 16, "F8_E4M3")}, data), "x has the type F8_E4M3")
    refused(header(path, good, data[:9]))
    refused(header(path, good, data + b"more"))
    refused(header(path, b"[" * 10**5, data))
    path.write_bytes(b"")
    refused(path, "header declares")
    one = json.dumps(good)[1:-1]
    refused(header(path, f"{{{one}, {one}}}".encode(), data), "'x' twice")


def test_npz_files_that_lie_are_refused(tmp_path):
    path = tmp_path / "a.npz"

    def one(name, data, **options):
        with zipfile.ZipFile(path, "w", **options) as file:
            file.writestr(name, data)
        return path

    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ones(4, np.float32))
    good = stream.getvalue()
    assert same(reading.read(one("x.npy", good)).tensors, {"x": np.ones(4, np.float32)})
    assert same(
        reading.read(one("x.npy", good, compression=zipfile.ZIP_DEFLATED)).tensors,
        {"x": np.ones(4, np.float32)},
    )
    tracemalloc.start()
    large = good.replace(b"(4,), }", b"(%d,)}" % 10**12)
    refused(one("x.npy", large), "x.npy declares float32 [1000000000000]")
    assert tracemalloc.get_traced_memory()[1] < 2**21
    tracemalloc.stop()
    refused(one("x.npy", good[:-4]), "declares")
    refused(one("x.npy", good, compression=zipfile.ZIP_LZMA), "packed in another way")
    refused(one("x.txt", good), "'x.txt', which is no array")
    refused(one("x.npy", good.replace(b"NUMPY\x01", b"NUMPY\x03")), "version (3, 0)")
    np.savez(path, x=np.array(["words"]))
    refused(path, "not plain numbers")
    with zipfile.ZipFile(path, "w") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("x.npy", good)
        file.writestr("x.npy", good)
    refused(path, "'x.npy' twice")


def test_zip_bombs_are_refused_before_they_are_unpacked(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", bytes(2**23))
    whole = path.read_bytes()
    central = whole.index(b"PK\x01\x02")
    more = struct.pack("<I", 2**31)  # said of what unpacks to less
    path.write_bytes(whole[: central + 24] + more + whole[central + 28 :])
    tracemalloc.start()
    refused(path, "declares more bytes than it can hold")
    path.write_bytes(whole)
    with pytest.raises(UserError, match="more than it can hold or than 1048576 allowed"):
        reading.read(path, most_gib=1 / 1024)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_an_archive_whose_list_was_cut_is_refused(tmp_path):
    path = written(tmp_path / "a.npz")
    data = bytearray(path.read_bytes())
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    last = data.rindex(b"PK\x05\x06")
    first = data.index(b"PK\x01\x02")
    data[first + 30 : first + 32] = struct.pack("<H", last - second)  # the rest as "extra"
    path.write_bytes(data)
    refused(path)


def state(arrays, offset=0):
    """Instructions for a state_dict of arrays, and their storages."""
    made = torch.table(
        (k, torch.plain(str(i), a, offset)) for i, (k, a) in enumerate(arrays.items())
    )
    return made, {str(i): np.asarray(a).tobytes() for i, a in enumerate(arrays.values())}


def test_weights_below_a_key_are_found_and_said(tmp_path):
    arrays = some_arrays()
    made, storages = state({f"module.{k}": v for k, v in arrays.items()})
    for key in ("state_dict", "model_state_dict", "model", "net"):
        whole = torch.table([("epoch", torch.number(3)), (key, made), ("best", b"N")])
        weights = reading.read(torch.save(tmp_path / "a.pth", whole, storages))
        assert same(weights.tensors, arrays)
        assert key in weights.notes[0] and "module." in weights.notes[1]
    twice = torch.table([("model", torch.table([("state_dict", made)]))])
    assert same(reading.read(torch.save(tmp_path / "a.pth", twice, storages)).tensors, arrays)
    unknown = torch.table([("teacher", made)])
    refused(torch.save(tmp_path / "a.pth", unknown, storages), "no tensors by name, but: teacher")


def test_entries_that_are_no_tensors_are_left_out_and_said(tmp_path):
    made, storages = state({"x": np.ones(2, np.float32)})
    more = made[:-1] + torch.word("epoch") + torch.number(3) + b"u"
    weights = reading.read(torch.save(tmp_path / "a.pth", more, storages))
    assert set(weights.tensors) == {"x"} and "1 entries" in weights.notes[0]
    assert "epoch" in weights.notes[0]


def test_parameters_sizes_and_attributes_are_understood(tmp_path):
    held = torch.storage("FloatStorage", "0", 24)
    window = torch.tensor(held, 3, (2, 3), (12, 2))
    parameter = torch.name("torch._utils", "_rebuild_parameter") + torch.row(window, b"\x88") + b"R"
    kept = b"q\x05" + b"0"  # memory, and POP, which no state_dict needs
    sizes = torch.name("torch", "Size") + torch.row(b"]" + torch.number(2) + b"a") + b"R"
    built = torch.table([("w", parameter), ("size", sizes)]) + torch.table([]) + b"b"
    numbers = np.arange(24, dtype=np.float32)
    weights = reading.read(torch.save(tmp_path / "a.pth", built, {"0": numbers.tobytes()}))
    assert same(weights.tensors, {"w": numbers.reshape(2, 12)[:, 3:9:2]})
    refused(torch.save(tmp_path / "a.pth", built + kept, {}), "uses POP")


def test_tied_tensors_share_their_memory(tmp_path):
    held = torch.storage("FloatStorage", "0", 2**16)
    made = torch.tensor(held, 0, (2**16,), (1,))
    whole = torch.table((str(i), made) for i in range(200))
    path = torch.save(tmp_path / "a.pth", whole, {"0": bytes(2**18)})
    tracemalloc.start()
    tensors = reading.read(path).tensors
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    assert len(tensors) == 200 and np.shares_memory(tensors["3"], tensors["199"])
    with pytest.raises(UserError, match="its tensors come to 52428800 bytes"):
        reading.read(path, most_gib=2**-6)


@pytest.mark.parametrize(
    "offset, shape, strides",
    [
        (0, (5,), (1,)), (1, (4,), (1,)), (-1, (2,), (1,)), (0, (2, 2), (3, 1)), (0, (4,), (-1,)),
        (0, (-2,), (1,)), (0, (2,), (1, 1)), (0, (10**6, 10**6), (0, 0)), (2**62, (1,), (1,)),
        (0, (2**62, 2**62), (1, 1)), (0, (8,), (0,)),
    ],
)  # fmt: skip
def test_windows_beyond_their_storage_are_refused(tmp_path, offset, shape, strides):
    held = torch.storage("FloatStorage", "0", 4)
    made = torch.table([("w", torch.tensor(held, offset, shape, strides))])
    tracemalloc.start()
    refused(torch.save(tmp_path / "a.pth", made, {"0": bytes(16)}), "w")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_storages_that_are_not_what_they_say_are_refused(tmp_path):
    def one(kind="FloatStorage", key="0", count=4, held=(4,), by=(1,)):
        made = torch.tensor(torch.storage(kind, key, count), 0, held, by)
        return torch.save(tmp_path / "a.pth", torch.table([("w", made)]), {"0": bytes(16)})

    assert reading.read(one()).tensors["w"].shape == (4,)
    refused(one(count=5), "storage '0' declares 5 numbers")
    refused(one(count=2**40), "declares 1099511627776 numbers")
    refused(one(count=-4))
    refused(one(key="1"), "storage '1'")
    refused(one(key="../version"), "storage '../version'")
    refused(one(kind="DoubleStorage"), "8 bytes")
    refused(one(kind="QInt8Storage"), "torch.QInt8Storage")
    made, storages = state({"x": np.ones(2, np.float32)})
    refused(torch.save(tmp_path / "a.pth", made, storages, order=b"big"), "little-endian")


@pytest.mark.parametrize(
    "made",
    [
        b"", b"t", b"u", b"(u", b"R", b"Q", b"a", b"]", b"}", b"N", b"h\x07", b"}" * 9, b"q\x00",
        b"(K\x01u", b"}(K\x01u", b"}]Ns", b"}h\x00", b"]q\x00h\x00a", b"X\xff\xff\xff\xff",
        b"\x8a\xff\x01", torch.word("x"), b"(" * 10**5, b"}" + torch.word("x") + b"(s", b"](K\x01a",
    ],
)  # fmt: skip
def test_pickles_that_make_no_sense_are_refused(tmp_path, made):
    refused(torch.save(tmp_path / "a.pth", made, {}))


def test_what_a_pickle_may_not_do_with_what_it_has_is_said(tmp_path):
    storage = torch.row(
        torch.word("storage"),
        torch.name("torch", "Size"),
        torch.word("0"),
        torch.word("cpu"),
        torch.number(4),
    )
    for made, words in [
        (b"](K\x01a", "does not fit together"),  # the list lies below the mark
        (b"}K\x01a", "does not fit together"),
        (torch.table([("x", b"N"), ("x", b"N")]), "it holds 'x' twice"),
        (b"}" + torch.row() + b"Ns", "a key that is no word"),
        (b"}" + b"(" * 3 + b"ttt" + b"Ns", "a key that is no word"),
        (storage + b"Q", "no storage of numbers"),
        (torch.name("torch", "Size") + b")R", "what does not belong to it"),
    ]:
        refused(torch.save(tmp_path / "a.pth", made, {}), words)


def test_what_a_library_says_is_put_in_one_line(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("a\n  b" + "c" * 1000)

    monkeypatch.setattr(reading.zips, "npz", broken)
    message = refused(written(tmp_path / "a.npz"), "(a bccc")
    assert len(message) < 400


def test_a_dict_that_holds_itself_is_refused(tmp_path):
    made = b"}q\x00(" + torch.word("model") + b"h\x00u"
    refused(torch.save(tmp_path / "a.pth", made, {}))


class Payload:
    """What pickle runs when it is loaded: function(*arguments)."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def payloads(marker):
    """Pickles that leave a marker file where they are trusted, by name."""
    command = f"touch {marker}"
    touch = f"open({str(marker)!r}, 'w').close()"
    tricks = {
        "os.system": Payload(os.system, command),
        "eval": Payload(eval, touch),
        "exec": Payload(exec, touch),
        "in a dict": {"state_dict": {"w": Payload(exec, touch)}},
        "in a list": [1, [2, Payload(os.system, command)]],
        "as a key": {Payload(exec, touch): 1},
    }
    made = {name: pickle.dumps(trick, 2) for name, trick in tricks.items()}
    by_name = torch.name("builtins", "getattr") + torch.row(
        torch.name("os", "sys"), torch.word("modules")
    )
    system = torch.name("builtins", "getattr") + torch.row(
        torch.name("builtins", "__import__") + torch.row(torch.word("os")) + b"R",
        torch.word("system"),
    )
    made["getattr"] = b"\x80\x02" + system + b"R" + torch.row(torch.word(command)) + b"R."
    made["getattr of modules"] = (
        b"\x80\x02" + by_name + b"R0" + system + b"R" + torch.row(torch.word(command)) + b"R."
    )
    made["inst"] = b"(" + torch.word(command) + b"ios\nsystem\n."
    made["obj"] = b"(" + torch.name("os", "system") + torch.word(command) + b"o."
    made["protocol 4"] = pickle.dumps(tricks["os.system"], 4)
    made["protocol 0"] = pickle.dumps(tricks["eval"], 0)
    return made


NAMES = sorted(payloads("x"))


@pytest.mark.parametrize("name", NAMES)
def test_code_in_a_pickle_is_not_run(tmp_path, name):
    marker = tmp_path / "marker"
    code = payloads(marker)[name]
    path = tmp_path / "a.pth"
    for inside in (code[2:-1] if code.startswith(b"\x80\x02") else code[:-1], b"(" + code):
        torch.save(path, inside, {})
        refused(path)
        path.write_bytes(code)  # as PyTorch wrote before 1.6
        refused(path, "PyTorch 1.6")
    path = tmp_path / "a.pkl"
    path.write_bytes(code)
    refused(path, "are not read")
    assert not marker.exists()
    pickle.loads(code)
    assert marker.exists()  # the payload is one


def test_globals_off_the_list_are_named(tmp_path):
    for module, attribute in [
        ("os", "system"), ("posix", "system"), ("builtins", "eval"), ("builtins", "getattr"),
        ("torch", "load"), ("torch.hub", "load"), ("torch.serialization", "_load"),
        ("torch.storage", "_load_from_bytes"), ("torch", "FloatStorage.__class__"),
        ("collections", "OrderedDict.fromkeys"), ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("numpy", "load"), ("numpy.core.multiarray", "_reconstruct"), ("functools", "partial"),
        ("torch.nn.modules.linear", "Linear"), ("argparse", "Namespace"), ("pickle", "loads"),
    ]:  # fmt: skip
        made = torch.table([("w", torch.name(module, attribute) + b")R")])
        refused(torch.save(tmp_path / "a.pth", made, {}), f"asks for {module}.{attribute},")


def test_code_where_a_tensor_belongs_is_not_run(tmp_path):
    marker = tmp_path / "marker"
    call = payloads(marker)["os.system"][2:-1]
    good = torch.storage("FloatStorage", "0", 4)
    ordered = torch.name("collections", "OrderedDict")
    for made in [
        torch.tensor(call, 0, (4,), (1,)),
        torch.storage("FloatStorage", "0", 4)[:-2] + call + b"tQ",
        torch.row(torch.word("storage"), call, torch.word("0"), torch.word("cpu"), b"K\x04") + b"Q",
        torch.tensor(good, 0, (4,), (1,)) + b"}" + torch.word("__setstate__") + call + b"sb",
        ordered + torch.row(b"]" + call + b"a") + b"R",
        ordered + b"}" + torch.word("__init__") + torch.name("torch", "Size") + b"sb)R",
        torch.name("torch", "Size") + torch.row(torch.word("x")) + b"R",
        torch.name("torch._utils", "_rebuild_parameter") + torch.row(torch.word("x")) + b"R",
        torch.row(torch.word("module"), b"N", b"N", b"N", b"N") + b"Q",
    ]:
        path = torch.save(tmp_path / "a.pth", torch.table([("w", made)]), {"0": bytes(16)})
        refused(path)
    assert not marker.exists()


def test_attributes_that_a_pickle_sets_are_not_set(tmp_path):
    """torch.save gives a state_dict its versions so; on a name it would change what is called."""
    ordered = torch.name("collections", "OrderedDict")
    poison = ordered + b"}" + torch.word("__doc__") + torch.word("changed") + b"sb"
    made, storages = state({"w": np.ones(2, np.float32)})
    path = torch.save(tmp_path / "a.pth", poison + b")R0" + made, storages)
    refused(path, "uses POP")
    whole = torch.table([("other", poison), ("w", torch.plain("0", np.ones(2, np.float32)))])
    weights = reading.read(torch.save(tmp_path / "a.pth", whole, storages))
    assert same(weights.tensors, {"w": np.ones(2, np.float32)})
    from collections import OrderedDict

    assert OrderedDict.__doc__ != "changed"


def test_code_in_an_npz_is_not_run(tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "a.npz"
    np.savez(path, x=np.array([Payload(os.system, f"touch {marker}")], object), y=np.ones(2))
    refused(path, "x.npy holds object")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", payloads(marker)["os.system"])
        file.writestr("x.pkl", payloads(marker)["os.system"])
    refused(path)
    assert not marker.exists()


def mutated(data, seed):
    """A file cut short or with some of its bytes changed, and whether any is."""
    draw = random.Random(seed)
    changed = bytearray(data)
    if draw.random() < 0.2:
        return bytes(changed[: draw.randrange(len(data))])
    for _ in range(draw.choice([1, 1, 2, 4, 16])):
        place = draw.randrange(len(data) if draw.random() < 0.6 else min(len(data), 1024))
        changed[place] = draw.choice([changed[place] ^ 1 << draw.randrange(8), 0, 255])
    return bytes(changed)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
def test_broken_files_are_refused_or_read_right(tmp_path, suffix):
    path = written(tmp_path / f"a{suffix}")
    data, wanted = path.read_bytes(), reading.read(path)
    refusals = 0
    for seed in range(400):
        changed = mutated(data, seed)
        path.write_bytes(changed)
        try:
            weights = reading.read(path)
        except UserError as error:
            assert "\n" not in error.message, seed
            refusals += 1
            continue
        if suffix == ".safetensors":  # it has no checksums: the digest of the whole file tells
            assert (weights.sha256 == wanted.sha256) == (changed == data), seed
            assert sum(a.nbytes for a in weights.tensors.values()) <= len(data), seed
        else:
            assert same(weights.tensors, wanted.tensors), seed
    assert 200 < refusals < 400


def test_another_file_than_the_expected_one_is_refused(tmp_path):
    path = written(tmp_path / "a.safetensors")
    weights = reading.read(path)
    catalogue.check(weights, "")
    catalogue.check(weights, weights.sha256.upper())
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(UserError, match=f"not {weights.sha256} as expected") as caught:
        catalogue.check(reading.read(path), weights.sha256)
    assert "\n" not in caught.value.message


def test_records_are_complete():
    names = [one.name for one in catalogue.ALL]
    assert len(set(names)) == len(names)
    for one in catalogue.ALL:
        assert not list(named.problems("model", one.model, one.name)), one.name
        assert one.pixels in pixels.PIXELS and one.licence and one.source and one.size_mib > 0
        assert bool(one.classes) == (one.num_classes > 0)
        assert (len(one.sha256) == 64) == one.was_tried == (one in catalogue.TRIED)
        assert Path(one.file).suffix in (".safetensors", ".h5")
        assert catalogue.by_name(one.name) is one
    with pytest.raises(UserError, match="'resnet5'. Did you mean 'resnet50'"):
        catalogue.by_name("resnet5")
    resnet = catalogue.by_name("resnet18")
    assert catalogue.find("", resnet.file) is resnet and catalogue.find("", "resnet18") is None
    assert catalogue.find("") is None
    assert catalogue.find(catalogue.TRIED[1].sha256, resnet.file) is catalogue.TRIED[1]
    rows = catalogue.rows()
    assert ("resnet18", "resnet, depth 18") in [row[:2] for row in rows]
    assert {len(row) for row in rows} == {9} and len(rows) == len(names)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real weights are not here")
@pytest.mark.parametrize("record", catalogue.TRIED, ids=lambda one: one.name)
def test_real_files_are_known_by_their_digest(record):
    weights = reading.read(REAL / record.file)
    assert catalogue.find(weights.sha256, "hf://else/where.safetensors") is record
    assert abs((REAL / record.file).stat().st_size / 2**20 - record.size_mib) < 0.06
    floats = [a for a in weights.tensors.values() if a.dtype == np.float32]
    assert len(floats) > 90 and all(np.isfinite(a).all() for a in floats)
    assert not any(a.dtype == np.uint8 for a in weights.tensors.values())
