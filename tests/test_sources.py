"""Sources of images in files: what is read is what was written, and what is wrong is named."""

import gzip
import io
import os
import pickle
import struct
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data.source import open_source
from lowlabel_jax.sources import limits
from lowlabel_jax.sources.arrays import arrays
from lowlabel_jax.sources.mnist_idx import mnist_idx
from tools import make_npz

ROOT = Path(__file__).parent.parent
REAL = Path(os.environ.get("LOWLABEL_TEST_DATA", ROOT.parent / "shared" / "data"))


def sets(train=9, test=4, shape=(5, 6, 3), classes=3):
    """x_train, y_train, x_test, y_test of noise, the classes in turn."""
    rng = np.random.default_rng(0)
    made = {}
    for name, n in (("train", train), ("test", test)):
        made[f"x_{name}"] = rng.integers(0, 256, (n, *shape), np.uint8)
        made[f"y_{name}"] = np.arange(n) % classes
    return made


def saved(folder, **changed):
    """The path of an .npz of `sets()`, changed; None leaves an array out."""
    content = {key: value for key, value in {**sets(), **changed}.items() if value is not None}
    np.savez(folder / "a.npz", **content)
    return str(folder / "a.npz")


def test_arrays_are_read_as_they_were_saved(tmp_path):
    wanted = sets()
    source = arrays(path=saved(tmp_path, class_names=np.array(["ant", "bee", "cat"])))
    assert source.class_names == ("ant", "bee", "cat") and source.image_shape == (5, 6, 3)
    for name in ("train", "test"):
        rows = np.array([3, 0])
        np.testing.assert_array_equal(source.read(name, rows), wanted[f"x_{name}"][rows])
        np.testing.assert_array_equal(source.labels[name], wanted[f"y_{name}"])
    assert source.labels["train"].dtype == np.int32


def test_grey_images_get_a_channel_classes_a_number_and_columns_of_labels_are_taken(tmp_path):
    grey = sets(shape=(5, 6))
    path = saved(tmp_path, **grey | {"y_train": grey["y_train"][:, None].astype(np.uint8)})
    source = arrays(path=path)
    assert source.image_shape == (5, 6, 1) and source.class_names == ("0", "1", "2")
    np.testing.assert_array_equal(source.read("train", np.arange(9))[..., 0], grey["x_train"])
    np.testing.assert_array_equal(source.labels["train"], grey["y_train"])


def test_the_first_of_each_set_can_be_asked_for(tmp_path):
    path = saved(tmp_path)
    few = arrays(path=path, train=4, test=2)
    assert [len(few.labels[name]) for name in ("train", "test")] == [4, 2]
    np.testing.assert_array_equal(few.read("train", np.arange(4)), sets()["x_train"][:4])
    assert few.fingerprint != arrays(path=path).fingerprint == arrays(path=path).fingerprint


def test_unknown_labels_are_minus_one_in_training_only(tmp_path):
    some = np.array([0, 1, 2, -1, -1, -1, 0, 1, 2])
    assert (arrays(path=saved(tmp_path, y_train=some)).labels["train"] == some).all()
    with pytest.raises(UserError, match="y_test has -1"):
        arrays(path=saved(tmp_path, y_test=some[:4]))


@pytest.mark.parametrize(
    "changed, message",
    [
        (dict(x_train=np.zeros((9, 5, 6, 3), np.float32)), "x_train is float32 .*not uint8"),
        (dict(x_train=np.zeros((9, 90), np.uint8)), r"x_train is uint8 \[9, 90\]"),
        (dict(y_test=np.zeros(4)), "y_test is float64"),
        (dict(y_test=np.zeros((4, 3), int)), r"y_test is int64 \[4, 3\]"),
        (dict(y_train=np.zeros(8, int)), "9 images in x_train, 8 labels"),
        (dict(y_train=np.arange(9) - 2), "y_train has -2"),
        (dict(x_test=np.zeros((4, 5, 5, 3), np.uint8)), r"train \(5, 6, 3\) and test \(5, 5, 3\)"),
        (dict(x_test=None, X_test=np.zeros(1)), "no array 'x_test'. Did you mean 'X_test'"),
        (dict(class_names=np.array(["a", "b"])), "2 class_names .* for labels up to 2"),
        (dict(class_names=np.array(["a", "b", "a"])), "3 class_names"),
        (dict(class_names=np.array(["a", "b", None])), "not an .npz file of plain arrays"),
    ],
)
def test_what_is_wrong_with_the_arrays_is_named(tmp_path, changed, message):
    with pytest.raises(UserError, match=message) as caught:
        arrays(path=saved(tmp_path, **changed))
    assert "a.npz" in caught.value.message


