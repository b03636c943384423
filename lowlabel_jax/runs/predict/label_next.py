"""`lowlabel label-next`: which images a person should label next, as a list and a picture."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lowlabel_jax.core import files, log
from lowlabel_jax.core.errors import UserError, nearest
from lowlabel_jax.data.sets import Split
from lowlabel_jax.data.source import Images, Source, image_name
from lowlabel_jax.evaluation import next_labels
from lowlabel_jax.images.decoding import decode
from lowlabel_jax.runs.data_check import data_pictures
from lowlabel_jax.runs.data_check.data_page import shortened
from lowlabel_jax.runs.data_check.data_pictures import LETTERS, SIDE, Panel
from lowlabel_jax.runs.predict import looked
from lowlabel_jax.runs.predict.predict import Run

if TYPE_CHECKING:
    from PIL import Image

ACROSS = 5  # images in a row of the contact sheet
NONE = np.zeros((0, 0), np.float32)
SAYS = {
    "entropy": "entropy of the guess, in nats",
    "margin": "likeliest class above the second",
    "kcentre": "distance from what is labelled",
    "mixed": "distance from what is labelled, among the least certain",
}


class Candidates(NamedTuple):
    """The images to choose from."""

    column: tuple[str, str]  # what `names` are, and from where
    names: list[str]
    probs: np.ndarray  # float32 [n, k]
    features: np.ndarray  # float32 [n, f]; empty where no rule asks for them
    known: np.ndarray  # float32 [m, f], of the run's labelled images; likewise
    picture: Callable[[int], np.ndarray]  # uint8 [h, w, c] of one of them
    errors: dict[str, str]  # path -> why it could not be read


def label_next(
    directory: Path, wanted: Sequence[str], count: int, by: str, out: Path, unlabelled: bool
) -> int:
    """Choose `count` of what `wanted` names, or of the run's own unlabelled images, by a rule.

    Writes out/next.csv and out/contact_sheet.png. Gives 2 where a file could not be read, else 0.
    Raises UserError before any work where there is no run or image, or an option makes no sense.
    """
    _check(wanted, count, by, out, unlabelled)
    run = Run(directory)
    run.must_label()
    found = _own(run) if unlabelled else _files(run, wanted, by, out / "next.csv")
    given = (found.probs, found.features, found.known)
    chosen, scores = next_labels.choose(by, count, *given)
    table, sheet = out / "next.csv", out / "contact_sheet.png"
    said = f"label next: {len(chosen):,} of {len(found.names):,} images, by {by}"
    looked.write_table(table, rows(run.class_names, found, chosen, scores))
    data_pictures.save(_sheet(said, run.class_names, found, chosen), sheet)
    log.say(f"{said} ({SAYS[by]})\nwritten: {table}  {sheet}")
    for path, why in found.errors.items():
        log.say(f"{path} cannot be read: {why}")
    log.say(
        f"next: fill in the column `label` (the column `{found.column[0]}` counts "
        f"{found.column[1]}), add the rows to your table, and train again."
    )
    return 2 if found.errors else 0


def _check(wanted: Sequence[str], count: int, by: str, out: Path, unlabelled: bool) -> None:
    if by not in next_labels.RULES:
        there = ", ".join(next_labels.RULES)
        raise UserError(f"no rule {by!r}.{nearest(by, next_labels.RULES)}", f"there are: {there}.")
    if count < 1:
        raise UserError(f"--count {count} chooses no image.", "--count 20 chooses twenty.")
    if bool(wanted) == unlabelled:
        raise UserError(
            "name images, or say --unlabelled: the run's own data; one of the two.",
            "lowlabel label-next RUN photos, or: lowlabel label-next RUN --unlabelled",
        )
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is no folder.", "give a folder; it is made where it is not.")


def _files(run: Run, wanted: Sequence[str], by: str, table: Path) -> Candidates:
    """Files that the user names; the run's data is opened only where features are compared."""
    paths, compared = looked.files_of(wanted), by in ("kcentre", "mixed")
    known = _known(run, *looked.data_of(run)) if compared else NONE
    found = looked.at_files(run, paths, compared)
    root, names = looked.beside(table, found.paths)
    features = NONE if found.features is None else found.features
    most = run.config["image"]["max_megapixels"]

    def picture(i: int) -> np.ndarray:
        return _whole(decode(Path(found.paths[i]), 3, most))

    said = ("path", f"from {os.path.relpath(root)}")
    return Candidates(said, names, found.probs, features, known, picture, found.errors)


def _own(run: Run) -> Candidates:
    """The images of the run's own data that have no label there."""
    source, split = looked.data_of(run)
    rows = np.setdiff1d(split.unlabelled, split.labelled)
    if not len(rows):
        raise UserError(f"{run.directory} has no unlabelled images.", "name files instead.")
    images = Images(source, "train", rows)
    in_files = "train" in source.names
    names = [image_name(source, "train", i) if in_files else str(i) for i in rows.tolist()]
    said = ("path", "from the data's folder") if in_files else ("index", "in the training set")
    probs, features = looked.at_images(run, images)
    known = _known(run, source, split)
    return Candidates(said, names, probs, features, known, lambda i: images[i : i + 1][0], {})


def _known(run: Run, source: Source, split: Split) -> np.ndarray:
    """float32 [m, f]: the features of the images whose labels the run was trained with."""
    return looked.at_images(run, Images(source, "train", split.labelled))[1]


def rows(
    classes: Sequence[str], found: Candidates, chosen: np.ndarray, scores: np.ndarray
) -> Iterator[list[Any]]:
    """next.csv, header first: rank, path or index, label (to be filled in), guess, confidence,
    score.
    """
    yield ["rank", found.column[0], "label", "guess", "confidence", "score"]
    for rank, (i, score) in enumerate(zip(chosen.tolist(), scores, strict=True), 1):
        p, name = found.probs[i], files.without_formula(found.names[i])
        yield [rank, name, "", classes[int(p.argmax())], f"{p.max():.6f}", f"{score:.6f}"]


def _sheet(
    title: str, classes: Sequence[str], found: Candidates, chosen: np.ndarray
) -> "Image.Image":
    """The contact sheet: what was chosen, in order, with the run's guess."""
    places = list(enumerate(chosen.tolist()))
    panels = [Panel(found.picture(i), _caption(r, classes, found, i)) for r, i in places]
    lines = [panels[start : start + ACROSS] for start in range(0, len(panels), ACROSS)]
    return data_pictures.draw(title, [""] * ACROSS, lines, blocks=1)


def _caption(rank: int, classes: Sequence[str], found: Candidates, i: int) -> list[str]:
    p = found.probs[i]
    guess = f"{rank + 1}: {classes[p.argmax()]}? {p.max():.2f}"
    return [shortened(guess, LETTERS), shortened(os.path.basename(found.names[i]), LETTERS)]


def _whole(image: np.ndarray) -> np.ndarray:
    """uint8 [SIDE, SIDE, 3]: all of an image [h, w, c], on paper where it is no square."""
    from PIL import Image

    shown = data_pictures.enlarged(image)
    shown.thumbnail((SIDE, SIDE))
    page = Image.new("RGB", (SIDE, SIDE), data_pictures.PAPER)
    page.paste(shown, ((SIDE - shown.width) // 2, (SIDE - shown.height) // 2))
    return np.asarray(page)
