"""What a finished run says of images that it has never seen: `lowlabel predict`.

Files are decoded and cropped by the code that evaluation uses (sources/image_files.py), so that an
image gives here what it would give in a test set. One that cannot be read has a row of its own.
"""

import csv
import glob
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.images.crops import Fit, fit
from lowlabel_jax.images.decoding import BadImage, decode
from lowlabel_jax.images.inspection import many
from lowlabel_jax.runs import evaluate, results
from lowlabel_jax.sources.image_files import fit_of
from lowlabel_jax.sources.image_paths import find

AT_ONCE = 500  # images decoded together
FORMATS = ("table", "csv", "json", "jsonl")

Row = dict[str, Any]  # {"path", "topk": [{"label", "probability"}, …], "error": text or None}


def predict(directory: Path, wanted: Sequence[str], topk: int = 3) -> Iterator[Row]:
    """The likeliest classes of each image, by the averaged weights of a run's newest checkpoint.

    wanted: files, folders (all images below), patterns with *, or "-" for a list on stdin.
    Raises UserError where there is no run, no such file, or no image.
    """
    if topk < 1:
        raise UserError(f"--topk {topk} shows no class.", "--topk 3 shows three.")
    config, state = evaluate.load(directory)
    paths, how = expand(wanted), crop_of(config)
    names, guess = config["info"]["class_names"], results.predictor(config, state.apply_fn)
    for start in range(0, len(paths), AT_ONCE):
        part = paths[start : start + AT_ONCE]
        images, errors = read(part, how, config["image"]["max_megapixels"])
        good = [i for i, error in enumerate(errors) if not error]
        probs = guess({"ema": state.ema}, images[good])["ema"] if good else np.zeros((0, 0))
        said = dict(zip(good, probs, strict=True))
        for i, path in enumerate(part):
            likeliest = best(said[i], names, topk) if i in said else []
            yield {"path": path, "topk": likeliest, "error": errors[i]}


def expand(wanted: Iterable[str]) -> list[str]:
    """Every image that is meant, in the order given; those of a folder sorted by name."""
    found: list[str] = []
    for name in wanted:
        if name == "-":
            found += [line for line in (x.rstrip("\r\n") for x in sys.stdin) if line]
        elif Path(name).is_dir():
            inside = find(Path(name)).images
            if not inside:
                raise UserError(f"there is no image in {name!r}.", "give a folder with images.")
            found += [str(Path(name) / path) for path in inside]
        elif not Path(name).exists() and (matches := sorted(glob.glob(name, recursive=True))):
            found += [path for path in matches if not Path(path).is_dir()]
        elif not Path(name).exists():
            raise UserError(f"there is no file {name!r}.", "give a file, a folder or a pattern.")
        else:
            found.append(name)
    if not found:
        raise UserError("no image was named.", "give files, folders, or - for a list on stdin.")
    return found


def crop_of(config: Mapping[str, Any]) -> Fit:
    """How images become what the run was trained on, as config["image"] says.

    A run on arrays has no such crop: its images are the central square at the arrays' size.
    Raises UserError where the arrays are not square.
    """
    height, width, channels = config["info"]["image_shape"]
    if height != width:
        raise UserError(
            f"the run was trained on images of {height}x{width}, and predict cuts squares.",
            "evaluate it on arrays: lowlabel evaluate RUN.",
        )
    return fit_of(config["image"])._replace(size=height, channels=channels)


def read(
    paths: Sequence[str], how: Fit, max_megapixels: float
) -> tuple[np.ndarray, list[str | None]]:
    """(uint8 [n, h, w, c], why each could not be read or None)."""
    images = np.zeros((len(paths), *how.shape), np.uint8)
    errors: list[str | None] = [None] * len(paths)

    def one(i: int) -> None:
        try:
            images[i] = fit(decode(Path(paths[i]), how.channels, max_megapixels), how)
        except (BadImage, OSError) as error:
            errors[i] = str(getattr(error, "strerror", None) or error)

    many(one, len(paths))
    return images, errors


def best(probs: np.ndarray, names: Sequence[str], topk: int) -> list[dict[str, Any]]:
    """The likeliest classes of probabilities [k], with theirs."""
    order = np.argsort(-probs, kind="stable")[:topk]
    return [{"label": names[k], "probability": round(float(probs[k]), 6)} for k in order]


def written(rows: Iterable[Row], form: str) -> Iterator[str]:
    """The rows as lines of text: for people, or as csv, json or jsonl."""
    if form == "json":
        yield json.dumps(list(rows), indent=2)
    elif form == "jsonl":
        yield from map(json.dumps, rows)
    elif form == "csv":
        yield _csv(("path", "label", "probability", "error"))
        for row in rows:
            first = row["topk"][0] if row["topk"] else {"label": "", "probability": ""}
            path = files.without_formula(row["path"])
            yield _csv((path, first["label"], first["probability"], row["error"] or ""))
    else:
        for row in rows:
            said = "  ".join(f"{one['label']} {one['probability']:.3f}" for one in row["topk"])
            yield f"{row['path']}  {said or 'error: ' + str(row['error'])}"


def _csv(cells: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()
