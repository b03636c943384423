"""Which training images are set aside for validation and test: three rules, and folds.

A rule also says in which order the images of a class are drawn, so that asking for more labels
keeps those one had.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.core.errors import UserError, problems
from lowlabel_jax.data import amounts
from lowlabel_jax.data.sets import MEASURED, brought
from lowlabel_jax.data.source import SHOWN, Source, digests, image_name

SHA1 = re.compile("[0-9a-fA-F]{40}")
BYTES = {"test": (0, 25), "validation": (25, 50)}  # of 256: about a tenth each


class Drawn(NamedTuple):
    """orders: of each class its indices as they are drawn; aside: set -> indices set aside."""

    orders: list[np.ndarray]
    aside: dict[str, np.ndarray]


def set_aside(source: Source, config: Mapping[str, Any], seed: int) -> Drawn:
    """Validation and test images by config["rule"], cut to balance where that is wanted.

    Raises UserError where the source brings a set that is asked for here too.
    """
    for name in MEASURED:
        if brought(source, name) and draws(config, name):
            raise UserError(
                f"the source brings {len(source.labels[name])} {name} images, and the split is "
                f"to draw a {name} set too.",
                f"leave it out of config.split, or empty the source's own: --config.source.{name}=",
            )
    rule = {"seeded": seeded, "content": content, "sha1_id": sha1_id}[config["rule"]]
    drawn = rule(source, config, seed)
    if not config["balanced"]:
        return drawn
    aside = {name: balanced(source, name, found) for name, found in drawn.aside.items()}
    return drawn._replace(aside=aside)


def draws(config: Mapping[str, Any], name: str) -> bool:
    """Whether config["split"] sets images aside for a set."""
    if config["rule"] == "sha1_id" or (name == "validation" and config["folds"]):
        return True
    return any(config[name].values())


def seeded(source: Source, config: Mapping[str, Any], seed: int) -> Drawn:
    """Every class in an order of the seed: its first images test, the next ones validate."""
    by_class = of_each_class(source)
    orders = [np.random.default_rng([seed, k]).permutation(r) for k, r in enumerate(by_class)]
    have = np.array([len(order) for order in orders])
    used, aside = np.zeros_like(have), {}
    for name in ("test", "validation"):
        wanted = amounts.counts(config[name], have)
        given = (have - used, source.class_names, name, config["allow_fewer"])
        taken = amounts.enough(wanted, *given)
        parts = [o[u : u + t] for o, u, t in zip(orders, used, taken, strict=True)]
        aside[name], used = np.concatenate(parts), used + taken
    return Drawn(orders, aside)


def content(source: Source, config: Mapping[str, Any], seed: int) -> Drawn:
    """Every image where its digest puts it: below the test fraction test, above it validation.

    No image's set depends on which others there are. The labelled ones are the next in line.
    """
    known = np.flatnonzero(source.labels["train"] >= 0)
    place = places(digests(source, "train", known), seed)
    test, validation = (share(config, name) for name in ("test", "validation"))
    aside = {
        "test": known[place < test],
        "validation": known[(place >= test) & (place < test + validation)],
    }
    return Drawn(in_line(source, known, place), aside)


def sha1_id(source: Source, config: Mapping[str, Any], seed: int) -> Drawn:
    """Every image where the last byte of its id puts it: 0..24 test, 25..49 validation.

    Raises UserError naming the first image that is not called by 40 hex digits.
    """
    known = np.flatnonzero(source.labels["train"] >= 0)
    ids = [bytes.fromhex(sha1_of(source, int(index))) for index in known]
    last = np.array([digest[-1] for digest in ids], int)
    aside = {name: known[(last >= low) & (last < high)] for name, (low, high) in BYTES.items()}
    return Drawn(in_line(source, known, places(ids, seed)), aside)


def places(keys: list[bytes], seed: int) -> np.ndarray:
    """float64 [n] in [0, 1): the first 53 bits of SHA-256("SEED:" + key), as a binary fraction."""
    prefix = f"{seed}:".encode()
    heads = (hashlib.sha256(prefix + key).digest()[:8] for key in keys)
    return np.array([int.from_bytes(head, "big") >> 11 for head in heads], float) / 2**53


def in_line(source: Source, known: np.ndarray, place: np.ndarray) -> list[np.ndarray]:
    """Of each class its indices by their place [n], smallest first."""
    by_place = known[np.argsort(place, kind="stable")]
    label = source.labels["train"][by_place]
    return [by_place[label == k] for k in range(len(source.class_names))]


def of_each_class(source: Source) -> list[np.ndarray]:
    """The training images of each class, in the source's order."""
    label = source.labels["train"]
    return [np.flatnonzero(label == k) for k in range(len(source.class_names))]


