"""Sources of images in files: what is read is what was written, and what is wrong is named."""

import gzip
import io
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data.arrays import arrays
from lowlabel_jax.data.mnist_idx import mnist_idx
from lowlabel_jax.data.source import open_source
from lowlabel_jax.data.tfds import tfds
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


def idx(array):
    """An array in idx form: 0, 0, 8 (bytes), number of axes, their lengths, the bytes."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def mnist_folder(folder, **changed):
    """A folder with the four files of a small set: two of them packed."""
    made = {key: x.astype(np.uint8) for key, x in sets(shape=(7, 6)).items()}
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
        (dict(train_images=struct.pack(">II", 2051, 9)), "says 9 bytes but has 0"),
        (dict(train_labels=b"\x1f\x8b broken"), "train-labels-idx1-ubyte.gz cannot be unpacked"),
        (dict(train_labels=gzip.compress(idx(LABELS))[:-9]), "cannot be unpacked"),
        (dict(train_labels=gzip.compress(idx(LABELS[:8]))), "9 train images and 8 labels"),
    ],
)
def test_an_idx_file_that_is_not_right_is_named(tmp_path, changed, message):
    with pytest.raises(UserError, match=message):
        mnist_idx(path=mnist_folder(tmp_path, **changed))


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


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with "tiny_shapes", made by a builder of TFDS without TensorFlow."""
    import tensorflow_datasets as library
    from etils import epath
    from PIL import Image

    folder = tmp_path_factory.mktemp("tfds")

    def png(pixels):
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "PNG")
        return io.BytesIO(content.getvalue())

    class TinyShapes(library.core.GeneratorBasedBuilder):
        """Noise of 5x6 pixels in three classes; the split "odd" has one image of another size."""

        pkg_dir_path, name = epath.Path(folder), "tiny_shapes"  # else it looks beside this file
        VERSION = library.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": library.features.Image(shape=(None, None, 3), encoding_format="png"),
                "label": library.features.ClassLabel(names=["ant", "bee", "cat"]),
                "word": library.features.Text(),
            }
            return self.dataset_info_from_configs(features=library.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {name: self._generate_examples(name) for name in ("train", "test", "odd", "no")}

        def _generate_examples(self, split):
            made = sets()
            part = "test" if split == "test" else "train"
            for i, pixels in enumerate(made[f"x_{part}"]):
                pixels = pixels[:4] if split == "odd" and i == 2 else pixels
                label = -1 if split == "no" else int(made[f"y_{part}"][i])
                yield i, {"image": png(pixels), "label": label, "word": f"{i}"}

    builder = TinyShapes(data_dir=str(folder), file_format="array_record")
    builder.download_and_prepare()
    return str(folder)


def test_a_prepared_dataset_is_read_without_tensorflow(prepared):
    source = tfds(dataset="tiny_shapes", data_dir=prepared)
    assert source.class_names == ("ant", "bee", "cat") and source.image_shape == (5, 6, 3)
    for name, found in source.labels.items():
        wanted = sets()
        images = source.read(name, np.arange(len(found)))
        order = [rank(wanted[f"x_{name}"], image) for image in images]  # TFDS shuffles once
        assert sorted(order) == list(range(len(found)))
        np.testing.assert_array_equal(found, wanted[f"y_{name}"][order])
    assert "tensorflow" not in sys.modules


def rank(images, image):
    """The place of an image among others."""
    (place,) = np.flatnonzero((images == image).all((1, 2, 3)))
    return int(place)


def test_splits_are_in_tfds_words_and_unlabelled_ones_can_join(prepared):
    source = tfds(dataset="tiny_shapes:1.0.0", data_dir=prepared, train="train[:4]+no", test="test")
    label = source.labels["train"]
    assert len(label) == 4 + 9 and (label[:4] >= 0).all() and (label[4:] == -1).all()


@pytest.mark.parametrize(
    "options, message, hint",
    [
        (dict(dataset=""), "has no dataset", "--config.source.dataset=cifar10"),
        (dict(dataset="cifar1"), "knows no dataset 'cifar1'.* Did you mean 'cifar10'", "data_dir"),
        (dict(dataset="cifar10"), "'cifar10' is not prepared as array_record",
         "tfds build cifar10 --file_format=array_record --data_dir="),
        (dict(train="trian"), "no split 'trian'", "there are: train, test, odd, no"),
        (dict(test="odd"), r"images differ in size, .*\(4, 6, 3\)", "one size"),
        (dict(label="word"), "no ClassLabel feature 'word'. It has: image", "config.source.label"),
        (dict(image="picture"), "no Image feature 'picture'", "--config.source.image"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_dataset_is_named(prepared, options, message, hint):
    with pytest.raises(UserError, match=message) as caught:
        tfds(**{"dataset": "tiny_shapes", "data_dir": prepared, **options})
    assert hint in caught.value.hint


PACKED = '''
from pathlib import Path

import numpy as np


def decode(path):
    """Images of the one value that the file says, so many as its last digit."""
    value, n = map(int, Path(path).read_text().split())
    return np.full((n, 32, 32, 3), value, np.uint8)
'''


def packed(folder):
    """A folder in the form of packed CIFAR-10: 3 + 2 training images, 2 for testing."""
    (folder / "cifar10_io.py").write_text(PACKED)
    for name, content in (("train_00", "1 3"), ("train_01", "2 2"), ("test_00", "3 2")):
        (folder / f"{name}.medxz").write_text(content)
    names = np.array(["ant", "bee"])
    np.savez(folder / "labels.npz", y_train=[0, 1, 0, 1, 1], y_test=[1, 0, 0], names=names)
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
