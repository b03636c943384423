"""Splits that cannot lie: what measures never trains, and files do not change sides."""

import collections
import csv
import hashlib
import io
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lowlabel_jax.configuration import check, keys, load
from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data import amounts, held_out, split_checks, split_table, splits
from lowlabel_jax.data import source as sources
from lowlabel_jax.data.unknown import without
from lowlabel_jax.sources.table import table

NAMES = ("ant", "bee", "cat")
QUICK = settings(max_examples=60, deadline=None)


def wanted(**changed):
    """config["split"] with one label a class, changed."""
    return {**keys.base().split.to_dict(), "labelled": {"per_class": 1}, **changed}


def pictures(numbers):
    """uint8 [n, 1, 1, 3]: one pixel that spells the number, so that equal numbers are copies."""
    return np.array([[n >> 16 & 255, n >> 8 & 255, n & 255] for n in numbers], np.uint8).reshape(
        -1, 1, 1, 3
    )


def toy(labels, numbers=None, names=NAMES, called=None, **more):
    """A source of numbered pictures; more: set -> (labels, numbers) that it brings itself."""
    numbers = range(len(labels)) if numbers is None else numbers
    made = {"train": (pictures(numbers), np.array(labels, np.int32))}
    for name, (label, of) in more.items():
        made[name] = (pictures(of), np.array(label, np.int32))
    found = sources.from_arrays(names, made)
    return found._replace(names={"train": called}) if called else found


def numbers_of(source, rows, place="train"):
    return {int.from_bytes(image.tobytes(), "big") for image in source.read(place, rows)}


def by_class(source, rows):
    return np.bincount(source.labels["train"][rows], minlength=len(source.class_names)).tolist()


THIRTY = toy([0, 1, 2] * 10)


# --- where a run's sets lie -----------------------------------------------------------------------


def test_a_test_set_is_drawn_where_the_source_brings_none():
    split = splits.split_of(THIRTY, wanted(test={"per_class": 2}, validation={"total": 3}), 0)
    assert (
        by_class(THIRTY, split.test) == [2, 2, 2] and by_class(THIRTY, split.validation) == [1] * 3
    )
    together = np.concatenate([split.test, split.validation, split.unlabelled])
    assert sorted(together) == list(range(30)) and set(split.labelled) <= set(split.unlabelled)
    sizes = {"labelled": 3, "unlabelled": 21, "validation": 3, "test": 6}
    assert splits.info_of(THIRTY, split).sizes == sizes
    for name, indices in split._asdict().items():
        place, rows, label = splits.rows(THIRTY, split, name)
        assert place == "train" and (rows == indices).all()
        assert (label == THIRTY.labels["train"][indices]).all()


def test_a_set_that_the_source_brings_is_used_as_it_is():
    data = toy(
        [0, 1, 2] * 4, test=([2, 1, 0, 0], range(90, 94)), validation=([0, 1, 2], range(80, 83))
    )
    split = splits.split_of(data, wanted(), 0)
    assert not len(split.test) and not len(split.validation) and len(split.unlabelled) == 12
    assert splits.info_of(data, split).sizes["test"] == 4
    assert splits.info_of(data, split).sizes["validation"] == 3
    images, label = splits.examples(data, split, "test")
    assert (images == data.read("test", np.arange(4))).all() and label.tolist() == [2, 1, 0, 0]
    assert splits.rows(data, split, "validation")[0] == "validation"
    assert splits.rows(data, split, "labelled")[0] == "train"
    odd = toy([0, 1, 2] * 4, unlabelled=([0], [99]))  # only what is measured on can be brought
    assert splits.rows(odd, split, "unlabelled")[0] == "train"


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("test", {"test": {"total": 3}}),
        ("test", {"rule": "sha1_id"}),
        ("validation", {"validation": {"fraction": 0.1}}),
        ("validation", {"rule": "sha1_id"}),
        ("validation", {"folds": 2}),
    ],
)
def test_a_set_is_not_both_brought_and_drawn(name, asked):
    data = toy([0, 1, 2] * 4, **{name: ([0, 1, 2], range(90, 93))})
    with pytest.raises(UserError, match=f"brings 3 {name} images") as caught:
        splits.split_of(data, wanted(**asked), 0)
    assert f"--config.source.{name}=" in caught.value.hint


def test_images_without_a_label_are_unlabelled_whatever_is_set_aside():
    data = toy([0, 1, 2, -1] * 10)
    for rule, share in (("seeded", {"per_class": 9}), ("content", {"fraction": 0.8})):
        made = wanted(rule=rule, test=share, allow_fewer=True)
        split = splits.divide(data, made, 0)
        assert set(np.flatnonzero(data.labels["train"] < 0)) <= set(split.unlabelled)
        assert len(split.test) > 20 and (data.labels["train"][split.test] >= 0).all()


def test_a_fraction_of_the_labels_is_of_what_is_left_to_train_on():
    split = splits.split_of(THIRTY, wanted(labelled={"fraction": 1.0}, test={"per_class": 4}), 0)
    assert by_class(THIRTY, split.labelled) == [6, 6, 6]
    assert (split.labelled == split.unlabelled).all()