def sha1_of(source: Source, index: int) -> str:
    """The 40 hex digits that an image is called by, without folder and extension."""
    name = image_name(source, "train", index)
    stem = PurePosixPath(name).stem
    if not SHA1.fullmatch(stem):
        raise UserError(
            f"the rule sha1_id reads an image's set from its name, and {name!r} is not 40 hex "
            "digits.",
            "name the files by their SHA-1, or let their content decide: "
            "--config.split.rule=content.",
        )
    return stem


def balanced(source: Source, name: str, found: np.ndarray) -> np.ndarray:
    """Of each class as many as the smallest has, in the source's order; the rest goes to training.

    Raises UserError where a class has none at all.
    """
    if not len(found):
        return found
    found = np.sort(found)
    label = source.labels["train"][found]
    sizes = np.bincount(label, minlength=len(source.class_names))
    if not sizes.min():
        raise UserError(
            f"class {source.class_names[sizes.argmin()]!r} has no {name} image: cut to balance, "
            "none would be left.",
            "leave --config.split.balanced out, or set aside more.",
        )
    firsts = [found[label == k][: sizes.min()] for k in range(len(sizes))]
    return np.concatenate(firsts)


def fold(
    known: list[np.ndarray], class_names: tuple[str, ...], config: Mapping[str, Any]
) -> tuple[list[np.ndarray], np.ndarray]:
    """(labelled images of each class without part config["fold"], that part), stratified.

    The images are dealt like cards, class after class: parts differ by one at most, in each class
    and in all. Raises UserError for a class that has fewer images than there are parts.
    """
    folds, starts = config["folds"], np.cumsum([0, *(len(found) for found in known)])
    few = [
        f"class {name!r} has {len(found)} labelled images for {folds} folds."
        for name, found in zip(class_names, known, strict=True)
        if len(found) < folds
    ]
    if not config["allow_fewer"]:
        problems(few[:SHOWN], "lower --config.split.folds, or --config.split.allow_fewer=True.")
    out = [
        (start + np.arange(len(found))) % folds == config["fold"]
        for start, found in zip(starts, known, strict=False)
    ]
    kept = [found[~part] for found, part in zip(known, out, strict=True)]
    return kept, np.concatenate([found[part] for found, part in zip(known, out, strict=True)])


def share(config: Mapping[str, Any], name: str) -> float:
    """An amount as a fraction; no images are 0.0."""
    unit, value = amounts.unit_of(config[name])
    return float(value) if unit == "fraction" else 0.0


def misfits(config: Mapping[str, Any]) -> Iterator[str]:
    """What of config["split"] contradicts itself: one line each. Needs no data."""
    asked = [name for name in MEASURED if any(config[name].values())]
    rule = config["rule"]
    for name in asked:
        if rule == "content" and not share(config, name):
            yield f"split.rule = 'content' takes fractions alone: set split.{name}.fraction."
        if rule == "sha1_id":
            yield f"split.rule = 'sha1_id' decides the {name} set itself: leave split.{name} out."
    if sum(share(config, name) for name in asked) >= 1:
        yield "split.test and split.validation leave nothing to train on: lower their fractions."
    if config["balanced"] and not asked and rule != "sha1_id":
        yield "split.balanced does nothing without split.validation or split.test."
    yield from _folds(config, "validation" in asked or rule == "sha1_id")


def _folds(config: Mapping[str, Any], has_validation: bool) -> Iterator[str]:
    folds, number = config["folds"], config["fold"]
    if folds == 1:
        yield "split.folds = 1 would leave no labels to train on: set 2 or more, or 0 for none."
    if number and number >= folds:
        yield f"split.fold = {number} must be below split.folds = {folds}: parts count from 0."
    if folds and has_validation:
        yield "split.folds makes the validation set: leave split.validation and sha1_id out."
    if folds and config["file"]:
        yield "split.file says which images are which: split.folds would do nothing."
