"""What a run that restores images says of new ones: is it an anomaly, and the image restored."""

import io
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lowlabel_jax.core import files, log, units
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.runs.lines import as_bytes, csv_line, one_line
from lowlabel_jax.runs.predict.labelling import Guess, Part, Row
from lowlabel_jax.runs.restored import restored
from lowlabel_jax.runs.restored.detectors import Judge

COLUMNS = ("path", "anomaly", "score", "threshold", "error")


def guesser(
    config: Mapping[str, Any], apply: Callable, variables: Any, judge: Judge | None
) -> Guess:
    """images uint8 [n, h, w, c] -> (scores [n, s], restored images in [0, 1], [n, h · w · c]).

    The scores are those of judge.limits in turn; without a judge there are none. No noise is added:
    what is to be restored is what is given.
    """
    restore = restored.restorer(config, apply, pictures=True)

    def guess(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = restore(variables, images)
        scores = judge.scores(found) if judge else {}
        columns = [scores[name] for name in judge.limits] if judge else []
        flat = found["restored"].reshape(len(images), -1)
        return np.stack(columns, 1) if columns else np.zeros((len(images), 0)), flat

    return guess


def rows(part: Part, judge: Judge) -> Iterator[Row]:
    """A row for each image of a part: its score, the threshold, whether it is an anomaly.

    "scores" has all the others, too. Of a file that cannot be read they are None.
    """
    for item, error, found in zip(part.items, part.errors, part.probs, strict=True):
        limit = judge.limits[judge.score]
        scores = {} if error else dict(zip(judge.limits, map(float, found), strict=True))
        score = scores.get(judge.score)
        yield {
            "path": item if isinstance(item, str) else None,
            "anomaly": None if score is None else score > limit,
            "score": score,
            "threshold": limit,
            "scores": scores,
            "error": error,
        }


def written(made: Iterable[Row], form: str) -> Iterator[str]:
    """Such rows as lines of text, as they come: for people, as csv or jsonl; as json at the end."""
    if form == "json":
        yield json.dumps(list(made), indent=2)
    elif form == "jsonl":
        yield from map(json.dumps, made)
    elif form == "csv":
        yield csv_line(COLUMNS)
        for row in made:
            path = files.without_formula(row["path"])
            cells = ["" if row[name] is None else row[name] for name in COLUMNS[1:]]
            yield csv_line((path, *cells))
    else:
        for row in made:
            kind = "anomaly" if row["anomaly"] else "normal "
            limit = f"threshold {row['threshold']:.4g}"
            said = f"error: {row['error']}" if row["error"] else f"{kind} {row['score']:.4g}"
            yield f"{one_line(row['path'])}  {said}" + f"  ({limit})" * (not row["error"])


def label(
    run: Any,
    parts: Iterable[Part],
    paths: Sequence[str],
    form: str,
    out: Path | None,
    pictures: Path | None,
    codes: Path | None = None,
) -> int:
    """Say of images whether they are anomalies, and write restored ones; 2 where a file is bad.

    parts: of run.restored_parts. pictures: the folder for restored PNGs, made where it is not.
    codes: where these have been written.
    Raises UserError for a run that can do nothing but restore, where no folder is given.
    """
    if run.judge is None and not (pictures or codes):
        raise UserError(
            f"{run.directory} restores images, and has learnt no classes to tell apart.",
            "--restored DIR writes the restored images there; --embeddings FILE.npz their codes.",
        )
    began, bad, names = time.monotonic(), [0], _names(paths)

    def seen() -> Iterator[Part]:
        for part in parts:
            bad[0] += sum(error is not None for error in part.errors)
            if pictures:
                _write_images(part, run.shape, pictures, names)
            yield part

    if run.judge is None:
        lines = (f"{one_line(p)}  error: {e}" for p, e in _broken(seen()))
    else:
        lines = written((row for part in seen() for row in rows(part, run.judge)), form)
    if out:
        files.write_bytes(out, as_bytes("".join(f"{line}\n" for line in lines)))
    else:
        for line in lines:
            log.say(line)
    places = ", ".join(str(place) for place in (out, pictures, codes) if place)
    failed = f", {bad[0]} of them could not be read" if bad[0] else ""
    where = f"; written: {places}" if places else ""
    said = f"{len(paths)} images{failed}, in {units.duration(time.monotonic() - began)}{where}"
    print(said, file=sys.stderr)
    return 2 if bad[0] else 0


def _broken(parts: Iterable[Part]) -> Iterator[tuple[str, str]]:
    for part in parts:
        for item, error in zip(part.items, part.errors, strict=True):
            if error is not None:
                yield str(item), error


def _names(paths: Sequence[str]) -> dict[str, str]:
    """path -> the PNG's name: the file's own, with a number where several have it."""
    stems = [Path(path).stem for path in paths]
    many, used, found = Counter(stems), Counter(), {}
    for path, stem in zip(paths, stems, strict=True):
        used[stem] += 1
        found[path] = f"{stem}-{used[stem]}.png" if many[stem] > 1 else f"{stem}.png"
    return found


def _write_images(
    part: Part, shape: tuple[int, int, int], folder: Path, names: Mapping[str, str]
) -> None:
    """The restored images of a part as PNG files of the run's size."""
    assert part.features is not None
    for item, error, flat in zip(part.items, part.errors, part.features, strict=True):
        if error is None:
            image, buffer = as_pixels(flat.reshape(shape)), io.BytesIO()
            picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
            picture.save(buffer, format="PNG")
            files.write_bytes(folder / names[str(item)], buffer.getvalue())


def as_pixels(images: np.ndarray) -> np.ndarray:
    """Pixels in [0, 1] as uint8."""
    return np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)
