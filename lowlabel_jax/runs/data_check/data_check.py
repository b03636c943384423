"""What a data set holds and what is wrong with it, before anything is trained on it. No JAX."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.data import check as look_at
from lowlabel_jax.data.check import Near, Place, Scan
from lowlabel_jax.data.source import Problem, Source, image_name
from lowlabel_jax.images import near
from lowlabel_jax.runs.data_check import data_given, data_parts
from lowlabel_jax.runs.data_check.data_given import Data
from lowlabel_jax.runs.data_check.data_parts import Parts

EMPTY: dict[str, Any] = {
    "classes": {},
    "splits": {},
    "problems": [],
    "duplicates": [],
    "near_duplicates": [],
    "leakage": [],
    "images": {},
    "imbalance": {},
}


class Found(NamedTuple):
    """The report, and the places of what it tells of, for pictures."""

    report: dict[str, Any]  # what --json prints
    same: list[list[Place]] = []  # groups of images that are equal
    near: list[Near] = []  # pairs that are nearly so: across sides, then the most alike first
    hints: Sequence[str] = ()  # what to type about what is wrong


def found_in(data: Data) -> Found:
    """All that there is to say about data. An image is called by its file, or "train[7]"."""
    source = data.source
    if source is None:
        return Found(EMPTY | {"problems": [_as_json(p) for p in data.problems]}, hints=[data.hint])
    scans = {name: look_at.scan(source, name) for name in source.labels}
    same, parts = look_at.copies(scans), data_parts.parts_of(data, source)
    alike, complete = look_at.near_copies(scans, _small_images(data))
    alike.sort(key=lambda pair: len(parts.sides([pair.first, pair.second])) < 2)
    leaks = [group for group in same if len(parts.sides(group)) > 1]
    within = [part for group in same for part in look_at.by_set(group) if len(part) > 1]
    counted = look_at.counts(source.class_names, parts.labels)
    unequal = _imbalance(counted, parts)
    problems = [
        *data_parts.opened(data),
        *data_parts.leakage(source, parts, leaks, data.config.split.allow_duplicates),
        *data_parts.conflicts(source, same),
        *data_parts.constant(source, scans),
        *data_parts.few(counted),
        *data_parts.unequal(unequal),
        *data_parts.near_ones(source, parts, alike, complete),
        *data_parts.wide(source),
    ]
    report = {
        "classes": counted,
        "splits": _sizes(scans, parts),
        "problems": [_as_json(p) for p in sorted(problems, key=lambda p: not p.wrong)],
        "duplicates": [_group(source, parts, group) for group in within],
        "near_duplicates": [_pair(source, parts, pair) for pair in alike],
        "leakage": [_group(source, parts, group) for group in leaks],
        "images": _images(source),
        "imbalance": unequal,
    }
    return Found(report, same, alike, data_parts.hints(data, problems))


def is_wrong(report: Mapping[str, Any]) -> bool:
    """Whether results on this data would be wrong, or a run refused."""
    return any(problem["wrong"] for problem in report["problems"])


def _small_images(data: Data) -> Callable[[str, np.ndarray], np.ndarray]:
    """(set, indices [m]) -> thumbnails uint8 [m, h, w]; opened when they are needed."""
    opened: list[Source] = []

    def small(name: str, indices: np.ndarray) -> np.ndarray:
        if not opened:
            opened.append(data_given.small(data))
        return near.thumbnails(opened[0].read(name, indices))

    return small


def _imbalance(counted: Mapping[str, Mapping[str, int]], parts: Parts) -> dict[str, Any]:
    found = {
        name: look_at.imbalance({label: of[name] for label, of in counted.items()})
        for name in parts.labels
    }
    return {name: of for name, of in found.items() if of}


def _sizes(scans: Mapping[str, Scan], parts: Parts) -> dict[str, Any]:
    """set -> how many images, how many of them without a label, and what was measured."""
    sizes = {name: look_at.numbers(found) for name, found in scans.items()}
    for name, label in parts.labels.items():
        sizes[name] = sizes.get(name, {}) | {"n": len(label), "no_label": int((label < 0).sum())}
    return {name: sizes[name] for name in parts.labels}


def _images(source: Source) -> dict[str, Any]:
    """What the files are like, and the shape [h, w, c] that training sees."""
    records = [record for those in source.records.values() for record in those]
    return {
        "shape": list(source.image_shape),
        "compared": bool(records) or min(source.image_shape[:2]) >= near.SIDE,
        **look_at.sizes(records),
    }


def _as_json(problem: Problem) -> dict[str, Any]:
    return {
        "kind": problem.kind,
        "path": problem.path,
        "line": problem.line,
        "detail": problem.detail,
        "wrong": problem.wrong,
    }


def _group(source: Source, parts: Parts, group: Sequence[Place]) -> dict[str, Any]:
    return {
        "images": [image_name(source, *place) for place in group],
        "classes": [look_at.class_of(source, place) for place in group],
        "sets": [str(parts.of[name][index]) or None for name, index in group],
    }


def _pair(source: Source, parts: Parts, pair: Near) -> dict[str, Any]:
    return _group(source, parts, [pair.first, pair.second]) | {
        "correlation": round(pair.correlation, 4),
        "bits": pair.bits,
        "mirrored": pair.mirrored,
    }
