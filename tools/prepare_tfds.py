"""A folder of packed images -> a directory that TensorFlow Datasets takes for a set of its own.

python -m tools.prepare_tfds cifar10|mnist FOLDER DATA_DIR [--small]

For machines without a network or without TensorFlow. Name, version, features, ids and the order of
the examples are those of TFDS' own builder, of which only the download is replaced: images go into
array_record as PNG, with TFDS' metadata beside them (DATA_DIR/cifar10/3.0.2). FOLDER and --small
are make_npz.py's. Then the configs run as they are:

python launch.py --config=configs/cifar10_fixmatch.py:labels=40 --config.source.data_dir=DATA_DIR …
python launch.py --config=configs/mnist_fixmatch.py --config.source.name=tfds \\
    --config.source.dataset=mnist --config.source.data_dir=DATA_DIR …
"""

import io
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lowlabel_jax.core.errors import UserError, guarded
from lowlabel_jax.sources.tfds_prepared import FORMAT, tidied
from tools import make_npz


def prepare(dataset: str, arrays: Mapping[str, np.ndarray], data_dir: Path) -> Path:
    """Write the arrays x_train, y_train, x_test, y_test as a prepared set; the directory it is in.

    Raises UserError where one lies there already.
    """
    import tensorflow_datasets as library

    builder: Any = library.builder(dataset, data_dir=str(data_dir))
    if builder.data_path.exists():
        raise UserError(f"{builder.data_path} is there already.", "remove it, or give another.")
    builder._split_generators = lambda _: _splits(builder.info.features, arrays)
    config = library.download.DownloadConfig(try_download_gcs=False)
    with tidied(builder):
        builder.download_and_prepare(file_format=FORMAT, download_config=config)
    return Path(builder.data_path)


def _splits(features: Any, arrays: Mapping[str, np.ndarray]) -> dict[str, Iterator]:
    """What TFDS' own builder returns once it has downloaded: split -> (key, example) in turn."""
    if "class_names" in arrays:  # as there: known only with the data
        features["label"].names = arrays["class_names"].tolist()
    return {name: _examples(name, arrays, "id" in features) for name in ("train", "test")}


def _examples(
    name: str, arrays: Mapping[str, np.ndarray], with_id: bool
) -> Iterator[tuple[int, dict[str, Any]]]:
    pairs = zip(arrays[f"x_{name}"], arrays[f"y_{name}"], strict=True)
    for key, (image, label) in enumerate(pairs):  # TFDS shuffles by the key
        example = {"image": _png(image), "label": int(label)}
        yield key, example | ({"id": f"{name}_{key:05d}"} if with_id else {})


def _png(image: np.ndarray) -> io.BytesIO:
    """uint8 [h, w, c] as a PNG: TFDS itself would encode an array with TensorFlow."""
    content = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(content, "PNG")
    content.seek(0)
    return content


def main() -> None:
    """Read, prepare, say what was written."""
    given = make_npz.arguments(__doc__, "data_dir")
    begun = time.monotonic()
    arrays = make_npz.FORMATS[given.format](given.folder, given.small)
    there = prepare(given.format, arrays, given.data_dir)
    size = sum(path.stat().st_size for path in there.iterdir())
    counts = ", ".join(f"{len(arrays[f'y_{name}'])} {name}" for name in ("train", "test"))
    print(f"{there}: {counts}, {size / 2**20:.1f} MiB, {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    sys.exit(guarded(main))
