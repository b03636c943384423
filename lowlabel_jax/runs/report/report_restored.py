"""Of a run that restores images, for its report: its numbers, and the pictures it has drawn."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.runs.pages.blocks import Block, Heading, Picture, Table, Text
from lowlabel_jax.runs.report.report_read import Found, percent, said, write_csv

PICTURES = "pictures"  # below the run's directory: *.png, each described by its own file
LIKELY_FIRST = ("restored", "errors", "roc", "false_alarms", "missed", "samples", "latent")


def _decibel(value: float) -> str:
    return f"{value:.2f} dB"


SHOWN: Mapping[str, tuple[str, Callable[[float], str]]] = {  # on the first screen, if it is there
    "auroc": ("AUROC", said),
    "detected": ("anomalies found", percent),
    "false_alarms": ("false alarms", percent),
    "psnr": ("PSNR", _decibel),
    "psnr_gain": ("better than what was shown by", _decibel),
    "ssim": ("SSIM", said),
}


def headlines(numbers: Mapping[str, Any], name: str) -> list[tuple[str, str, str]]:
    """The main number of eval/NAME.json, and others beside it: (name, value, of how many)."""
    main = str(numbers["headline"])
    known = {key: numbers[key] for key in (main, *SHOWN) if isinstance(numbers.get(key), float)}
    of = f"n = {numbers['n']:,}" if "n" in numbers else ""
    items = []
    for key, value in known.items():
        called, shape = SHOWN.get(key, (key.replace("_", " "), said))
        items.append((f"{name} {called}" if key == main else called, shape(value), ""))
    return [(*items[0][:2], of), *items[1:5]] if items else []


def meaning(numbers: Mapping[str, Any]) -> str:
    """The main number in plain words."""
    if numbers["headline"] == "auroc" and "auroc" in numbers:
        return (
            f"Of an anomaly and a normal image it finds the anomaly odder in "
            f"{percent(numbers['auroc'])} of all pairs."
        )
    if "psnr" not in numbers:
        return f"Its main number is {numbers['headline']}."
    gain = numbers.get("psnr_gain")
    better = "" if gain is None else f", {gain:+.1f} dB against the noisy ones it was shown"
    psnr = f"{numbers['psnr']:.1f} dB"
    return f"Restored images have a PSNR of {psnr} (higher is nearer to the true ones){better}."


def restored(found: Found, folder: Path) -> list[Block]:
    """Pictures of what was restored, and every number of eval/SET.json."""
    if not found.restores:
        raise UserError("the run classifies images and restores none")
    paths = sorted((found.directory / PICTURES).glob("*.png"), key=_order)
    missing = [] if paths else [Text(f"There are no pictures in {PICTURES}/.", "quiet")]
    _write_rows(found, folder)
    rows = [(name, said(value)) for name, value in _scalars(found.numbers)]
    table = Table(("number", "value"), rows, numbers=(1,), folded="Every number")
    return [*map(_picture, paths), *missing, *_anomalies(found.numbers), table]


def _order(path: Path) -> tuple[int, str]:
    known = path.stem in LIKELY_FIRST
    return (LIKELY_FIRST.index(path.stem) if known else len(LIKELY_FIRST)), path.name


def _scalars(numbers: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The numbers that are one number each, by name."""
    of = numbers.items()
    return [(k, v) for k, v in of if isinstance(v, int | float) and not isinstance(v, bool)]


def _write_rows(found: Found, folder: Path) -> None:
    """restored.csv: a row an image, a column each array of one number an image."""
    path = found.directory / f"predictions/{found.measured}.npz"
    if not path.is_file():
        return
    with np.load(path, allow_pickle=False) as kept:
        columns = {name: kept[name].tolist() for name in kept if kept[name].ndim == 1}
    rows = zip(*columns.values(), strict=True)
    write_csv(folder / "restored.csv", ("place", *columns), ((i, *r) for i, r in enumerate(rows)))


def _anomalies(numbers: Mapping[str, Any]) -> list[Block]:
    """Each score's numbers, and the share of each class that is called an anomaly."""
    about = numbers.get("anomaly")
    if not about:
        return []
    columns = ("auroc", "average_precision", "threshold", "detected", "false_alarms")
    scores = [
        (
            f"{name}, decides" if name == about["score"] else name,
            *(said(one.get(c)) for c in columns),
        )
        for name, one in about["scores"].items()
    ]
    classes = [
        (one["name"], "normal" if one["name"] in about["normal_classes"] else "", f"{one['n']:,}",
         percent(one["share"]))
        for one in about["per_class"] if one["n"]
    ]  # fmt: skip
    return [
        Heading("Scores of anomalies", 3),
        Table(("score", *columns), scores, range(1, 6)),
        Heading("Called an anomaly, class by class", 3),
        Table(("class", "", "images", "called an anomaly"), classes, (2, 3)),
    ]


def _picture(path: Path) -> Picture:
    """A picture, in the words that its file says of itself."""
    from PIL import Image

    with Image.open(path) as image:
        words = str(image.info.get("Description") or image.info.get("Title") or path.stem)
    return Picture(path, words, f"{words}. File: {PICTURES}/{path.name}")