def test_more_test_images_keep_those_one_had_and_so_do_more_labels():
    few, many = (splits.divide(THIRTY, wanted(test={"per_class": n}), 3) for n in (2, 5))
    assert set(few.test) < set(many.test)
    one, two = (
        splits.divide(THIRTY, wanted(rule="content", labelled={"per_class": n}), 3) for n in (2, 5)
    )
    assert set(one.labelled) < set(two.labelled)


# --- rule "content" -------------------------------------------------------------------------------

SHARES = {"rule": "content", "test": {"fraction": 0.2}, "validation": {"fraction": 0.3}}


def test_golden_places_by_content():
    """SHA-256 of "7:" and of an image's own SHA-256, worked out once with sha256sum."""
    golden = [
        ("0.0070", "test"),
        ("0.6881", "train"),
        ("0.1042", "test"),
        ("0.4982", "validation"),
        ("0.2076", "validation"),
        ("0.6094", "train"),
    ]
    keys_ = [hashlib.sha256(bytes([0, 0, n])).digest() for n in range(6)]
    place = held_out.places(keys_, 7)
    assert [f"{p:.4f}" for p in place] == [p for p, _ in golden]
    split = splits.divide(toy([0, 1, 2] * 2), wanted(**SHARES, allow_fewer=True), 7)
    for n, (_, side) in enumerate(golden):
        assert (n in split.test, n in split.validation) == (side == "test", side == "validation")
    whole = [int(hashlib.sha256(b"7:" + key).hexdigest(), 16) / 2**256 for key in keys_]
    np.testing.assert_allclose(place, whole, rtol=0, atol=2**-53)


def test_the_side_is_that_of_the_file_where_there_is_one():
    """A file's digest, not its pixels': the same file at another size stays where it was."""
    mark = [hashlib.sha256(b"file %d" % n).digest() for n in range(30)]
    data = THIRTY._replace(digests={"train": mark})
    split = splits.divide(data, wanted(**SHARES, allow_fewer=True), 0)
    there = held_out.places(mark, 0)
    assert set(split.test) == set(np.flatnonzero(there < 0.2))
    assert set(split.test) != set(splits.divide(THIRTY, wanted(**SHARES), 0).test)


@given(st.lists(st.integers(-1, 2), min_size=3, max_size=40), st.integers(-1, 2), st.data())
@QUICK
def test_an_added_file_moves_no_other(labels, label, data):
    """Row 65: wherever it is put in the list, and of the labelled ones it displaces one at most."""
    place, seed = data.draw(st.integers(0, len(labels))), data.draw(st.integers(0, 3))
    numbers = list(range(len(labels)))
    more = labels[:place] + [label] + labels[place:], numbers[:place] + [999] + numbers[place:]
    old, new = toy(labels), toy(*more)
    amount = wanted(**SHARES, labelled={"per_class": 2}, allow_fewer=True)
    was, now = splits.divide(old, amount, seed), splits.divide(new, amount, seed)
    for name in ("test", "validation", "unlabelled"):
        before, after = numbers_of(old, getattr(was, name)), numbers_of(new, getattr(now, name))
        assert before == after - {999}, name
    lost = numbers_of(old, was.labelled) - numbers_of(new, now.labelled)
    assert len(lost) <= (999 in numbers_of(new, now.labelled))


def test_the_order_of_the_files_plays_no_part():
    turned = toy([2, 1, 0] * 10, list(range(30))[::-1])
    made = wanted(**SHARES, labelled={"per_class": 2})
    for one, two in zip(
        splits.divide(THIRTY, made, 0), splits.divide(turned, made, 0), strict=True
    ):
        assert numbers_of(THIRTY, one) == numbers_of(turned, two)


def test_copies_fall_on_the_same_side():
    data = toy([0, 1, 2] * 20, list(range(30)) * 2)
    split = splits.divide(data, wanted(**SHARES), 1)
    for rows in (split.test, split.validation):
        assert len(rows) and {(row + 30) % 60 for row in rows.tolist()} == set(rows.tolist())
    split_checks.check_leaks(data, split)


def test_content_takes_fractions_alone():
    with pytest.raises(UserError, match=r"fractions alone: set split\.test\.fraction"):
        splits.split_of(THIRTY, wanted(rule="content", test={"total": 3}), 0)


def test_content_follows_the_seed_and_its_fractions():
    data = toy([0, 1, 2] * 1000)
    one, two = (splits.divide(data, wanted(**SHARES), seed) for seed in (0, 1))
    assert set(one.test) != set(two.test)
    assert abs(len(one.test) - 600) < 80 and abs(len(one.validation) - 900) < 90  # 3.5 sigma


# --- rule "sha1_id": S3 ---------------------------------------------------------------------------


def ids(last_bytes, seed=0):
    """SHA-1 names with the given last bytes."""
    rng = np.random.default_rng(seed)
    heads = rng.integers(0, 256, (len(last_bytes), 19), np.uint8)
    return [f"{h.tobytes().hex()}{b:02x}.jpg" for h, b in zip(heads, last_bytes, strict=True)]


