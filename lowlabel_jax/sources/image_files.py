"""Images that lie in files: found sound or left out, then read as arrays of one shape on request.

What differs between folders, tables and layouts is which files there are and how they are labelled:
a Listing. What they share is here: every file is decoded once before the split, so that one which
cannot be read is said before training and counts stay true; it is never replaced by another image
nor by grey, and nothing is written where the images lie.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.core import log
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data.source import Problem, Source, settle
from lowlabel_jax.images.crops import Fit, fit
from lowlabel_jax.images.decoding import BadImage, decode
from lowlabel_jax.images.inspection import Record, inspect, many
from lowlabel_jax.sources import kept_images

SKIP = "repair or remove them, or leave them out: --config.image.on_bad=skip."


class Listing(NamedTuple):
    """Which files belong to which set, before any of them is opened."""

    root: Path
    class_names: tuple[str, ...]
    paths: Mapping[str, Sequence[str]]  # set -> files below the root, "/" between folders
    labels: Mapping[str, np.ndarray]  # set -> int32 [n], -1 where the label is not known
    names: Mapping[str, Sequence[str]] = {}  # set -> ids, where they are not the paths
    problems: tuple[Problem, ...] = ()  # what was noticed while listing


def from_files(listing: Listing, image: Mapping[str, Any], hint: str = "") -> Source:
    """The source of a listing, its images cropped and resized as config["image"] says.

    Raises BadData that names files which cannot be read (image["on_bad"]: error, skip or report)
    and whatever was wrong already in the listing.
    """
    settle(listing.problems, image["on_bad"], hint)
    everything = sorted({path for paths in listing.paths.values() for path in paths})
    found = inspect(listing.root, everything, image["max_megapixels"])
    records = dict(zip(everything, found, strict=True))
    listing = _without_bad(listing, records, image["on_bad"])
    how = fit_of(image)
    of = {name: [records[path] for path in paths] for name, paths in listing.paths.items()}
    digests = {name: [bytes.fromhex(r.sha256) for r in found] for name, found in of.items()}
    read = _reader(listing, how, image["max_megapixels"])
    source = Source(
        class_names=listing.class_names,
        image_shape=how.shape,
        labels={name: np.asarray(label, np.int32) for name, label in listing.labels.items()},
        read=read,
        fingerprint=_fingerprint(listing, digests, how),
        names=listing.names or listing.paths,
        digests=digests,
        records=of,
        draw=read if how.varied else None,
        problems=listing.problems,
    )
    return kept_images.kept(source) if image["cache"] else source


def fit_of(image: Mapping[str, Any]) -> Fit:
    """How config["image"] makes an image of any size one of image["size"]."""
    return Fit(**{name: image[name] for name in Fit._fields})


def _without_bad(listing: Listing, records: Mapping[str, Record], on_bad: str) -> Listing:
    """The listing less the files that cannot be read. Raises BadData unless they are to be left."""
    bad = {path: record.problem for path, record in records.items() if record.problem}
    if not bad:
        return listing
    found = [
        Problem("unreadable", why, path, wrong=on_bad != "skip")
        for path, why in sorted(bad.items())
    ]
    settle(found, on_bad, SKIP)
    if on_bad == "skip":
        log.warn(f"{len(bad)} of {len(records)} images cannot be read and are left out.")
    sound = {name: [path not in bad for path in paths] for name, paths in listing.paths.items()}

    def kept(of: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        return {
            name: [v for v, good in zip(values, sound[name], strict=True) if good]
            for name, values in of.items()
        }

    labels = {name: label[np.array(sound[name], bool)] for name, label in listing.labels.items()}
    return listing._replace(
        paths=kept(listing.paths),
        labels=labels,
        names=kept(listing.names),
        problems=(*listing.problems, *found),
    )


def _reader(listing: Listing, how: Fit, max_megapixels: float) -> Callable:
    """read(set, indices [m]) -> uint8 [m, h, w, c], each in its fixed crop, on several threads.

    With seeds [m] as a third argument each is in the crop of its seed.
    """

    def read(name: str, indices: np.ndarray, seeds: np.ndarray | None = None) -> np.ndarray:
        images = np.empty((len(indices), *how.shape), np.uint8)

        def one(place: int) -> None:
            decoded = _decoded(listing, name, int(indices[place]), how.channels, max_megapixels)
            drawn = None if seeds is None else np.random.default_rng(int(seeds[place]))
            images[place] = fit(decoded, how, drawn)

        many(one, len(indices))
        return images

    return read


def _decoded(
    listing: Listing, name: str, index: int, channels: int, max_megapixels: float
) -> np.ndarray:
    """An image as it is, uint8 [h, w, c]. Raises UserError where its file has gone or gone bad."""
    path = listing.paths[name][index]
    try:
        return decode(listing.root / path, channels, max_megapixels)
    except (OSError, BadImage) as error:
        label = int(listing.labels[name][index])
        said = listing.class_names[label] if label >= 0 else "no label"
        raise UserError(
            f"{listing.root / path} ({name}[{index}], {said}) cannot be read any more: {error}.",
            "put it back as it was when the run began, and give the same command again.",
        ) from None


def _fingerprint(listing: Listing, digests: Mapping[str, Sequence[bytes]], how: Fit) -> str:
    """SHA-256 over the names, labels and contents of all files, and how they are cropped."""
    digest = hashlib.sha256(json.dumps([listing.class_names, how._asdict()]).encode())
    for name in sorted(listing.paths):
        called = listing.names.get(name, listing.paths[name])
        digest.update(json.dumps([name, list(listing.paths[name]), list(called)]).encode())
        digest.update(np.asarray(listing.labels[name], np.int32).tobytes())
        digest.update(b"".join(digests[name]))
    return digest.hexdigest()
