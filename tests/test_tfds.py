"""Sets of TensorFlow Datasets: made by real builders, read through the same code as anybody's."""

import functools
import http.server
import io
import os
import socket
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lowlabel_jax.configuration import keys
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data import source as sources
from lowlabel_jax.images.crops import fit
from lowlabel_jax.sources import tfds as module
from lowlabel_jax.sources import tfds_prepared, tfds_records
from lowlabel_jax.sources.image_files import fit_of
from lowlabel_jax.sources.tfds import tfds
from tests.test_sources import packed, sets
from tools import prepare_tfds

NAMES = ["ant", "bee", "cat"]
SIZES = [(9, 12), (20, 10), (8, 8), (11, 30), (16, 7), (13, 13)]


def image(**changed):
    """config["image"], changed."""
    return {**keys.base().image.to_dict(), "size": 8, **changed}


def encoded(pixels, kind="PNG"):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


def builder_of(folder, name, shape, examples, split_generators=None):
    """A builder of TFDS: `examples` is split -> [(encoded image, label)]."""
    import tensorflow_datasets as library

    class Set(library.core.GeneratorBasedBuilder):
        VERSION = library.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": library.features.Image(shape=shape),
                "label": library.features.ClassLabel(names=NAMES),
                "word": library.features.Text(),
            }
            features = library.features.FeaturesDict(features)
            return library.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            found = split_generators(dl_manager) if split_generators else examples
            return {split: self._generate_examples(of) for split, of in found.items()}

        def _generate_examples(self, of):
            for i, (content, label) in enumerate(of):
                yield i, {"image": io.BytesIO(content), "label": label, "word": f"{i}"}

    Set.name = name
    return Set(data_dir=str(folder), file_format="array_record")


def prepare(folder, *of):
    """Prepare a set as anybody's: without its code lying about."""
    import tensorflow_datasets as library

    with library.core.registered.skip_registration():
        builder_of(folder, *of).download_and_prepare()