def test_a_file_of_arrays_that_is_not_there_or_something_else_is_named(tmp_path):
    with pytest.raises(UserError, match="has no file") as caught:
        open_source({"name": "arrays"})
    assert "--config.source.path" in caught.value.hint
    with pytest.raises(UserError, match="there is no file 'x.npz'"):
        arrays(path="x.npz")
    whole = Path(saved(tmp_path)).read_bytes()
    single = io.BytesIO()
    np.save(single, np.zeros(3))
    for content in (b"", b"not arrays", whole[: len(whole) // 2], single.getvalue()):
        (tmp_path / "b.npz").write_bytes(content)
        with pytest.raises(UserError, match=r"b.npz is not an .npz file of plain arrays"):
            arrays(path=str(tmp_path / "b.npz"))


def peak(work):
    """The most memory in bytes that a call takes at a time, numpy's included."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(path, message, source=arrays, **options):
    """It is refused with this message, and before a megabyte has been taken."""

    def work():
        with pytest.raises(UserError, match=message):
            source(path=str(path), **options)

    assert peak(work) < 2**20


def declaring(path, shape, content, compression=zipfile.ZIP_STORED, **changed):
    """An .npz whose x_train says this shape, whatever it holds; more members by `changed`."""
    made = {f"{key}.npy": npy(value) for key, value in sets().items()}
    header = io.BytesIO()
    said = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, said)
    made["x_train.npy"] = header.getvalue() + content
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, value in {**made, **changed}.items():
            file.writestr(name, value)
    return path


def npy(value):
    content = io.BytesIO()
    np.save(content, value)
    return content.getvalue()


def test_arrays_that_would_take_too_much_memory_are_refused_by_their_sizes(tmp_path, monkeypatch):
    large = np.zeros((64, 512, 1024), np.uint8)  # 32 MiB, packed to 32 KiB
    np.savez_compressed(tmp_path / "a.npz", **{**sets(shape=(512, 1024)), "x_train": large})
    path, size = str(tmp_path / "a.npz"), (64 + 4) * 512 * 1024
    refused(path, "a.npz declares 0.0 GiB of arrays, more than 0.01 GiB", most_gib=0.01)
    monkeypatch.setattr(limits, "memory", lambda: 2 * size)  # half of it: without the labels
    refused(path, "more than 0.0 GiB, half of the memory")
    monkeypatch.setattr(limits, "memory", lambda: 2 * (size + 2000))
    with pytest.raises(UserError, match="64 images in x_train, 9 labels"):  # it was read
        arrays(path=path)
    assert 2**28 < limits.os.sysconf("SC_PAGE_SIZE") * limits.os.sysconf("SC_PHYS_PAGES") < 2**50


@pytest.mark.parametrize(
    "shape, message",
    [
        ((9, 5, 6, 3), "x_train declares 810 bytes but has 809"),
        ((8, 5, 6, 3), "x_train declares 720 bytes but has 809"),
        ((2**20, 2**20, 2**20), f"x_train declares {2**60} bytes but has 809"),
        ((-9, -5, 6, 3), "x_train declares 810 bytes but has 809"),
    ],
)
def test_a_header_that_lies_is_refused_before_anything_is_allocated(tmp_path, shape, message):
    refused(declaring(tmp_path / "a.npz", shape, bytes(809)), message, most_gib=2.0**40)


def test_a_directory_that_lies_with_the_header_is_refused_as_well(tmp_path):
    shape, n = (2**24, 5, 6), 2**24 * 30
    path = declaring(tmp_path / "a.npz", shape, b"x" * 9)
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    while b"x_train" not in content[entry : entry + 60]:
        entry = content.index(b"PK\x01\x02", entry + 1)
    (length,) = struct.unpack_from("<I", content, entry + 24)
    struct.pack_into("<I", content, entry + 24, length - 9 + n)  # what it takes once unpacked
    path.write_bytes(content)
    refused(
        path,
        f"declares {n + 360 + 72 + 32} bytes, which a file of .* cannot hold",
        most_gib=2.0**40,
    )


def test_a_header_that_is_a_bomb_itself_is_refused(tmp_path):
    header = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**26) + b" " * 2**26
    path = tmp_path / "a.npz"
    files = {f"{key}.npy": npy(value) for key, value in sets().items()} | {"y_test.npy": header}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, value in files.items():
            file.writestr(name, value)
    refused(path, r"version \(2, 0\) of the .npy format")


def test_arrays_packed_otherwise_than_by_numpy_are_refused(tmp_path):
    path = declaring(tmp_path / "a.npz", (9, 5, 6, 3), bytes(810), zipfile.ZIP_LZMA)
    refused(path, "x_train is packed in another way")


class Payload:
    """Runs code when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


@pytest.mark.parametrize("key", ["x_train", "class_names"])
def test_code_in_arrays_of_objects_is_not_run(tmp_path, key):
    marker = tmp_path / "marker"
    held = np.empty(3, object)
    held[:] = [Payload(marker)] * 3
    path = saved(tmp_path, **{key: held})
    refused(path, f"{key} holds Python objects")
    parts = np.empty(3, [("n", "i4"), ("o", object)])
    parts["o"] = [Payload(marker)] * 3
    refused(saved(tmp_path, **{key: parts}), f"{key} holds Python objects")
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Payload(marker)))
    refused(tmp_path / "b.npz", "not an .npz file")
    assert not marker.exists()
    pickle.loads(pickle.dumps(Payload(marker)))  # it would have
    assert marker.exists()