def published():
    """22,640 ids with the marginals of the published CSV, (label, last byte), in mixed order.

    Before balancing: test 800 + 744, validation 747 + 1,475.
    """
    rng = np.random.default_rng(0)
    parts = [
        (label, rng.integers(low, high, n))
        for label, n, low, high in (
            (0, 800, 0, 25),
            (1, 744, 0, 25),
            (0, 747, 25, 50),
            (1, 1475, 25, 50),
            (0, 7617 - 800 - 747, 50, 256),
            (1, 15023 - 744 - 1475, 50, 256),
        )
    ]
    label = np.concatenate([np.full(len(last), k) for k, last in parts])
    last = np.concatenate([last for _, last in parts])
    order = rng.permutation(len(label))
    return label[order], last[order]


def test_the_published_counts_of_s3(tmp_path):
    label, last = published()
    names = ids(last)
    data = toy(label, names=("0", "1"), called=names)
    made = wanted(rule="sha1_id", balanced=True, labelled={"fraction": 1.0})
    split = splits.split_of(data, made, 0)
    assert by_class(data, split.labelled) == [6126, 13532]
    assert by_class(data, split.validation) == [747, 747]
    assert by_class(data, split.test) == [744, 744]

    aside, taken = {}, collections.Counter()  # the rule again, image by image in file order
    for name, k in zip(names, label, strict=True):
        kind = "test" if int(name[38:40], 16) < 25 else "validation"
        if int(name[38:40], 16) < 50 and taken[kind, k] < {"test": 744, "validation": 747}[kind]:
            aside[name], taken[kind, k] = kind, taken[kind, k] + 1
    splits.write(tmp_path / "split.json", split, data)
    with open(tmp_path / "split_label.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["label"], row["type"]) for row in rows] == [
        (name, str(k), aside.get(name, "train")) for name, k in zip(names, label, strict=True)
    ]
    counts = collections.Counter((row["type"], row["label"]) for row in rows)
    assert sorted(counts.values()) == [744, 744, 747, 747, 6126, 13532]
    assert "0           6,126       6,126         747         744" in split_table.describe(
        data, split
    )


def test_golden_ids_of_sha1():
    """0 to 24 test, 25 to 49 validation, else train: the bytes at the borders."""
    last = [0, 24, 25, 49, 50, 255]
    data = toy([0, 1, 0, 1, 0, 1], names=("a", "b"), called=ids(last))
    split = splits.split_of(data, wanted(rule="sha1_id"), 0)
    assert split.test.tolist() == [0, 1] and split.validation.tolist() == [2, 3]
    assert split.unlabelled.tolist() == [4, 5]
    plain = [
        "0000000000000000000000000000000000000018",
        "a/b/ffffffffffffffffffffffffffffffffffffff19.jpeg",
        "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709.JPG",
        "da39a3ee5e6b4b0d3255bfef95601890afd8070a.png",
        "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12",  # of the quick brown fox: 0x12 = 18
        "de9f2c7fd25e1b3afad3e85a0bd17d9b100db4b3",  # of the quick brown cog: 0xb3 = 179
    ]
    data = toy([0, 1] * 3, names=("a", "b"), called=plain)
    split = splits.divide(data, wanted(rule="sha1_id", allow_fewer=True), 0)
    assert split.test.tolist() == [0, 2, 3, 4] and split.validation.tolist() == [1]


@pytest.mark.parametrize("bad", ["cat.1.jpg", "g" * 40, "0" * 39, "0" * 41 + ".jpg"])
def test_a_name_that_is_no_sha1_is_named(bad):
    data = toy([0, 1, 0, 1, -1], names=("a", "b"), called=[*ids([3, 90, 91]), bad, "no matter"])
    with pytest.raises(UserError, match=f"{bad!r} is not 40 hex digits") as caught:
        splits.split_of(data, wanted(rule="sha1_id"), 0)
    assert "--config.split.rule=content" in caught.value.hint


def test_balance_that_leaves_nothing_is_refused():
    data = toy([0, 1, 0, 1], names=("a", "b"), called=ids([3, 90, 91, 92]))
    with pytest.raises(UserError, match="class 'b' has no test image: cut to balance"):
        splits.split_of(data, wanted(rule="sha1_id", balanced=True), 0)


def test_balance_gives_the_surplus_back_whatever_the_rule():
    labels = [0] * 40 + [1] * 20 + [2] * 10
    for more in ({"test": {"fraction": 0.3}}, {**SHARES, "test": {"fraction": 0.3}}):
        cut, whole = (
            splits.divide(toy(labels), wanted(**more, balanced=b, allow_fewer=True), 0)
            for b in (1, 0)
        )
        sizes = by_class(toy(labels), cut.test)
        assert len(set(sizes)) == 1 and sizes[0] == min(by_class(toy(labels), whole.test)) > 0
        first = [r for r in whole.test.tolist() if labels[r] == 0][: sizes[0]]
        assert [r for r in cut.test.tolist() if labels[r] == 0] == first
        assert set(whole.test) - set(cut.test) <= set(cut.unlabelled)


