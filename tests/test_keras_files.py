"""Keras' HDF5 files: the tensors that Keras wrote, and no link, object or size that lies."""

import random
import tracemalloc

import h5py
import numpy as np
import pytest

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.pretrained import apart, keras_h5, reading
from tests import keras_reference

pytestmark = pytest.mark.filterwarnings(  # Keras with this numpy
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
TINY = {"input_shape": (32, 32, 3), "classes": 3}
APPLICATIONS = {
    "MobileNet": {**TINY, "alpha": 0.25},
    "MobileNetV2": {**TINY, "alpha": 0.35},
    "VGG16": {"input_shape": (32, 32, 3), "include_top": False},
    "ResNet50": TINY,
    "EfficientNetB0": TINY,
}


def same(found, wanted):
    """Whether two dicts of arrays have the same names and numbers."""
    assert set(found) == set(wanted), sorted(set(found) ^ set(wanted))[:6]
    return all(np.array_equal(found[name], wanted[name]) for name in wanted)


def refused(path, *words):
    """The one line with which a file is refused; it names the file and says these words."""
    with pytest.raises(UserError) as caught:
        reading.read(path)
    message = caught.value.message
    assert "\n" not in message and str(path) in message and len(message) < 400, message
    for said in words:
        assert said in message + caught.value.hint, message


def refused_here(path, words):
    """The same of the reader itself, without a process of its own, and without much memory."""
    tracemalloc.start()
    with pytest.raises(UserError) as caught:
        keras_h5.tensors(path.read_bytes())
    assert tracemalloc.get_traced_memory()[1] < 2**21
    tracemalloc.stop()
    assert words in caught.value.message, caught.value.message


def network():
    """A small network with a network in it."""
    import keras

    layers = keras.layers
    inner = keras.Sequential(
        [keras.Input((8, 8, 4)), layers.Conv2D(4, 1, name="inner"), layers.BatchNormalization()],
        name="sub",
    )
    first = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="conv1", use_bias=False)(first)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="deep")(x)
    x = layers.Dropout(0.5)(inner(x))
    x = layers.SeparableConv2D(2, 3, name="sep")(x)
    x = layers.LayerNormalization(name="ln")(layers.Flatten()(x))
    return keras.Model(first, layers.Dense(3, name="predictions")(x))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(the network's tensors, its files in both formats)."""
    folder = tmp_path_factory.mktemp("keras")
    model = network()
    keras_reference.randomise(model, 0)
    model.save_weights(folder / "a.weights.h5")
    model.save(folder / "a.h5")
    return keras_reference.tensors(model), [folder / "a.weights.h5", folder / "a.h5"]


def test_both_formats_hold_what_keras_has(files):
    wanted, paths = files
    assert "sub/inner/kernel" not in wanted and "inner/kernel" in wanted
    for path in paths:
        assert same(reading.read(path).tensors, wanted)


@pytest.mark.parametrize(
    "name",
    [
        name if name == "MobileNet" else pytest.param(name, marks=pytest.mark.slow)
        for name in APPLICATIONS
    ],
)
def test_names_of_keras_own_networks(tmp_path, name):
    model = keras_reference.application(name, **APPLICATIONS[name])
    keras_reference.randomise(model, 0)
    model.save_weights(tmp_path / "a.weights.h5")
    model.save(tmp_path / "a.h5")
    for file in ("a.weights.h5", "a.h5"):
        tensors = reading.read(tmp_path / file).tensors
        assert same(tensors, keras_reference.tensors(model))
        assert all(array.dtype == np.float32 or "count" in k for k, array in tensors.items())


def listed(path, layers):
    """A file as Keras 1 and 2 wrote them: {layer: {name of a weight: array}}."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for layer, weights in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in weights]
            for name, array in weights.items():
                group[name] = array
    return path


def test_names_of_older_keras(tmp_path):
    x = [np.full(2, i, np.float32) for i in range(7)]
    path = listed(
        tmp_path / "a.h5",
        {
            "block1_conv1": {"block1_conv1_W_1:0": x[0], "block1_conv1_b_1:0": x[1]},
            "fc1": {"fc1_1/kernel:0": x[2]},
            "conv_dw_1": {"conv_dw_1/depthwise_kernel:0": x[3]},
            "sub": {"inner/kernel:0": x[4], "sub/deeper/bias:0": x[5]},
            "pool": {},
            "plain": {"kernel:0": x[6]},
        },
    )
    names = ["block1_conv1/kernel", "block1_conv1/bias", "fc1/kernel"]
    names += ["conv_dw_1/depthwise_kernel", "inner/kernel", "deeper/bias", "plain/kernel"]
    assert same(reading.read(path).tensors, dict(zip(names, x, strict=True)))


def test_long_lists_of_names_in_parts(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for part in range(3):
            file.attrs[f"layer_names{part}"] = [f"dense_{part}".encode()]
            group = file.create_group(f"dense_{part}")
            group.attrs["weight_names"] = ["kernel:0"]
            group["kernel:0"] = np.full(2, part)
    found = reading.read(tmp_path / "a.h5").tensors
    assert {name: array[0] for name, array in found.items()} == {
        f"dense_{part}/kernel": part for part in range(3)
    }


def counted(path, layers):
    """A file as Keras 3 writes them: {group: (name of the layer, arrays)}."""
    with h5py.File(path, "w") as file:
        for place, (name, arrays) in layers.items():
            group = file.create_group(f"{place}/vars")
            if name is not None:
                group.attrs["name"] = name
            for i, array in enumerate(arrays):
                group[str(i)] = array
    return path


def test_variables_that_nobody_can_name_are_refused(tmp_path):
    one, path = np.ones(2, np.float32), tmp_path / "a.weights.h5"
    good = counted(
        path, {"layers/batch_normalization_3": ("bn", [one] * 2), "layers/relu": ("", [])}
    )
    assert set(reading.read(good).tensors) == {"bn/moving_mean", "bn/moving_variance"}
    refused(
        counted(path, {"layers/batch_normalization": ("bn", [one] * 3)}),
        "/layers/batch_normalization in it has 3 variables without names", "model.save",
    )  # fmt: skip
    refused(counted(path, {"layers/my_layer": ("mine", [one])}), "/layers/my_layer")
    refused(counted(path, {"layers/dense": (None, [one])}), "does not say what its layer is called")
    twice = {"layers/dense": ("fc", [one]), "layers/dense_1": ("fc", [one])}
    refused(counted(path, twice), "two of its tensors are called fc/kernel")
    seeds = {"layers/dense": ("fc", [one]), "layers/dropout/seed_generator": ("s", [one])}
    assert set(reading.read(counted(path, seeds | {"optimizer": ("o", [one])})).tensors) == {
        "fc/kernel"
    }


def test_lists_of_what_is_not_there_are_refused(tmp_path):
    path = listed(tmp_path / "a.h5", {"fc": {"kernel:0": np.ones(2)}})
    with h5py.File(path, "a") as file:
        file.attrs["layer_names"] = [b"fc", b"gone"]
    refused(path, "lists 'gone', which is not there")
    with h5py.File(path, "a") as file:
        file.attrs["layer_names"] = [b"fc"]
        file["fc"].attrs["weight_names"] = [b"/fc/kernel:0"]
    refused(path, "lists '/fc/kernel:0'")
    with h5py.File(path, "a") as file:
        file["fc"].attrs["weight_names"] = [b"kernel:0", b"kernel:0"]
    refused(path, "two of its tensors are called fc/kernel")
    with h5py.File(path, "a") as file:
        file.attrs["layer_names"] = [b"."]
    refused(path)


def attacks(folder):
    """(what is written to a group, what is said of it)."""
    other = folder / "secret.h5"
    with h5py.File(other, "w") as file:
        file["x"] = np.arange(4.0)
    (folder / "raw").write_bytes(bytes(64))

    def virtual(group):
        layout = h5py.VirtualLayout((4,), "f8")
        layout[:] = h5py.VirtualSource(other, "x", (4,))
        group.create_virtual_dataset("kernel:0", layout)

    def packed(group):
        group.create_dataset("kernel:0", data=np.zeros(2**22), compression="gzip")

    def cycle(group):
        group["inside/again"] = group

    def twice(group):
        group["kernel:0"] = np.ones(2)
        group["other"] = group["kernel:0"]

    def hollow(group):
        group.create_dataset("kernel:0", (2**40,), "f4", chunks=(2**20,))

    def words(group):
        group["kernel:0"] = ["text"]

    def kind(group):
        group["kernel:0"] = np.dtype("f4")

    return {
        "external link": (lambda g: g.__setitem__("kernel:0", h5py.ExternalLink(other, "/x")),
                          "link to somewhere else"),
        "soft link": (lambda g: g.__setitem__("kernel:0", h5py.SoftLink("/x")), "link to"),
        "external storage": (
            lambda g: g.create_dataset("kernel:0", (4,), "f8", external=[(folder / "raw", 0, 32)]),
            "lie in another file"),
        "virtual": (virtual, "lie in another file"),
        "gzip bomb": (packed, "is packed"),
        "hard links in a circle": (cycle, "there twice"),
        "two hard links": (twice, "there twice"),
        "more than the file": (hollow, "declares [1099511627776]"),
        "objects": (words, "not plain numbers"),
        "a type": (kind, "no array"),
    }  # fmt: skip


ATTACKS = [
    "external link", "soft link", "external storage", "virtual", "gzip bomb",
    "hard links in a circle", "two hard links", "more than the file", "objects", "a type",
]  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_files_that_lie_are_refused(tmp_path, name):
    attack, words = attacks(tmp_path)[name]
    path = listed(tmp_path / "a.h5", {"fc": {"bias:0": np.ones(2)}})
    assert set(keras_h5.tensors(path.read_bytes())) == {"fc/bias"}
    with h5py.File(path, "a") as file:
        attack(file["fc"])
        file["fc"].attrs["weight_names"] = [b"bias:0", b"kernel:0"]
    refused_here(path, words)


def test_every_attack_is_tried(tmp_path):
    assert sorted(attacks(tmp_path)) == sorted(ATTACKS)


def test_code_in_a_model_is_not_run(tmp_path):
    import keras

    marker = tmp_path / "marker"
    source = f"lambda x: (open({str(marker)!r}, 'w').close(), x)[1]"
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Lambda(eval(source)), keras.layers.Dense(1, name="fc")]
    )
    model.save(tmp_path / "a.h5")
    marker.unlink()
    assert same(reading.read(tmp_path / "a.h5").tensors, keras_reference.tensors(model))
    assert not marker.exists()
    keras.models.load_model(tmp_path / "a.h5", safe_mode=False, compile=False)
    assert marker.exists()  # the file does carry code


def test_what_libhdf5_does_to_its_process_is_one_line(tmp_path, monkeypatch, files):
    path = files[1][0]
    data = bytearray(path.read_bytes())
    place = data.index(b"GCOL")  # where words of any length lie: one of them gets a length
    for byte in range(place + 16, place + 64):
        data[byte] = 0xFF if byte % 8 == 3 else data[byte]
    broken = tmp_path / "a.h5"
    broken.write_bytes(data)
    monkeypatch.setattr(apart, "SECONDS", 3.0)
    refused(broken)
    monkeypatch.setattr(apart, "SECONDS", 0.01)
    refused(path, "libhdf5 was not done with it after 0.01 s")


def test_a_reader_that_crashes_or_has_no_memory_left_gives_one_line(monkeypatch, files):
    monkeypatch.setattr(apart, "CODE", "import os; os.abort()")
    refused(files[1][0], "libhdf5 gave up on it")
    greedy = "keras_h5.tensors = lambda data: {'x': bytearray(2**32)}"
    code = f"from lowlabel_jax.pretrained import apart, keras_h5; {greedy}; apart.child()"
    monkeypatch.setattr(apart, "CODE", code)
    refused(files[1][0], "libhdf5 gave up on it (MemoryError")


def test_broken_files_are_refused_or_read_whole(tmp_path, monkeypatch, files):
    """There are no checksums in them: the digest of the whole file tells (catalogue.check)."""
    monkeypatch.setattr(apart, "SECONDS", 3.0)
    refusals = 0
    for seed in range(16):
        draw = random.Random(seed)
        path = tmp_path / "a.h5"
        data = bytearray(files[1][seed % 2].read_bytes())
        if seed % 5 == 0:
            del data[draw.randrange(len(data)) :]
        else:
            for _ in range(8):
                data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data)
        try:
            tensors = reading.read(path).tensors
        except UserError as error:
            assert "\n" not in error.message, seed
            refusals += 1
        else:
            assert sum(array.nbytes for array in tensors.values()) <= len(data)
    assert 0 < refusals < 16


def test_lists_of_names_that_are_too_long_are_refused(tmp_path, monkeypatch):
    path = listed(tmp_path / "a.h5", {"fc": {"bias:0": np.ones(2)}})
    monkeypatch.setattr(keras_h5, "LONGEST", 8)
    keras_h5.tensors(path.read_bytes())  # a word of any length is a pointer of 8 bytes
    monkeypatch.setattr(keras_h5, "LONGEST", 7)
    refused_here(path, "its attribute layer_names is longer than 7 bytes")


def test_arrays_that_lie_over_each_other_are_refused(tmp_path):
    path = listed(tmp_path / "a.h5", {"fc": {}})
    with h5py.File(path, "a") as file:
        file["fc"].attrs["weight_names"] = [b"kernel:0", b"bias:0"]
        for name in ("kernel:0", "bias:0"):
            file["fc"][name] = np.arange(5000.0)
        places = [file["fc"][name].id.get_offset() for name in ("kernel:0", "bias:0")]
    data, (first, last) = path.read_bytes(), places
    assert data.count(last.to_bytes(8, "little")) == 1 and len(data) == last + 40000
    short = data.replace(last.to_bytes(8, "little"), first.to_bytes(8, "little"))[:last]
    short = short.replace(len(data).to_bytes(8, "little"), last.to_bytes(8, "little"))
    path.write_bytes(short)
    refused_here(path, "its arrays declare 80000 bytes, and it has")
