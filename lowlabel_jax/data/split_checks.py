"""What a split must not be: trained on what it is measured on, or blind to a class."""

from collections.abc import Iterator

import numpy as np

from lowlabel_jax.core import log
from lowlabel_jax.core.errors import UserError, problems
from lowlabel_jax.data.sets import MEASURED, Split, brought, rows
from lowlabel_jax.data.source import SHOWN, Source, digests, image_name

LEAK = (
    "remove the copies: a score on them would flatter; or leave them out of training: "
    "--config.split.allow_duplicates=True."
)


def check_leaks(source: Source, split: Split, allow_duplicates: bool = False) -> Split:
    """The split, no image of which is both trained and measured on, by content.

    Raises UserError with the pairs where one is; or, where duplicates are allowed, warns and
    leaves these out of the labelled and unlabelled sets. What is measured on never changes.
    """
    trained = np.union1d(split.labelled, split.unlabelled)
    keys = digests(source, "train", trained)
    first = dict(zip(reversed(keys), reversed(trained), strict=True))
    seen, found = {}, []
    for name in MEASURED:
        place, indices, _ = rows(source, split, name)
        measured = list(zip(digests(source, place, indices), indices, strict=True))
        seen[name] = {key for key, _ in measured}
        pairs = [
            f"{image_name(source, place, index)} = {image_name(source, 'train', first[key])}"
            for key, index in measured
            if key in first
        ]
        found += [_leak(name, pairs)] if pairs else []
    if found and not allow_duplicates:
        problems(found, LEAK)
    if both := len(seen["validation"] & seen["test"]):
        log.warn(f"{both} validation images are also test images: choosing by them flatters.")
    copies = [key in seen["validation"] or key in seen["test"] for key in keys]
    return _less(split, trained[np.array(copies, bool)])


def _leak(name: str, pairs: list[str]) -> str:
    more = f"\n  and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
    listed = "".join(f"\n  {pair}" for pair in pairs[:SHOWN])
    return f"{len(pairs)} {name} images are also training images:{listed}{more}"


def _less(split: Split, copies: np.ndarray) -> Split:
    """The split without these training images."""
    if not len(copies):
        return split
    labelled = np.intersect1d(copies, split.labelled)
    log.warn(
        f"{len(copies)} training images, {len(labelled)} of them labelled, are copies of "
        "validation or test images: they are left out of training."
    )
    return split._replace(
        labelled=np.setdiff1d(split.labelled, copies),
        unlabelled=np.setdiff1d(split.unlabelled, copies),
    )


def check_source(source: Source) -> None:
    """Raise UserError where there are no two classes to tell apart, or a test without labels."""
    if len(source.class_names) < 2:
        raise UserError(
            f"two classes or more are needed, and the source has {len(source.class_names)}: "
            f"{list(source.class_names)}.",
            "give every class its own folder or its own label.",
        )
    problems(_unlabelled(source))


def _unlabelled(source: Source) -> Iterator[str]:
    for name in (name for name in MEASURED if brought(source, name)):
        without = np.flatnonzero(source.labels[name] < 0)
        if len(without):
            first = image_name(source, name, int(without[0]))
            yield f"{len(without)} {name} images have no label (first: {first})."


def check_classes(source: Source, split: Split, allow_fewer: bool = False) -> None:
    """Raise UserError where a class is measured and not taught, with both lists.

    Where fewer are allowed that is a warning; labels of one class alone never are. A class that is
    taught and not measured is a warning too.
    """
    taught = _classes(source, split, "labelled")
    if len(taught) == 1:
        raise UserError(
            f"all {len(split.labelled)} labelled images are of one class, {taught[0]!r}.",
            "label images of two classes or more: raise --config.split.labelled.",
        )
    for name in MEASURED:
        measured = _classes(source, split, name)
        if missing := [c for c in measured if c not in taught]:
            said = f"{_few(missing)} in the {name} set but not among the labelled images"
            both = f"labelled: {_few(taught)}; {name}: {_few(measured)}"
            _refuse(f"{said}.\n  {both}.", allow_fewer)
        if measured and (missing := [c for c in taught if c not in measured]):
            log.warn(f"no {name} image of {_few(missing)}: nothing is known about them from it.")


def _refuse(message: str, allowed: bool) -> None:
    if not allowed:
        raise UserError(
            message,
            "label some of each class: raise --config.split.labelled; or go on without: "
            "--config.split.allow_fewer=True.",
        )
    log.warn(message)


def _classes(source: Source, split: Split, name: str) -> list[str]:
    """The names of the classes that a set shows."""
    return [source.class_names[k] for k in np.unique(rows(source, split, name)[2]) if k >= 0]


def _few(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