# --- counts ---------------------------------------------------------------------------------------


def test_58_a_class_that_has_too_few_is_named_and_taken_when_allowed(capsys):
    data = toy([0] * 3 + [1] * 5 + [2] * 20)
    with pytest.raises(UserError) as caught:
        splits.split_of(data, wanted(labelled={"per_class": 6}), 0)
    assert "class 'ant' has 3 images but 6 labelled ones" in caught.value.message
    assert "class 'bee' has 5 images but 6 labelled ones" in caught.value.message
    assert "cat" not in caught.value.message and "allow_fewer=True" in caught.value.hint
    split = splits.split_of(data, wanted(labelled={"per_class": 6}, allow_fewer=True), 0)
    assert by_class(data, split.labelled) == [3, 5, 6]
    said = capsys.readouterr().err
    assert "class 'ant' has 3 images but 6" in said and "all there are were taken: 14" in said


def test_58_what_is_set_aside_counts_and_validation_can_be_short_too(capsys):
    data = toy([0] * 4 + [1] * 9)._replace(class_names=("ant", "bee"))
    with pytest.raises(UserError, match="class 'ant' has 1 images but 2 labelled ones"):
        splits.split_of(data, wanted(labelled={"per_class": 2}, validation={"per_class": 3}), 0)
    made = wanted(test={"per_class": 3}, validation={"per_class": 2})
    with pytest.raises(UserError, match="class 'ant' has 1 images but 2 validation ones"):
        splits.split_of(data, made, 0)
    split = splits.divide(data, {**made, "allow_fewer": True}, 0)
    assert [by_class(data, rows) for rows in split] == [[0, 1], [0, 4], [1, 2], [3, 3]]
    assert "has 0 images but 1 labelled" in capsys.readouterr().err


def test_58_many_classes_are_not_all_listed():
    have = np.ones(30, int)
    with pytest.raises(UserError) as caught:
        amounts.enough(have + 1, have, [str(k) for k in range(30)], "labelled", False)
    assert caught.value.message.count("labelled ones") == 10
    assert "and 20 more classes" in caught.value.message
    assert (amounts.enough(have + 1, have, NAMES * 10, "labelled", True) == 1).all()


