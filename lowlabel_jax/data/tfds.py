"""TensorFlow Datasets that lie prepared on this machine, read without TensorFlow.

Only array_record files can be: preparing them takes TensorFlow once, in any environment, with the
command that the error names. Nothing is ever downloaded here.
"""

from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from lowlabel_jax.core.errors import UserError, nearest
from lowlabel_jax.data.source import Source, from_arrays

AT_ONCE = 1000  # examples decoded together
LONG = 20_000  # examples, about a second of CIFAR's: from here on a bar shows progress


def tfds(
    *,
    dataset: str = "",
    data_dir: str = "",
    train: str = "train",
    test: str = "test",
    image: str = "image",
    label: str = "label",
) -> Source:
    """Two splits of a dataset ("cifar10", "name/config:1.0.0"), whole, in memory as uint8.

    data_dir: where it was prepared; empty: TFDS' own place, ~/tensorflow_datasets.
    train, test: splits in TFDS' words, "train[:10%]" or "train+extra" too. STL-10's images without
    labels (-1 in TFDS) join by train="train+unlabelled".
    image, label: the two features' names. Images must be of one size.
    Raises UserError where it is not prepared, with the command; where a split or feature is not
    there; and where images differ in size.
    """
    if not dataset:
        raise UserError("the source 'tfds' has no dataset.", "add --config.source.dataset=cifar10.")
    builder = _builder(dataset, data_dir)
    names = _class_names(dataset, builder.info.features, image, label)
    sets = {
        name: _read(dataset, builder, split, image, label)
        for name, split in (("train", train), ("test", test))
    }
    return from_arrays(names, sets)


def _builder(dataset: str, data_dir: str) -> Any:
    """What reads a dataset. Raises UserError where it is not there, or not as array_record."""
    import tensorflow_datasets as library  # a third of a second: only who uses it pays
    from tensorflow_datasets.core.registered import DatasetNotFoundError

    try:
        builder = library.builder(dataset, data_dir=data_dir or None)
    except DatasetNotFoundError:
        known = library.list_builders(with_community_datasets=False)
        raise UserError(
            f"TFDS knows no dataset {dataset!r}, and none lies in {data_dir or 'its own folder'!r}."
            f"{nearest(dataset, known)}",
            "set --config.source.dataset, and --config.source.data_dir to where it was prepared.",
        ) from None
    if "ARRAY_RECORD" not in str(builder.info.file_format):  # nor is it where nothing lies
        where = f" --data_dir={data_dir}" if data_dir else ""
        raise UserError(
            f"the dataset {dataset!r} is not prepared as array_record in {builder.data_path}.",
            "in an environment with tensorflow, tensorflow-datasets and array-record run: "
            f"tfds build {dataset} --file_format=array_record{where}",
        )
    return builder


def _class_names(dataset: str, features: Any, image: str, label: str) -> list[str]:
    """The classes' names from the metadata. Raises UserError where a feature is not there."""
    for feature, kind in ((image, "Image"), (label, "ClassLabel")):
        if feature not in features or type(features[feature]).__name__ != kind:
            there = ", ".join(f"{key} ({type(f).__name__})" for key, f in features.items())
            raise UserError(
                f"the dataset {dataset!r} has no {kind} feature {feature!r}. It has: {there}.",
                "set --config.source.image and --config.source.label.",
            )
    return list(features[label].names)


def _read(
    dataset: str, builder: Any, split: str, image: str, label: str
) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 [n, h, w, c], labels int32 [n]) of one split."""
    try:
        examples = builder.as_data_source(split=split)
    except ValueError:
        known = ", ".join(builder.info.splits)
        raise UserError(
            f"the dataset {dataset!r} has no split {split!r}.",
            f"there are: {known}; set --config.source.train and --config.source.test.",
        ) from None
    first = examples[0][image]
    images = np.empty((len(examples), *first.shape), np.uint8)
    labels = np.empty(len(examples), np.int32)
    quiet = len(examples) < LONG or not Console().is_terminal
    starts = range(0, len(examples), AT_ONCE)
    for start in track(starts, f"reading {dataset} {split}", transient=True, disable=quiet):
        rows = range(start, min(start + AT_ONCE, len(examples)))
        for row, example in zip(rows, examples.__getitems__(list(rows)), strict=True):
            if example[image].shape != first.shape:
                raise UserError(
                    f"{dataset} {split}: images differ in size, {first.shape} and "
                    f"{example[image].shape} (example {row}).",
                    "this source is for images of one size.",
                )
            images[row], labels[row] = example[image], example[label]
    return images, labels
