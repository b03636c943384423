"""Names of policies: a pure function of what was learnt."""

import hashlib
import re

import pytest

from lowlabel_jax.tuning.policy import ADJECTIVES, BIRDS, policy_name

VALUES = {"batch.labelled": 32, "optimizer.rate.peak": 0.1, "objective.name": "fixmatch"}


def test_a_name_is_an_adjective_a_bird_and_four_digits():
    adjective, bird, digits = policy_name(VALUES).split("-")
    assert adjective in ADJECTIVES and bird in BIRDS and re.fullmatch("[0-9a-f]{4}", digits)


def test_the_name_is_read_from_the_hash_of_the_canonical_text():
    digest = hashlib.sha256(b'{"a":1,"b":[true,0.5]}').digest()
    wanted = f"{ADJECTIVES[digest[0] % 64]}-{BIRDS[digest[1] % 64]}-{digest.hex()[4:8]}"
    assert policy_name({"b": (True, 0.5), "a": 1.0}) == wanted


def test_equal_values_have_one_name_in_whatever_order_and_form():
    name = policy_name(VALUES)
    assert policy_name(dict(reversed(VALUES.items()))) == name
    assert policy_name({**VALUES, "batch.labelled": 32.0}) == name
    assert policy_name({"a": {"b": [1.0]}}) == policy_name({"a": {"b": (1,)}})


def test_other_values_have_another_name():
    others = [{**VALUES, "optimizer.rate.peak": 0.1 + i / 1000} for i in range(300)]
    assert len({policy_name(values) for values in others}) == 300
    assert policy_name({"a": 1}) != policy_name({"b": 1})


def test_each_word_can_come_up_and_none_is_there_twice():
    assert len(set(ADJECTIVES)) == len(ADJECTIVES) == len(set(BIRDS)) == len(BIRDS) == 64
    assert all(re.fullmatch("[a-z]+", word) for word in (*ADJECTIVES, *BIRDS))
    names = [policy_name({"i": i}).split("-") for i in range(2000)]
    assert {name[0] for name in names} == set(ADJECTIVES)
    assert {name[1] for name in names} == set(BIRDS)


def test_what_is_no_number_has_no_name():
    with pytest.raises(ValueError, match="JSON"):
        policy_name({"a": float("nan")})
