"""A folder of packed images -> one .npz for the source `arrays`.

python tools/make_npz.py cifar10|mnist FOLDER OUT.npz [--small]

cifar10: FOLDER holds train_00 … train_09 and test_00 (.medxz), labels.npz with y_train, y_test and
names, and cifar10_io.py, whose decode(path) gives uint8 [n, 32, 32, 3]. That module is run: use a
folder that you trust. mnist: FOLDER holds the four idx files.
--small: the first 25,000 training and 2,000 test images.

Then: python launch.py --config=configs/cifar10_small.py --config.source.path=OUT.npz --workdir=…
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lowlabel_jax.core.errors import UserError, guarded
from lowlabel_jax.sources.mnist_idx import mnist_idx

SMALL = {"train": 25_000, "test": 2_000}
EVERYTHING = 10**9


def cifar10(folder: Path, small: bool) -> dict[str, np.ndarray]:
    """The arrays x_train, y_train, x_test, y_test, class_names. Raises UserError without files."""
    decode = decoder(folder)
    with np.load(folder / "labels.npz", allow_pickle=False) as file:
        kept = dict(file)
    arrays = {"class_names": kept["names"]}
    for name in ("train", "test"):
        most = SMALL[name] if small else EVERYTHING
        images = first(decode, sorted(folder.glob(f"{name}_*.medxz")), most)
        arrays[f"x_{name}"] = images
        arrays[f"y_{name}"] = kept[f"y_{name}"][: len(images)]
    return arrays


def decoder(folder: Path) -> Callable[[Path], np.ndarray]:
    """The folder's own decode function."""
    path = folder / "cifar10_io.py"
    for needed in (path, folder / "labels.npz", folder / "train_00.medxz"):
        if not needed.is_file():
            raise UserError(f"there is no {needed.name} in {str(folder)!r}.", "see --help.")
    spec = importlib.util.spec_from_file_location("cifar10_io", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.decode


def first(decode: Callable[[Path], np.ndarray], paths: list[Path], most: int) -> np.ndarray:
    """uint8 [n, h, w, c]: the images of the files in turn, up to `most`; no file more is read."""
    parts, have = [], 0
    for path in paths:
        if have < most:
            parts.append(decode(path)[: most - have])
            have += len(parts[-1])
    return np.concatenate(parts)


def mnist(folder: Path, small: bool) -> dict[str, np.ndarray]:
    """The arrays x_train, y_train, x_test, y_test. Raises UserError without files."""
    source = mnist_idx(path=str(folder))
    arrays = {}
    for name, label in source.labels.items():
        rows = np.arange(len(label))[: SMALL[name] if small else EVERYTHING]
        arrays[f"x_{name}"], arrays[f"y_{name}"] = source.read(name, rows), label[rows]
    return arrays


FORMATS = {"cifar10": cifar10, "mnist": mnist}


def arguments(doc: str | None, out: str) -> argparse.Namespace:
    """What was typed: format, folder, --small, and the place to write to, under the name `out`."""
    about, usage = (doc or "").split("\n", 1)
    parser = argparse.ArgumentParser(
        description=about, epilog=usage, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("format", choices=sorted(FORMATS))
    parser.add_argument("folder", type=Path)
    parser.add_argument(out, type=Path)
    parser.add_argument("--small", action="store_true", help="the first part of each set")
    return parser.parse_args()


def main() -> None:
    """Read, convert, write, say what was written."""
    given = arguments(__doc__, "out")
    arrays = FORMATS[given.format](given.folder, given.small)
    np.savez(given.out, **arrays)  # type: ignore[arg-type]
    print(f"{given.out}: " + ", ".join(f"{key} {list(x.shape)}" for key, x in arrays.items()))


if __name__ == "__main__":
    sys.exit(guarded(main))
