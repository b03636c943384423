"""The two feeds: the same batches from both, whatever was asked for before."""

import threading

import numpy as np
import pytest

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data import feed, splits
from lowlabel_jax.data.ahead import Ahead
from lowlabel_jax.data.source import Images, from_arrays

SIZES = {"labelled": 6, "unlabelled": 12}


def toy(n=60):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, 4, 4, 1), dtype=np.uint8)
    return from_arrays("ab", {"train": (images, np.arange(n) % 2)})


def split(n=60):
    empty = np.arange(0)
    return splits.Split(np.arange(9), np.arange(n), empty, empty)


def cropped_anew():
    """A source whose images show nothing but the seed that they were drawn with."""

    def draw(name, indices, seeds):
        bytes_of = np.stack([seeds >> shift & 255 for shift in (0, 8, 16, 24)], 1)
        return np.broadcast_to(bytes_of[:, None, :, None], (len(seeds), 4, 4, 1)).astype(np.uint8)

    return toy()._replace(draw=draw)


def shown(made, step):
    """stream -> images [b, h, w, c] of a step, wherever they lie."""
    return {
        stream: rows["image"] if "image" in rows else made.resident[stream]["image"][rows["index"]]
        for stream, rows in made.batch(step).items()
    }


@pytest.fixture
def opened():
    made = []

    def open_one(data, **how):
        made.append(feed.open_feed(data, split(), SIZES, 0, **how))
        return made[-1]

    yield open_one
    for one in made:
        one.close()


def test_both_feeds_give_the_same_batches_in_any_order_of_steps(opened):
    resident, streamed = (opened(toy(), mode=mode) for mode in ("resident", "streamed"))
    for step in (0, 1, 2, 7, 8, 3, 0):
        ours, theirs = shown(streamed, step), shown(resident, step)
        for stream, size in SIZES.items():
            assert ours[stream].shape == (size, 4, 4, 1) and ours[stream].dtype == np.uint8
            np.testing.assert_array_equal(ours[stream], theirs[stream])
    assert "image" not in streamed.resident["labelled"]
    for stream in SIZES:
        ours, theirs = streamed.resident[stream]["label"], resident.resident[stream]["label"]
        np.testing.assert_array_equal(ours, theirs)


def test_what_fits_is_resident_and_what_does_not_is_streamed(opened):
    bytes_of_both = (9 + 60) * 16
    fits = opened(toy(), limit_gib=bytes_of_both / 2**30)
    too_large = opened(toy(), limit_gib=(bytes_of_both - 1) / 2**30)
    assert "image" in fits.resident["labelled"]
    assert "image" not in too_large.resident["labelled"]


def test_a_stream_that_is_not_used_takes_no_room():
    labelled = feed.open_feed(toy(), split(), {"labelled": 6}, 0, limit_gib=9 * 16 / 2**30)
    assert "image" in labelled.resident["labelled"]


@pytest.mark.parametrize("mode", ["resident", "streamed"])
@pytest.mark.parametrize(("sizes", "decoded"), [({"labelled": 6}, []), (SIZES, ["train"])])
def test_a_set_is_decoded_whole_only_where_half_of_it_is_wanted(mode, sizes, decoded):
    asked = []
    feed.open_feed(toy()._replace(keep=asked.append), split(), sizes, 0, mode=mode).close()
    assert sorted(set(asked)) == decoded


def test_crops_are_drawn_by_address_and_resume_in_the_middle(opened):
    one, resumed = opened(cropped_anew()), opened(cropped_anew())
    first = [shown(one, step) for step in range(6)]
    again = shown(resumed, 4)
    for stream, size in SIZES.items():
        np.testing.assert_array_equal(again[stream], first[4][stream])
        drawn = {image.tobytes() for seen in first for image in seen[stream]}
        assert len(drawn) == 6 * size  # no two images, steps or streams share a seed
    assert {x.tobytes() for x in first[0]["labelled"]}.isdisjoint(
        x.tobytes() for x in first[0]["unlabelled"]
    )


def test_a_resident_feed_refuses_crops_that_change(opened):
    with pytest.raises(UserError, match=r"feed\.mode=resident") as error:
        opened(cropped_anew(), mode="resident")
    assert "feed.mode=auto" in error.value.hint


def test_columns_lie_on_the_device_in_both(opened):
    guesses = {"unlabelled": {"teacher": np.eye(60, dtype=np.float32)}}
    for mode in ("resident", "streamed"):
        made = opened(toy(), mode=mode, columns=guesses)
        assert made.resident["unlabelled"]["teacher"] is guesses["unlabelled"]["teacher"]


def test_a_balanced_feed_shows_rare_classes_as_often():
    labels = np.array([0] * 8 + [1])
    data = from_arrays("ab", {"train": (np.zeros((9, 4, 4, 1), np.uint8), labels)})
    made = feed.open_feed(data, split(9), {"labelled": 6}, 0, balanced=True)
    for step in range(3):
        index = made.batch(step)["labelled"]["index"]
        assert np.bincount(labels[index]).tolist() == [3, 3]


def test_ahead_holds_few_batches_and_lets_go_of_its_threads():
    made, before = [], threading.active_count()
    ahead = Ahead(lambda step: made.append(step) or step, threads=2)
    for step in range(20):
        assert ahead(step) == step
        assert len(made) <= step + 1 + 2 * 2 + 2  # two a thread, and one that each has in hand
    ahead.close()
    assert threading.active_count() <= before + 2
    assert ahead(5) == 5  # closed is not the end: it begins anew
    ahead.close()


def test_an_error_in_a_thread_is_the_error_of_the_step_that_wants_it():
    def make(step):
        if step == 3:
            raise UserError("cats/7.jpg cannot be read any more.", "put it back.")
        return step

    ahead = Ahead(make, threads=2)
    assert [ahead(step) for step in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match="cats/7") as error:
        ahead(3)
    assert error.value.hint == "put it back."
    ahead.close()


def test_images_are_read_when_a_part_is_asked_for():
    asked, data = [], toy()

    def read(name, rows):
        asked.append(len(rows))
        return data.read(name, rows)

    images = Images(data._replace(read=read), "train", np.arange(10, 30))
    assert len(images) == 20 and not asked
    np.testing.assert_array_equal(images[5:8], data.read("train", np.arange(15, 18)))
    assert asked == [3]
