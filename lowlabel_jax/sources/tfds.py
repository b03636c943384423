"""TensorFlow Datasets' image sets, prepared as array_record and read without TensorFlow.

Nothing is fetched unless `download` says so: preparing most sets takes TensorFlow once, in any
environment, with the command that the error names.
"""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lowlabel_jax.core import log
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data.source import Source, from_arrays, settle
from lowlabel_jax.images.decoding import BadImage
from lowlabel_jax.images.inspection import many
from lowlabel_jax.sources import tfds_prepared, tfds_records
from lowlabel_jax.sources.image_files import SKIP
from lowlabel_jax.sources.tfds_records import Records, Shape
from lowlabel_jax.sources.tfds_streamed import streamed

WHOLE = 2 * 2**30  # bytes: sets of one size are read into memory unless they take more

Pixels = tuple[np.ndarray, np.ndarray, dict[int, str]]


def tfds(
    *,
    image: Mapping[str, Any],
    dataset: str = "",
    data_dir: str = "",
    download: bool = False,
    train: str = "train",
    validation: str = "",
    test: str = "test",
    image_feature: str = "image",
    label_feature: str = "label",
    resize: bool = False,
) -> Source:
    """Splits of a dataset ("cifar10", "name/config:1.0.0") of TensorFlow Datasets, as uint8.

    image: the run's config["image"]. A set whose metadata says one shape for all images comes as
    it is, unless `resize`; of any other (food101, cats_vs_dogs) images are cropped and resized as
    image says, when they are asked for.
    data_dir: where it was prepared; empty: TFDS' own place, ~/tensorflow_datasets or what
    TFDS_DATA_DIR says. download: fetch and prepare it if it is not there.
    train, validation, test: splits in TFDS' words, "train[:10%]" or "train+extra" too; the last
    two may be empty. STL-10's images without labels (-1 in TFDS) join by train="train+unlabelled".
    image_feature, label_feature: the names of the two features.
    Raises UserError where it is not prepared, with the command; where a split or feature is not
    there; and where images cannot be read or are not as the metadata says.
    """
    if not dataset:
        raise UserError("the source 'tfds' has no dataset.", "add --config.source.dataset=cifar10.")
    builder = tfds_prepared.find(dataset, data_dir, download)
    features = builder.info.features
    names = _class_names(dataset, features, image_feature, label_feature)
    shape = None if resize else _one_shape(dataset, features[image_feature])
    splits = {"train": train, "validation": validation, "test": test}
    found = {
        name: tfds_records.records(builder, split, image_feature, label_feature)
        for name, split in splits.items()
        if split or name == "train"
    }
    if shape and sum(len(of.examples) for of in found.values()) * np.prod(shape) <= WHOLE:
        return _whole(names, found, image, shape)
    return streamed(names, found, image, shape)


def _class_names(dataset: str, features: Any, image: str, label: str) -> list[str]:
    """The classes' names from the metadata. Raises UserError where a feature is not there."""
    for feature, kind, option in ((image, "Image", "image"), (label, "ClassLabel", "label")):
        if feature not in features or type(features[feature]).__name__ != kind:
            there = ", ".join(f"{key} ({type(f).__name__})" for key, f in sorted(features.items()))
            raise UserError(
                f"the dataset {dataset!r} has no {kind} feature {feature!r}. It has: {there}.",
                f"set --config.source.{option}_feature.",
            )
    return list(features[label].names)


def _one_shape(dataset: str, feature: Any) -> Shape | None:
    """The shape that all images have, None where they differ. Raises UserError for odd pixels."""
    shape = tuple(feature.shape)
    if feature.np_dtype != np.uint8 or len(shape) != 3 or shape[-1] not in (1, 3):
        raise UserError(
            f"the images of {dataset!r} are {np.dtype(feature.np_dtype)} {list(shape)}.",
            "this source reads grey and RGB images of 8 bits, [h, w, 1] and [h, w, 3].",
        )
    return None if None in shape else shape


def _whole(
    names: list[str], found: Mapping[str, Records], image: Mapping[str, Any], shape: Shape
) -> Source:
    """Everything in memory; of images that cannot be read only what they are called."""
    sets, problems = {}, []
    for name, records in found.items():
        images, labels, bad = _kept(records, shape, image)
        labels = tfds_records.known(records, name, labels)
        problems += tfds_records.unreadable(records, bad, image["on_bad"])
        sound = tfds_records.sound(len(labels), bad)
        sets[name] = (images[sound], labels[sound]) if bad else (images, labels)
    settled = settle(problems, image["on_bad"], SKIP)
    return from_arrays(names, sets)._replace(problems=settled)


def _kept(records: Records, shape: Shape, image: Mapping[str, Any]) -> Pixels:
    """What _pixels gives; kept in the user's cache directory, for decoding takes seconds."""
    place = tfds_records.kept_in(records, image["max_megapixels"]).with_suffix(".npz")
    if image["cache"] and place.exists():
        try:
            with open(place, "rb") as stream, np.load(stream, allow_pickle=False) as kept:
                return kept["images"], kept["labels"], {}
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            log.warn(f"{place} cannot be read ({error}): every image is decoded again.")
    images, labels, bad = _pixels(records, shape, image["max_megapixels"])
    if image["cache"] and not bad:
        _keep(place, images, labels)
    return images, labels, bad


def _keep(place: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write both whole or not at all, if the disk takes them."""
    temporary = place.with_name(f"{place.name}.{os.getpid()}.tmp")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            np.savez(file, images=images, labels=labels)
        os.replace(temporary, place)
    except OSError as error:
        log.warn(f"{place} cannot be written ({error}): images will be decoded at each start.")
        temporary.unlink(missing_ok=True)


def _pixels(records: Records, shape: Shape, max_megapixels: float) -> Pixels:
    """(images uint8 [n, h, w, c], labels int32 [n], place -> why its image cannot be read)."""
    n = len(records.examples)
    images, labels, bad = np.zeros((n, *shape), np.uint8), np.empty(n, np.int32), {}
    for rows, contents, some in tfds_records.blocks(records, "reading"):
        labels[rows] = some

        def one(i: int, rows: range = rows, contents: list[bytes] = contents) -> None:
            try:
                images[rows[i]] = tfds_records.exactly(contents[i], shape, max_megapixels)
            except BadImage as error:
                bad[rows[i]] = str(error)

        many(one, len(rows))
    return images, labels, bad
