"""A set of TensorFlow Datasets that is not held in memory: images decoded as they are asked for."""

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data.source import Problem, Source, settle
from lowlabel_jax.images.crops import Fit, fit
from lowlabel_jax.images.decoding import BadImage, decode
from lowlabel_jax.images.inspection import Record, many
from lowlabel_jax.sources import kept_images, tfds_records
from lowlabel_jax.sources.image_files import SKIP, fit_of
from lowlabel_jax.sources.tfds_records import Records, Shape

Make = Callable[[bytes, np.random.Generator | None], np.ndarray]
# (an encoded image, where its crop is drawn from) -> uint8 [h, w, c]


class Stream(NamedTuple):
    """A set's images by place."""

    records: Records
    rows: np.ndarray  # [n], the records that are its images
    labels: np.ndarray  # int32 [n]
    looked: list[Record]  # [n]


def streamed(
    names: list[str],
    found: Mapping[str, Records],
    image: Mapping[str, Any],
    shape: Shape | None,
) -> Source:
    """Images of `shape` as they are, or of any size (None) as config["image"] says.

    Raises BadData for images that cannot be read, unless image["on_bad"] says otherwise.
    """
    streams, problems = {}, []
    for name, records in found.items():
        streams[name], noticed = _stream(records, name, image)
        problems += noticed
    settled = settle(problems, image["on_bad"], SKIP)
    how = None if shape else fit_of(image)
    size = shape or fit_of(image).shape
    make = _maker(size, how, image["max_megapixels"])
    read = _reader(streams, size, make)
    source = Source(
        class_names=tuple(names),
        image_shape=size,
        labels={name: stream.labels for name, stream in streams.items()},
        read=read,
        fingerprint=_fingerprint(names, how, streams),
        names={name: [f"{name}[{row}]" for row in s.rows] for name, s in streams.items()},
        digests={name: _digests(stream) for name, stream in streams.items()},
        records={name: stream.looked for name, stream in streams.items()},
        draw=read if how and how.varied else None,
        problems=settled,
    )
    return kept_images.kept(source) if image["cache"] else source


def _stream(records: Records, name: str, image: Mapping[str, Any]) -> tuple[Stream, list[Problem]]:
    """A set, less the images that are to be left out, and what is wrong with its images."""
    labels, looked = tfds_records.looked_at(records, image["max_megapixels"])
    bad = {row: record.problem for row, record in enumerate(looked) if record.problem}
    rows = tfds_records.sound(len(labels), bad if image["on_bad"] == "skip" else {})
    labels = tfds_records.known(records, name, labels)[rows]
    stream = Stream(records, rows, labels, [looked[row] for row in rows])
    return stream, tfds_records.unreadable(records, bad, image["on_bad"])


def _maker(shape: Shape, how: Fit | None, max_megapixels: float) -> Make:
    """What makes an encoded image one of the source's. It raises BadImage where that cannot be."""

    def make(content: bytes, draw: np.random.Generator | None) -> np.ndarray:
        if how:
            return fit(decode(io.BytesIO(content), how.channels, max_megapixels), how, draw)
        return tfds_records.exactly(content, shape, max_megapixels)

    return make


def _reader(streams: Mapping[str, Stream], shape: Shape, make: Make) -> Callable:
    """read(set, indices [m]) -> uint8 [m, h, w, c], each in its fixed crop, on several threads.

    With seeds [m] as a third argument each is in the crop of its seed.
    """

    def read(name: str, indices: np.ndarray, seeds: np.ndarray | None = None) -> np.ndarray:
        stream, images = streams[name], np.empty((len(indices), *shape), np.uint8)
        contents = stream.records.images(stream.rows[indices])

        def one(place: int) -> None:
            drawn = None if seeds is None else np.random.default_rng(int(seeds[place]))
            images[place] = _made(stream, indices[place], make, contents[place], drawn)

        many(one, len(indices))
        return images

    return read


def _made(
    stream: Stream,
    index: int,
    make: Make,
    content: bytes,
    draw: np.random.Generator | None,
) -> np.ndarray:
    """An image of the source. Raises UserError where what was sound has gone bad."""
    try:
        return make(content, draw)
    except BadImage as error:
        raise UserError(
            f"{stream.records.called(stream.rows[index])} cannot be read: {error}.",
            f"it lies in {stream.records.folder}: prepare that set anew.",
        ) from None


def _digests(stream: Stream) -> list[bytes]:
    return [bytes.fromhex(record.sha256) for record in stream.looked]


def _fingerprint(names: list[str], how: Fit | None, streams: Mapping[str, Stream]) -> str:
    """SHA-256 over the names, labels and contents of all images, and how they are cropped."""
    digest = hashlib.sha256(json.dumps([names, how and how._asdict()]).encode())
    for name in sorted(streams):
        digest.update(f"{name}{len(streams[name].rows)}".encode())
        digest.update(streams[name].labels.tobytes())
        digest.update(b"".join(_digests(streams[name])))
    return digest.hexdigest()