def test_names_that_lead_out_of_the_file_write_nothing(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    names = ("../x_train.npy", f"{tmp_path}/abs.npy", "a\\..\\b.npy", "../../y_train.npy")
    path = declaring(inner / "a.npz", (9, 5, 6, 3), bytes(810), **dict.fromkeys(names, b"x"))
    source = arrays(path=str(path))
    assert not source.read("train", np.arange(9)).any()
    assert sorted(tmp_path.rglob("*")) == [inner, path]


def idx(array):
    """An array in idx form: 0, 0, 8 (bytes), number of axes, their lengths, the bytes."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def mnist_folder(folder, shape=(7, 6), **changed):
    """A folder with the four files of a small set: two of them packed."""
    made = {key: x.astype(np.uint8) for key, x in sets(shape=shape).items()}
    files = {
        "train-images-idx3-ubyte": idx(made["x_train"]),
        "train-labels-idx1-ubyte.gz": gzip.compress(idx(made["y_train"])),
        "t10k-images-idx3-ubyte.gz": gzip.compress(idx(made["x_test"])),
        "t10k-labels-idx1-ubyte": idx(made["y_test"]),
    }
    for name, content in files.items():
        content = changed.get(name.split("-idx")[0].replace("-", "_"), content)
        if content is not None:
            (folder / name).write_bytes(content)
    return str(folder)


def test_idx_files_are_read_packed_or_not(tmp_path):
    source = mnist_idx(path=mnist_folder(tmp_path))
    wanted = sets(shape=(7, 6))
    assert source.image_shape == (7, 6, 1) and source.class_names == ("0", "1", "2")
    for name in ("train", "test"):
        rows = np.arange(len(wanted[f"y_{name}"]))
        np.testing.assert_array_equal(source.read(name, rows)[..., 0], wanted[f"x_{name}"])
        np.testing.assert_array_equal(source.labels[name], wanted[f"y_{name}"])


LABELS = sets()["y_train"].astype(np.uint8)


@pytest.mark.parametrize(
    "changed, message",
    [
        (dict(t10k_labels=None), r"no t10k-labels-idx1-ubyte\[.gz\]"),
        (dict(train_images=idx(LABELS)), "train-images-idx3-ubyte begins with 2049, not .* 2051"),
        (dict(train_images=b"\0\0"), "train-images-idx3-ubyte begins with -1"),
        (dict(train_images=idx(LABELS[:, None, None])[:-1]), "says 9 x 1 x 1 bytes but has 8"),
        (
            dict(train_images=struct.pack(">II", 2051, 9)),
            "says 9 bytes, which a file of 8 cannot hold",
        ),
        (dict(train_images=idx(LABELS[:, None, None]) + b"x"), "says 9 x 1 x 1 bytes but has more"),
        (dict(train_labels=b"\x1f\x8b broken"), "train-labels-idx1-ubyte.gz cannot be read"),
        (dict(train_labels=gzip.compress(idx(LABELS))[:-9]), "cannot be read"),
        (dict(train_labels=gzip.compress(idx(LABELS) + b"x")), "says 9 bytes but has more"),
        (dict(train_labels=gzip.compress(idx(LABELS[:8]))), "9 train images and 8 labels"),
    ],
)
def test_an_idx_file_that_is_not_right_is_named(tmp_path, changed, message):
    with pytest.raises(UserError, match=message):
        mnist_idx(path=mnist_folder(tmp_path, **changed))


def test_an_idx_file_that_never_ends_is_read_as_far_as_it_says(tmp_path):
    endless = gzip.compress(idx(LABELS) + bytes(2**26))  # 64 MiB of zeros in 64 KiB
    refused(mnist_folder(tmp_path, train_labels=endless), "but has more", mnist_idx)


@pytest.mark.parametrize("name", ["train_images", "t10k_images"])  # packed is the second
def test_an_idx_header_that_says_too_much_is_refused_before_anything_is_allocated(tmp_path, name):
    header = struct.pack(">IIII", 2051, 9, 2**14, 2**14)
    content = header if name == "train_images" else gzip.compress(header)
    path = mnist_folder(tmp_path, **{name: content})
    refused(path, f"9 x 16384 x 16384 bytes, which a file of {len(content)} cannot", mnist_idx)


def test_idx_files_that_would_take_too_much_memory_are_refused(tmp_path):
    path = mnist_folder(tmp_path)
    refused(
        path, "train-images-idx3-ubyte declares .* more than 1e-07 GiB", mnist_idx, most_gib=1e-7
    )
    assert mnist_idx(path=path, most_gib=1e-6).image_shape == (7, 6, 1)


def test_mnist_itself_is_read():
    if not (REAL / "mnist").is_dir():
        pytest.skip(f"{REAL / 'mnist'} is not there: set LOWLABEL_TEST_DATA")
    source = mnist_idx(path=str(REAL / "mnist"))
    assert np.bincount(source.labels["train"]).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]  # fmt: skip
    assert source.labels["train"][:5].tolist() == [5, 0, 4, 1, 9]
    images = source.read("train", np.arange(60_000))
    assert abs(images.mean() / 255 - 0.1307) < 5e-5  # the published mean
    assert source.image_shape == (28, 28, 1) and len(source.labels["test"]) == 10_000


PACKED = '''
from pathlib import Path

import numpy as np


def decode(path):
    """Images of the one value that the file says, so many as its last digit."""
    value, n = map(int, Path(path).read_text().split())
    return np.full((n, 32, 32, 3), value, np.uint8)
'''


def packed(folder, names=("ant", "bee")):
    """A folder in the form of packed CIFAR-10: 3 + 2 training images, 2 for testing."""
    (folder / "cifar10_io.py").write_text(PACKED)
    for name, content in (("train_00", "1 3"), ("train_01", "2 2"), ("test_00", "3 2")):
        (folder / f"{name}.medxz").write_text(content)
    labels = {"y_train": [0, 1, 0, 1, 1], "y_test": [1, 0, 0]}
    np.savez(folder / "labels.npz", **labels, names=np.array(names))
    return folder


@pytest.mark.parametrize("small, n, tested", [(False, 5, 2), (True, 4, 1)])
def test_packed_images_become_arrays_that_the_source_reads(
    tmp_path, monkeypatch, capsys, small, n, tested
):
    monkeypatch.setattr(make_npz, "SMALL", {"train": 4, "test": 1})
    out = tmp_path / "out.npz"
    words = ["make_npz.py", "cifar10", str(packed(tmp_path)), str(out), *["--small"] * small]
    monkeypatch.setattr(sys, "argv", words)
    make_npz.main()
    assert f"x_train [{n}, 32, 32, 3]" in capsys.readouterr().out
    source = arrays(path=str(out))
    assert source.class_names == ("ant", "bee")
    assert source.labels["train"].tolist() == [0, 1, 0, 1, 1][:n]
    assert source.read("train", np.arange(n))[:, 0, 0, 0].tolist() == [1, 1, 1, 2, 2][:n]
    assert source.read("test", np.arange(tested))[:, 0, 0, 0].tolist() == [3, 3][:tested]


def test_a_folder_without_packed_images_is_said(tmp_path):
    with pytest.raises(UserError, match="there is no cifar10_io.py"):
        make_npz.cifar10(tmp_path, False)