@given(st.integers(0, 200), st.lists(st.integers(0, 90), min_size=1, max_size=12))
@QUICK
def test_59_a_total_is_exact_and_even(total, have):
    each = amounts.counts({"total": total}, np.array(have))
    assert each.sum() == total
    assert set(each) <= {total // len(have), -(-total // len(have))}


@given(st.floats(0, 1), st.lists(st.integers(0, 90), min_size=1, max_size=12))
@QUICK
def test_59_a_fraction_is_exact_and_in_proportion(fraction, have):
    each = amounts.counts({"fraction": fraction}, np.array(have))
    assert abs(each.sum() - sum(have) * fraction) <= 0.5 + 1e-9
    assert all(abs(e - h * fraction) < 1 and e <= h for e, h in zip(each, have, strict=True))
    assert amounts.counts({"fraction": 0.25}, np.array([5, 3])).tolist() == [1, 1]  # 1.25, 0.75


def test_59_more_labels_than_images():
    with pytest.raises(UserError, match="class 'ant' has 10 images but 34 labelled"):
        splits.split_of(THIRTY, wanted(labelled={"total": 100}), 0)


@pytest.mark.parametrize(
    ("names", "said"), [(("ant",), "has 1: \\['ant'\\]"), ((), "has 0: \\[\\]")]
)
def test_60_one_class_and_none_are_refused(names, said):
    data = toy([0] * 5 if names else [-1] * 5, names=names)
    with pytest.raises(UserError, match=f"two classes or more are needed, and the source {said}"):
        splits.split_of(data, wanted(), 0)
    with pytest.raises(UserError, match="all 1 labelled images are of one class, 'ant'"):
        splits.split_of(THIRTY, wanted(labelled={"total": 1}, allow_fewer=True), 0)


def test_60_a_class_that_is_measured_and_not_taught(capsys):
    data = toy([0, 1] * 5, test=([0, 1, 2, 2], range(50, 54)))
    made = wanted(labelled={"total": 2})
    with pytest.raises(UserError) as caught:
        splits.split_of(data, made, 0)
    assert caught.value.message == (
        "cat in the test set but not among the labelled images.\n"
        "  labelled: ant, bee; test: ant, bee, cat."
    )
    assert "--config.split.allow_fewer=True" in caught.value.hint
    split = splits.split_of(data, {**made, "allow_fewer": True}, 0)
    assert splits.info_of(data, split).label_counts == (1, 1, 0)
    assert "warning: cat in the test set" in capsys.readouterr().err
    data = toy([0, 1, 2] * 5, test=([0, 1], range(50, 52)))
    splits.split_of(data, wanted(), 0)
    assert "warning: no test image of cat" in capsys.readouterr().err


def test_a_test_image_without_a_label_is_named():
    data = toy([0, 1] * 5, test=([0, -1, 1, -1], range(50, 54)))
    with pytest.raises(UserError, match=r"2 test images have no label \(first: test\[1\]\)"):
        splits.split_of(data, wanted(), 0)


# --- leaks ----------------------------------------------------------------------------------------


def test_62_a_validation_image_planted_among_the_unlabelled():
    """By content, not by index: a copy that has no label of its own."""
    labels = [0, 1, 2] * 10
    split = splits.split_of(toy(labels), wanted(validation={"per_class": 2}), 0)
    planted = toy([*labels, -1], [*range(30), int(split.validation[3])])
    with pytest.raises(UserError) as caught:
        splits.split_of(planted, wanted(validation={"per_class": 2}), 0)
    pair = f"train[{split.validation[3]}] = train[30]"
    assert caught.value.message == f"1 validation images are also training images:\n  {pair}"


@pytest.mark.parametrize("more", [{}, SHARES, {"folds": 3, "labelled": {"per_class": 3}}])
def test_62_what_is_measured_on_is_never_unlabelled(more):
    split = splits.split_of(THIRTY, wanted(**{"test": {"per_class": 2}, **more}), 0)
    measured = set(split.test) | set(split.validation)
    assert measured and not measured & (set(split.unlabelled) | set(split.labelled))
    assert not set(split.test) & set(split.validation)


def leaky(copies):
    """A source whose test set shows so many of its 60 training images."""
    return toy([0, 1, 2] * 20, test=([0, 1, 2] * 10, [*range(copies), *range(100, 130 - copies)]))


def test_63_copies_are_refused_with_the_pairs():
    data = leaky(2)._replace(names={"train": [f"a/{n}.png" for n in range(60)]})
    with pytest.raises(UserError) as caught:
        splits.split_of(data, wanted(), 0)
    assert caught.value.message == (
        "2 test images are also training images:\n  test[0] = a/0.png\n  test[1] = a/1.png"
    )
    assert "--config.split.allow_duplicates=True" in caught.value.hint
    with pytest.raises(UserError) as caught:
        splits.split_of(leaky(14), wanted(), 0)
    assert caught.value.message.count(" = ") == 10 and "and 4 more" in caught.value.message
    splits.split_of(leaky(0), wanted(), 0)
    twice = toy([0, 1, 2] * 3, [0, 1, 2, 3, 4, 5, 6, 3, 3], test=([0, 1, 2], [3, 90, 91]))
    with pytest.raises(UserError, match=r"test\[0\] = train\[3\]"):  # the first of three
        splits.split_of(twice, wanted(), 0)


def test_63_allowed_copies_leave_training_and_the_test_set_stays(capsys):
    data, made = leaky(14), wanted(labelled={"per_class": 10}, allow_duplicates=True)
    split = splits.split_of(data, made, 0)
    whole = splits.divide(data, made, 0)
    assert set(whole.unlabelled) - set(split.unlabelled) == set(range(14))
    gone = set(whole.labelled) & set(range(14))
    assert gone and set(whole.labelled) - set(split.labelled) == gone
    said = capsys.readouterr().err
    assert f"14 training images, {len(gone)} of them labelled, are copies" in said
    assert splits.info_of(data, split).sizes["test"] == 30
    split_checks.check_leaks(data, split)
    splits.split_of(leaky(0), made, 0)
    assert "copies" not in capsys.readouterr().err


def test_63_a_validation_image_that_is_a_test_image_is_warned_of(capsys):
    data = toy([0, 1, 2] * 3, test=([0, 1, 2], [50, 51, 52]), validation=([0, 1, 2], [52, 53, 50]))
    splits.split_of(data, wanted(), 0)
    assert "2 validation images are also test images" in capsys.readouterr().err


def test_63_images_are_looked_at_in_blocks(monkeypatch):
    """Never more at once than a block, so that memory stays flat."""
    monkeypatch.setattr(sources, "BLOCK", 7)
    asked = []

    def read(name, indices):
        asked.append(len(indices))
        return THIRTY.read(name, indices)

    data = THIRTY._replace(read=read)
    splits.split_of(data, wanted(**SHARES), 0)
    assert max(asked) == 7 and sum(asked) == 2 * 30


def test_a_file_s_digest_spares_reading_it():
    def read(name, indices):
        raise AssertionError("read")

    mark = [hashlib.sha256(b"%d" % n).digest() for n in range(30)]
    data = THIRTY._replace(read=read, digests={"train": mark})
    assert len(splits.split_of(data, wanted(**SHARES), 0).test)


# --- long tails, folds, unknown classes -----------------------------------------------------------


@pytest.mark.parametrize(
    ("most", "gamma", "classes"), [(5000, 100, 10), (1500, 150, 10), (500, 20, 100)]
)
def test_a_long_tail_is_the_published_formula(most, gamma, classes):
    exact = [
        Decimal(most) * Decimal(gamma) ** (Decimal(-k) / Decimal(classes - 1))
        for k in range(classes)
    ]
    found = amounts.long_tail(most, gamma, classes)
    assert found.tolist() == [int(e + Decimal("1e-9")) for e in exact]
    assert amounts.long_tail(most, 1 / gamma, classes).tolist() == found.tolist()[::-1]


def test_the_known_counts_of_long_tailed_cifar10():
    """CIFAR-10-LT at 100, as in arXiv:1901.05555's data and everywhere since."""
    counts = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert amounts.long_tail(5000, 100, 10).tolist() == counts


def test_labelled_and_unlabelled_long_tails():
    data = toy([0, 1, 2] * 100)
    made = wanted(labelled={"per_class": 16}, labelled_imbalance=4.0, unlabelled_imbalance=16.0)
    split = splits.split_of(data, made, 0)
    assert by_class(data, split.labelled) == [16, 8, 4]
    others = np.setdiff1d(split.unlabelled, split.labelled)
    assert by_class(data, others) == [84, 21, 5]  # 100 - 16, a quarter, a sixteenth
    assert set(split.labelled) < set(split.unlabelled)
    made = {**made, "unlabelled_imbalance": 1 / 16, "unlabelled_includes_labelled": False}
    split = splits.split_of(data, made, 0)
    assert by_class(data, split.unlabelled) == [6, 24, 96]
    made = wanted(labelled={"per_class": 16}, labelled_imbalance=0.25)
    assert by_class(data, splits.split_of(data, made, 0).labelled) == [4, 8, 16]


def test_a_long_tail_needs_images_and_labels(capsys):
    data = toy([0] * 50 + [1] * 5 + [2] * 50)
    made = wanted(unlabelled_imbalance=4.0)
    with pytest.raises(UserError, match="class 'bee' has 4 images but 24 unlabelled ones"):
        splits.split_of(data, made, 0)
    split = splits.split_of(data, {**made, "allow_fewer": True}, 0)
    assert by_class(data, split.unlabelled) == [50, 5, 13]
    with pytest.raises(UserError, match="and 2 images have no label"):
        splits.split_of(toy([0, 1, 2] * 5 + [-1, -1]), made, 0)


def test_folds_partition_the_labelled_images_and_nothing_else_changes():
    data = toy([0] * 9 + [1] * 11 + [2] * 20)
    made = wanted(labelled={"per_class": 5}, test={"per_class": 2})
    whole = splits.split_of(data, made, 0)
    found = [splits.split_of(data, {**made, "folds": 4, "fold": n}, 0) for n in range(4)]
    assert sorted(np.concatenate([one.validation for one in found])) == whole.labelled.tolist()
    for one in found:
        assert sorted([*one.labelled, *one.validation]) == whole.labelled.tolist()
        assert sorted([*one.unlabelled, *one.validation]) == whole.unlabelled.tolist()
        assert (one.test == whole.test).all()
        assert all((np.diff(rows) > 0).all() for rows in one)
    each = np.array([by_class(data, one.validation) for one in found])
    assert np.ptp(each, axis=0).max() <= 1 and np.ptp(each.sum(1)) <= 1
    apart = splits.split_of(data, {**made, "folds": 4, "unlabelled_includes_labelled": False}, 0)
    assert not set(apart.unlabelled) & set(whole.labelled)


def test_folds_go_with_a_test_set_that_the_source_brings():
    data = toy([0, 1, 2] * 4, test=([0, 1, 2], range(90, 93)))
    split = splits.split_of(data, wanted(labelled={"per_class": 2}, folds=2), 0)
    assert splits.info_of(data, split).sizes["test"] == len(split.validation) == 3


def test_fewer_labels_than_folds():
    made = wanted(labelled={"per_class": 3}, folds=4)
    with pytest.raises(UserError, match="class 'ant' has 3 labelled images for 4 folds"):
        splits.split_of(THIRTY, made, 0)
    split = splits.split_of(THIRTY, {**made, "allow_fewer": True}, 0)
    assert len(split.validation) == 3 and len(split.labelled) == 6


def test_unknown_classes_are_unlabelled_images_and_nothing_more():
    data = toy(
        [0, 1, 2, -1] * 5,
        called=[f"{n}.png" for n in range(20)],
        test=([2, 1, 0, 1], range(90, 94)),
        validation=([1, 1, 2], range(80, 83)),
    )
    data = data._replace(digests={"test": [b"a", b"b", b"c", b"d"]}, draw=lambda n, r, s: r + s)
    made = without(data, ["bee"])
    assert made.class_names == ("ant", "cat")
    assert made.labels["train"].tolist() == [0, -1, 1, -1] * 5
    assert made.labels["test"].tolist() == [1, 0] and made.labels["validation"].tolist() == [1]
    assert numbers_of(made, np.array([0, 1]), "test") == {90, 92}
    assert numbers_of(made, np.array([0]), "validation") == {82}
    assert numbers_of(made, np.array([5]), "train") == {5}
    assert made.digests["test"] == [b"a", b"c"] and made.names["train"] == data.names["train"]
    assert without(data._replace(names={"test": "abcd"}), ["bee"]).names["test"] == ["a", "c"]
    assert made.draw and made.draw("test", np.array([1]), np.array([0])) == [2]
    assert made.fingerprint not in (data.fingerprint, without(data, ["ant"]).fingerprint)
    split = splits.split_of(made, wanted(unknown_classes=("bee",)), 0)
    assert set(np.flatnonzero(data.labels["train"] == 1)) <= set(split.unlabelled)
    assert len(split.unlabelled) == 20 and splits.info_of(made, split).sizes["test"] == 2
    assert without(data, ()) is data
    odd = toy([0, 1, 2] * 4, test=([0, 1, -1], range(90, 93)))  # a mistake, still to be said
    assert without(odd, ["bee"]).labels["test"].tolist() == [0, -1]


def test_unknown_classes_must_be_there_and_be_taken_out():
    with pytest.raises(UserError, match="no class 'bea'. Did you mean 'bee'"):
        without(THIRTY, ("bea",))
    with pytest.raises(ValueError, match="bee"):
        splits.split_of(THIRTY, wanted(unknown_classes=("bee",)), 0)
    with pytest.raises(UserError, match="two classes or more are needed"):
        splits.split_of(without(THIRTY, ("bee", "cat")), wanted(), 0)


# --- files ----------------------------------------------------------------------------------------


def test_65_a_resumed_run_reads_the_file_it_kept(tmp_path, capsys):
    made, path = wanted(test={"per_class": 2}), tmp_path / "splits" / "split.json"
    split = splits.split_of(THIRTY, made, 0, path)
    splits.write(path, split, THIRTY)
    for seed, config in ((9, made), (0, wanted(test={"per_class": 4}))):
        again = splits.split_of(THIRTY, config, seed, path)
        assert all((a == b).all() for a, b in zip(again, split, strict=True))
    kept = files.read_json(path)
    assert list(kept) == [
        "data_fingerprint", "table_sha256", "labelled", "unlabelled", "validation", "test"
    ]  # fmt: skip
    table = path.with_name("split_label.csv")
    assert kept["table_sha256"] == hashlib.sha256(table.read_bytes()).hexdigest()
    assert not capsys.readouterr().err
    table.write_text(table.read_text().replace("test", "train"))
    assert (splits.read(path, THIRTY).test == split.test).all()
    assert "split_label.csv was changed; the split is that of split.json" in capsys.readouterr().err


def test_a_split_of_before_there_were_test_sets_is_read(tmp_path):
    old = {"data_fingerprint": THIRTY.fingerprint, "labelled": [1], "unlabelled": [1, 2]}
    files.write_json(tmp_path / "old.json", old | {"validation": [3]})
    split = splits.read(tmp_path / "old.json", THIRTY)
    assert [part.tolist() for part in split] == [[1], [1, 2], [3], []]
    assert split.test.dtype == split.labelled.dtype == np.int64
    for value in (old, [], {"labelled": []}):
        files.write_json(tmp_path / "old.json", value)
        with pytest.raises(UserError, match="old.json is not a split"):
            splits.read(tmp_path / "old.json", THIRTY)


def test_the_table_says_every_image_s_set_and_can_be_read_back(tmp_path):
    called = [
        "a.png",
        'q"u,o.png',
        "=cmd.png",
        "+1.png",
        "-1.png",
        "@x.png",
        "new\nline\r.png",
        "é.png",
    ]
    data = toy([0, 1, 2, 0, 1, 2, -1, 0], called=called, test=([1, 2], [90, 91]))
    split = splits.Split(*(np.array(rows, int) for rows in ([0, 1, 2], [0, 2, 6, 4, 5], [3])))
    table = tmp_path / "split_label.csv"
    digest = split_table.write_table(table, split, data)
    assert digest == hashlib.sha256(table.read_bytes()).hexdigest()
    rows = list(csv.reader(io.StringIO(table.read_bytes().decode(), newline="")))
    assert rows == [
        ["id", "label", "type"],
        ["a.png", "ant", "train"],
        ['q"u,o.png', "bee", "train"],
        ["./=cmd.png", "cat", "train"],
        ["./+1.png", "ant", "validation"],
        ["./-1.png", "bee", "unlabelled"],
        ["./@x.png", "cat", "unlabelled"],
        ["new\nline\r.png", "", "unlabelled"],
        ["test[0]", "bee", "test"],
        ["test[1]", "cat", "test"],
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["split_label.csv"]


def test_the_source_table_reads_the_table_of_a_split(tmp_path):
    """What S3 does: the sets of one run are given to the next by a column of the CSV."""
    rng = np.random.default_rng(0)
    called = [
        *(name[:40] + ".png" for name in ids([3, 7, 30, 31, 99, 255, 60])),
        "=1.png",
        "-2.png",
    ]
    for name in called:
        Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).save(tmp_path / name)
    rows = "".join(f"{name},{'ab'[n % 2]}\n" for n, name in enumerate(called))
    (tmp_path / "labels.csv").write_text("id,label\n" + rows)
    image = {**keys.base().image.to_dict(), "size": 4, "cache": False}
    first = table(image=image, path=str(tmp_path / "labels.csv"))
    made = wanted(labelled={"fraction": 1.0}, test={"per_class": 1}, validation={"per_class": 1})
    split = splits.split_of(first, made, 0)
    split_table.write_table(tmp_path / "split_label.csv", split, first)
    again = table(image=image, path=str(tmp_path / "split_label.csv"), split="type")
    for name, place in (("labelled", "train"), ("validation", "validation"), ("test", "test")):
        digests = [first.digests["train"][row] for row in getattr(split, name)]
        assert list(again.digests[place]) == digests
        label = first.labels["train"][getattr(split, name)]
        assert again.labels[place].tolist() == label.tolist()


def test_names_that_are_not_utf8_are_written_as_they_are(tmp_path):
    called = [
        b"\xff%d.png".replace(b"%d", b"%d" % n).decode("utf-8", "surrogateescape") for n in range(3)
    ]
    split = splits.split_of(toy([0, 1, 2], called=called), wanted(), 0)
    split_table.write_table(tmp_path / "t.csv", split, toy([0, 1, 2], called=called))
    assert b"\r\n\xff0.png,ant,train\r\n" in (tmp_path / "t.csv").read_bytes()


def test_the_counts_for_people():
    data = toy([0, 1, 2] * 4 + [-1, -1], test=([0, 0, 1, 2], range(90, 94)))
    split = splits.split_of(data, wanted(validation={"per_class": 1}), 0)
    assert split_table.describe(data, split).splitlines() == [
        "class       labelled  unlabelled  validation        test",
        "ant                1           3           1           2",
        "bee                1           3           1           1",
        "cat                1           3           1           1",
        "no label           0           2           0           0",
        "all                3          11           3           4",
    ]


def test_the_counts_of_many_classes_are_short():
    names = tuple(f"class {k}" for k in range(13))
    data = toy([*range(13)] * 3 + [5] * 4, names=names)
    split = splits.split_of(data, wanted(test={"per_class": 1}), 0)
    assert split_table.describe(data, split).splitlines() == [
        "class               labelled  unlabelled  validation        test",
        "least of a class           1           2           0           1",
        "most of a class            1           6           0           1",
        "all 13 classes            13          30           0          13",
    ]


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["rule=contents"], "split.rule = 'contents' must be one of seeded, content, sha1_id"),
        (["rule=content", "test.per_class=3"], "'content' takes fractions alone: set split.test"),
        (["rule=content", "validation.total=3"], "alone: set split.validation.fraction"),
        (
            ["rule=sha1_id", "test.fraction=0.1"],
            "decides the test set itself: leave split.test out",
        ),
        (["rule=sha1_id", "validation.total=1"], "decides the validation set itself"),
        (["test.fraction=0.6", "validation.fraction=0.4"], "leave nothing to train on"),
        (["test.fraction=1"], "split.test.fraction = 1.0 must be below 1"),
        (["labelled.fraction=1.1"], "split.labelled.fraction = 1.1 must be 1 or less"),
        (["balanced=True"], "split.balanced does nothing without"),
        (["folds=1"], "split.folds = 1 would leave no labels"),
        (["folds=3", "fold=3"], "split.fold = 3 must be below split.folds = 3"),
        (["fold=1"], "split.fold = 1 must be below split.folds = 0"),
        (["folds=3", "validation.total=9"], "split.folds makes the validation set"),
        (["folds=3", "rule=sha1_id"], "split.folds makes the validation set"),
        (["folds=3", "file=a.json"], "split.folds would do nothing"),
        (["labelled_imbalance=0"], "split.labelled_imbalance = 0.0 must be above 0"),
        (["unlabelled_imbalance=-1"], "split.unlabelled_imbalance = -1.0 must be above 0"),
        (["unknown_classes=(1,)"], "split.unknown_classes = (1,) must be names"),
    ],
)
def test_settings_that_contradict_each_other(overrides, said):
    with pytest.raises(UserError) as caught:
        check.check(
            load.override(keys.base(), load.parse(f"--config.split.{o}" for o in overrides))
        )
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["labelled.fraction=1"],
        ["rule=content", "test.fraction=0.1", "validation.total=0", "balanced=True"],
        ["rule=sha1_id", "balanced=True"],
        ["folds=5", "fold=4"],
        ["unknown_classes=('0','9')"],
        ["labelled_imbalance=0.01"],
    ],
)
def test_settings_that_go_together(overrides):
    made = load.override(keys.base(), load.parse(f"--config.split.{o}" for o in overrides))
    made.patience, made.evaluate_every = 0, 0
    check.check(made)


@pytest.mark.parametrize(
    "given", ["split.folds=2", "split.rule=sha1_id", "split.validation.total=9"]
)
def test_patience_knows_where_validation_images_come_from(given):
    made = load.override(keys.base(), load.parse([f"--config.{given}"]))
    made.patience, made.evaluate_every = 2, 5
    check.check(made)