def shapes():
    """Images of 5x6 pixels: split -> (images, labels)."""
    made = sets()
    return {
        "train": (made["x_train"], made["y_train"]),
        "test": (made["x_test"], made["y_test"]),
        "no": (made["x_train"][:6] // 2, np.full(6, -1)),
    }


def photos(n=6, seed=1):
    """Smooth images of many sizes, as decoded from JPEG: [(encoded, pixels, label)]."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        small = Image.fromarray(rng.integers(0, 256, (3, 3, 3), np.uint8))
        content = encoded(np.asarray(small.resize(SIZES[i % 6][::-1])), "JPEG")
        made.append((content, np.asarray(Image.open(io.BytesIO(content))), i % 3))
    return made


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with "tiny_shapes", all of one size, and "tiny_photos", of many."""
    folder = tmp_path_factory.mktemp("tfds")
    fixed = {
        name: [(encoded(x), int(y)) for x, y in zip(*of, strict=True)]
        for name, of in shapes().items()
    }
    fixed["odd"] = [*fixed["train"][:2], (encoded(np.zeros((4, 6, 3), np.uint8)), 0)]
    fixed["torn"] = [*fixed["train"][:2], (fixed["train"][2][0][:-50], 0), fixed["train"][3]]
    prepare(folder, "tiny_shapes", (5, 6, 3), fixed)
    varied = {
        "train": [(content, label) for content, _, label in photos()],
        "test": [(content, label) for content, _, label in photos(4, seed=2)],
        "torn": [(photos()[0][0][:-30], 0), *[(c, y) for c, _, y in photos()[1:]]],
    }
    prepare(folder, "tiny_photos", (None, None, 3), varied)
    return str(folder)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LOWLABEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def read(prepared):
    return lambda **options: tfds(
        **{"image": image(), "dataset": "tiny_shapes", "data_dir": prepared, **options}
    )


def order(images, wanted):
    """The place among `wanted` of each image, each found once: TFDS shuffles when it writes."""
    places = [np.flatnonzero((wanted == x).all((1, 2, 3))).tolist() for x in images]
    assert sorted(places) == [[i] for i in range(len(wanted))]
    return [place for (place,) in places]


def check(source, wanted):
    """The source holds exactly these (images, labels) by set, in some order."""
    assert set(source.labels) == set(wanted)
    for name, (images, labels) in wanted.items():
        n = len(source.labels[name])
        rows = order(source.read(name, np.arange(n)), images)
        np.testing.assert_array_equal(source.labels[name], labels[rows])
        assert source.labels[name].dtype == np.int32
        some = np.array([2, 0, 2])
        np.testing.assert_array_equal(source.read(name, some), images[rows][some])


def test_a_prepared_set_is_read_without_tensorflow(read):
    source = read()
    assert source.class_names == tuple(NAMES) and source.image_shape == (5, 6, 3)
    check(source, {name: shapes()[name] for name in ("train", "test")})
    assert "tensorflow" not in sys.modules


def test_a_set_read_again_is_not_decoded_again(read, monkeypatch, cache):
    first = read()
    with monkeypatch.context() as patch:
        patch.setattr(module, "_pixels", None)
        again = read()
    assert again.fingerprint == first.fingerprint
    check(again, {name: shapes()[name] for name in ("train", "test")})
    for path in (cache / "inspections").iterdir():
        path.write_bytes(path.read_bytes()[:-40])  # as a full disk leaves it
    assert read().fingerprint == first.fingerprint


def test_without_the_cache_nothing_is_kept(read, cache):
    read(image=image(cache=False))
    assert not cache.exists()


def test_a_large_set_is_streamed_and_reads_the_same(read, monkeypatch):
    whole = read()
    monkeypatch.setattr(module, "WHOLE", 13 * 90 - 1)  # one byte less than both sets take
    lazy = read()
    assert whole.keep is None and lazy.keep is not None  # only what is not in memory is kept
    assert lazy.image_shape == (5, 6, 3) and lazy.draw is None
    for name in whole.labels:
        rows = np.arange(len(whole.labels[name]))
        np.testing.assert_array_equal(lazy.read(name, rows), whole.read(name, rows))
        np.testing.assert_array_equal(lazy.labels[name], whole.labels[name])
    monkeypatch.setattr(module, "WHOLE", 13 * 90)
    assert read().keep is None


def test_images_of_many_sizes_are_fitted_as_the_config_says(read):
    how = image(size=6, crop="centre", margin=1)
    source = read(dataset="tiny_photos", image=how)
    wanted = {
        name: (np.stack([fit(x, fit_of(how)) for _, x, _ in of]), np.array([y for _, _, y in of]))
        for name, of in (("train", photos()), ("test", photos(4, seed=2)))
    }
    assert source.image_shape == (6, 6, 3)
    check(source, wanted)
    before = source.read("train", np.arange(6))
    source.keep("train")
    np.testing.assert_array_equal(source.read("train", np.arange(6)), before)


def test_images_of_one_size_are_resized_if_asked(read):
    how = image(size=3, crop="stretch", channels=1)
    grey = shapes()["train"][0]
    grey = np.stack([np.asarray(Image.fromarray(x).convert("L"))[..., None] for x in grey])
    wanted = np.stack([fit(x, fit_of(how)) for x in grey]), shapes()["train"][1]
    source = read(image=how, resize=True, test="")
    assert source.image_shape == (3, 3, 1)
    check(source, {"train": wanted})


def test_crops_are_drawn_by_their_seeds_alone(read):
    how = image(size=6, crop="random_resized")
    source = read(dataset="tiny_photos", image=how)
    whole = read(dataset="tiny_photos", image=image(size=6, crop="stretch"))
    assert whole.draw is None
    stretched = np.stack([fit(x, fit_of(image(size=6, crop="stretch"))) for _, x, _ in photos()])
    place = order(whole.read("train", np.arange(6)), stretched)
    rows, seeds = np.array([3, 1, 3]), np.array([7, 8, 9], np.uint32)
    drawn = source.draw("train", rows, seeds)
    for crop, row, seed in zip(drawn, rows, seeds, strict=True):
        pixels = photos()[place[row]][1]
        np.testing.assert_array_equal(crop, fit(pixels, fit_of(how), np.random.default_rng(seed)))
    assert (drawn[0] != drawn[2]).any()


def test_streamed_sets_say_what_their_files_are(read):
    source = read(dataset="tiny_photos")
    contents = {sources.hashlib.sha256(c).digest(): x.shape for c, x, _ in photos()}
    for digest, record in zip(source.digests["train"], source.records["train"], strict=True):
        assert (record.height, record.width) == contents[digest][:2]
        assert (record.format, record.mode, record.problem) == ("JPEG", "RGB", "")
    assert len(set(source.digests["train"])) == 6
    assert source.names["train"] == [f"train[{i}]" for i in range(6)]


def test_the_look_at_a_streamed_set_is_remembered_until_a_file_changes(read, prepared, monkeypatch):
    first = read(dataset="tiny_photos")
    with monkeypatch.context() as patch:
        patch.setattr(tfds_records, "look", None)
        assert read(dataset="tiny_photos").fingerprint == first.fingerprint
    (file,) = Path(prepared, "tiny_photos/1.0.0").glob("*train.array_record*")
    os.utime(file, ns=(1, 1))
    looked = []
    real = tfds_records.look
    monkeypatch.setattr(tfds_records, "look", lambda *given: looked.append(given) or real(*given))
    assert read(dataset="tiny_photos").fingerprint == first.fingerprint
    assert len(looked) == 10


def test_fingerprints_follow_crops_images_and_labels(read):
    sizes = [read(dataset="tiny_photos", image=image(size=size)).fingerprint for size in (6, 7)]
    parts = [read(dataset="tiny_photos", train=f"train[:{n}]").fingerprint for n in (4, 5)]
    assert len({*sizes, *parts}) == 4


def test_splits_are_in_tfds_words_and_unlabelled_ones_can_join(read):
    source = read(dataset="tiny_shapes:1.0.0", train="train[:4]+no", validation="train[50%:]")
    label = source.labels["train"]
    assert len(label) == 4 + 6 and (label[:4] >= 0).all() and (label[4:] == -1).all()
    assert len(source.labels["validation"]) == 9 - round(9 * 0.5)
    whole = read().read("train", np.arange(9))
    np.testing.assert_array_equal(source.read("train", np.arange(4)), whole[:4])
    assert set(read(test="").labels) == {"train"}


@pytest.mark.parametrize("dataset", ["tiny_shapes", "tiny_photos"])
def test_images_that_cannot_be_read_are_said_or_left_out(read, dataset, capsys):
    with pytest.raises(sources.BadData, match=rf"{dataset} torn\[\d\]: ") as caught:
        read(dataset=dataset, train="torn")
    assert "--config.image.on_bad=skip" in caught.value.hint and len(caught.value.problems) == 1
    rest = read(dataset=dataset, train="torn", image=image(on_bad="skip"))
    n = {"tiny_shapes": 4, "tiny_photos": 6}[dataset]
    assert f"1 of {n} images cannot be read" in capsys.readouterr().err
    assert len(rest.labels["train"]) == n - 1
    assert [problem.wrong for problem in rest.problems] == [False]
    good = read(dataset=dataset)
    among = source_images(good)
    for picture, label in zip(*source_images(rest), strict=True):
        (place,) = np.flatnonzero((among[0] == picture).all((1, 2, 3)))
        assert label == among[1][place]
    reported = read(dataset=dataset, train="torn", image=image(on_bad="report"))
    assert [problem.wrong for problem in reported.problems] == [True]


def source_images(source):
    label = source.labels["train"]
    return source.read("train", np.arange(len(label))), label


def test_an_image_that_goes_bad_while_it_is_streamed_is_named(read):
    source = read(dataset="tiny_photos", train="torn", image=image(on_bad="report"))
    (bad,) = [row for row, record in enumerate(source.records["train"]) if record.problem]
    with pytest.raises(UserError, match=rf"tiny_photos torn\[{bad}\] cannot be read") as caught:
        source.read("train", np.array([bad]))
    assert "prepare that set anew" in caught.value.hint


@pytest.mark.parametrize(
    "options, message, hint",
    [
        (dict(dataset=""), "has no dataset", "--config.source.dataset=cifar10"),
        (dict(dataset="cifar1"), "knows no dataset 'cifar1'.* Did you mean 'cifar10'", "data_dir"),
        (dict(dataset="cifar10:9.9.9"), "cannot open the dataset 'cifar10:9.9.9': ", "CONFIG"),
        (dict(dataset="cifar10/x"), "cannot open the dataset 'cifar10/x': ", "NAME/CONFIG:VERSION"),
        (dict(train="trian"), "no images in a split 'trian'", "train, test, no, odd, torn;"),
        (dict(train="train[:x]"), r"no images in a split 'train\[:x\]'", '"train[90%:]"'),
        (dict(train="train[:0]"), r"no images in a split 'train\[:0\]'", "there are: train, test"),
        (dict(test="no"), "6 of the 6 images of 'no' have no label", "--config.source.test"),
        (dict(train="odd"), r"tiny_shapes odd\[\d\]: it has the shape \(4, 6, 3\), not \(5, 6, 3\)",
         "on_bad=skip"),
        (dict(label_feature="word"), "no ClassLabel feature 'word'. It has: image",
         "--config.source.label_feature"),
        (dict(image_feature="picture"), "no Image feature 'picture'", "source.image_feature"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_dataset_is_named(read, options, message, hint):
    with pytest.raises(UserError, match=message) as caught:
        read(**options)
    assert hint in caught.value.hint


def test_nothing_is_fetched_unless_asked_and_both_commands_are_said(
    prepared, read, tmp_path, monkeypatch
):
    def no_socket(*_):
        pytest.fail("a socket is opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, no_socket)
    there = tmp_path / "data"
    with pytest.raises(UserError, match="'cifar10' is not prepared in .*cifar10/3.0.2") as caught:
        read(dataset="cifar10", data_dir=str(there))
    assert "--config.source.download=True" in caught.value.hint
    command = f"run: tfds build cifar10 --file_format=array_record --data_dir={there}"
    assert caught.value.hint.endswith(command)
    assert not there.exists()
    read(download=True)  # it is there already


def test_a_set_in_another_format_is_said(read, prepared, monkeypatch):
    import tensorflow_datasets as library

    info = library.core.DatasetInfo
    tfrecord = library.core.file_adapters.FileFormat.TFRECORD
    monkeypatch.setattr(info, "available_file_formats", lambda self: {tfrecord})
    with pytest.raises(UserError, match="as tfrecord, not as array_record") as caught:
        read()
    assert f"--dataset_version_dir={prepared}/tiny_shapes/1.0.0" in caught.value.hint


def test_a_fetch_without_a_network_says_the_command_and_leaves_nothing(
    read, tmp_path, monkeypatch, capsys
):
    from tensorflow_datasets.core.download import downloader

    tried = []

    def no_network(host, *_, **__):
        tried.append(host)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(tfds_prepared, "RETRIES", 1)
    before = downloader.MAX_RETRIES
    there = tmp_path / "data"
    with pytest.raises(
        UserError, match="'cifar10' could not be fetched: ConnectionError"
    ) as caught:
        read(dataset="cifar10", data_dir=str(there), download=True)
    assert f"tfds build cifar10 --file_format=array_record --data_dir={there}" in caught.value.hint
    assert not there.exists()
    assert tried == ["www.cs.toronto.edu"] * 2 and before == downloader.MAX_RETRIES
    said = capsys.readouterr().out
    assert f"fetching cifar10 (162 MiB) from www.cs.toronto.edu to {there}/cifar10/3.0.2" in said


@pytest.fixture
def server(tmp_path):
    """A folder, and the address it is served at by this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever).start()
        yield folder, f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def fetched(monkeypatch, folder, fetch):
    """Let the source find a set "far", whose examples `fetch` gets through TFDS."""
    import tensorflow_datasets as library

    with library.core.registered.skip_registration():
        builder = builder_of(folder, "far", (5, 6, 3), {}, fetch)
    monkeypatch.setattr(tfds_prepared, "_builder", lambda *_: builder)
    return builder


def test_a_set_that_needs_no_tensorflow_is_fetched_and_prepared(
    read, tmp_path, monkeypatch, server, capsys
):
    folder, address = server
    np.savez(folder / "far.npz", **sets())

    def fetch(manager):
        with np.load(manager.download(f"{address}/far.npz")) as file:
            return {
                name: [
                    (encoded(x), int(y))
                    for x, y in zip(file[f"x_{name}"], file[f"y_{name}"], strict=True)
                ]
                for name in ("train", "test")
            }

    there = tmp_path / "data"
    fetched(monkeypatch, there, fetch)
    source = read(dataset="far", data_dir=str(there), download=True)
    check(source, {name: shapes()[name] for name in ("train", "test")})
    assert "fetching far (size not known) from its authors' servers" in capsys.readouterr().out
    assert not list(there.rglob("*.tmp.*")) and (there / "far" / "1.0.0").is_dir()


@pytest.mark.skipif("tensorflow" in sys.modules, reason="with TensorFlow it is unpacked")
def test_a_set_that_takes_tensorflow_to_unpack_keeps_only_its_archive(
    read, tmp_path, monkeypatch, server
):
    folder, address = server
    content = b"\x1f\x8b archive"
    (folder / "far.tar.gz").write_bytes(content)
    there = tmp_path / "data"
    fetched(
        monkeypatch, there, lambda manager: manager.download_and_extract(f"{address}/far.tar.gz")
    )
    with pytest.raises(UserError, match="'far' could not be fetched: .*tensorflow") as caught:
        read(dataset="far", data_dir=str(there), download=True)
    assert "an environment with tensorflow" in caught.value.hint
    assert [path.read_bytes() for path in there.rglob("*.gz")] == [content]
    files = [path for path in there.rglob("*") if path.is_file()]
    assert sorted(path.suffix for path in files) == [".INFO", ".gz"]
    assert not (there / "far").exists() and not (there / "downloads" / "extracted").exists()


def test_a_fetch_that_fails_touches_nothing_that_was_there(read, tmp_path, monkeypatch):
    there = tmp_path / "data"
    for path in ("downloads/far/mine.tmp.1", "downloads/extracted/incomplete.x", "far/0.9.0"):
        (there / path).mkdir(parents=True)
    before = sorted(there.rglob("*"))

    def fetch(manager):
        for path in ("downloads/far/new.tmp.1", "downloads/extracted/incomplete.y"):
            (there / path).mkdir()
            (there / path / "part").write_bytes(b"x")
        raise RuntimeError("the disk\nis full")

    fetched(monkeypatch, there, fetch)
    with pytest.raises(UserError, match="could not be fetched: RuntimeError: the disk is full"):
        read(dataset="far", data_dir=str(there), download=True)
    assert sorted(there.rglob("*")) == before


def run_tool(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["prepare_tfds.py", *map(str, words)])
    prepare_tfds.main()


def test_the_tool_prepares_what_tfds_takes_for_its_own(tmp_path, monkeypatch, read, capsys):
    import tensorflow_datasets as library

    there = tmp_path / "data"
    names = [f"class {k}" for k in range(10)]
    run_tool(monkeypatch, "cifar10", packed(tmp_path, names), there)
    assert "5 train, 2 test" in capsys.readouterr().out
    builder = library.builder("cifar10", data_dir=str(there))
    theirs = library.builder_cls("cifar10")
    assert builder.is_prepared() and str(builder.version) == str(theirs.VERSION)
    assert {k: s.num_examples for k, s in builder.info.splits.items()} == {"train": 5, "test": 2}
    examples = builder.as_data_source("train")
    assert sorted((e["id"].decode(), int(e["image"].mean()), e["label"]) for e in examples) == [
        (f"train_{i:05d}", *of) for i, of in enumerate([(1, 0), (1, 1), (1, 0), (2, 1), (2, 1)])
    ]
    source = read(dataset="cifar10", data_dir=str(there))
    assert source.class_names == tuple(names) and source.image_shape == (32, 32, 3)
    assert sorted(p.name for p in there.rglob("*") if p.is_dir()) == ["3.0.2", "cifar10"]
    fresh = theirs(data_dir=str(tmp_path / "none"))
    assert set(builder.info.features) == set(fresh.info.features)
    with pytest.raises(UserError, match="cifar10/3.0.2 is there already"):
        run_tool(monkeypatch, "cifar10", packed(tmp_path, names), there)


def test_the_tool_prepares_grey_images(tmp_path, monkeypatch, read):
    from tests.test_sources import mnist_folder

    idx = tmp_path / "idx"
    idx.mkdir()
    made = mnist_folder(idx, shape=(28, 28))
    run_tool(monkeypatch, "mnist", made, tmp_path / "data")
    source = read(dataset="mnist", data_dir=str(tmp_path / "data"))
    wanted = sets(shape=(28, 28, 1))
    assert source.class_names == tuple("0123456789")
    check(source, {n: (wanted[f"x_{n}"], wanted[f"y_{n}"]) for n in ("train", "test")})
