"""Food-101 as it is published, or any set in its layout: images/CLASS/ID.jpg and lists in meta/.

meta/train.txt and meta/test.txt have a line CLASS/ID for each image, meta/classes.txt the folders
in the order of their numbers, and meta/labels.txt what people call them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.core.errors import UserError, nearest, problems
from lowlabel_jax.data.source import Problem, Source
from lowlabel_jax.sources import image_files
from lowlabel_jax.sources.image_files import Listing
from lowlabel_jax.sources.image_paths import Lookup, find, lookup, shown, unsafe
from lowlabel_jax.sources.listings import advice, class_problems, opened
from lowlabel_jax.sources.table_entries import path_of

HINTS = {
    "missing file": "fetch the images again, or take out these lines.",
    "unsafe name": "write CLASS/ID in each line.",
    "ambiguous name": "keep one of these files.",
    "unknown class": "add the class to meta/classes.txt, or take out these lines.",
    "in two sets": "take these lines out of one of the two files.",
    "classes differ": "every class of meta/classes.txt needs lines in each list.",
    "one class only": "two classes or more are wanted in meta/classes.txt.",
}


class Line(NamedTuple):
    """A line of a list that is not blank."""

    file: str  # "meta/train.txt"
    number: int  # from 1
    text: str


def food101(*, image: Any, path: str = "", train: str = "train", test: str = "test") -> Source:
    """The images below PATH, a folder or an archive of one (food-101.tar.gz).

    train, test: which lists of meta/ are the sets, without .txt; test "": none.
    Raises UserError that names the missing list or folder, and every line that is wrong.
    """
    root = opened(path, "food101", ("images", "meta"))
    listing = list_food101(root, train, test)
    hint = f"{advice(listing.problems, HINTS)} All this is below {str(root)!r}."
    return image_files.from_files(listing, image, hint)


def list_food101(root: Path, train: str, test: str) -> Listing:
    """What the lists below root name, in their order. Raises UserError as `food101`."""
    lists = {"train": f"meta/{train}.txt"} | ({"test": f"meta/{test}.txt"} if test else {})
    _check_there(root, [*lists.values(), "meta/classes.txt"])
    folders = [line.text for line in _lines(root, "meta/classes.txt")]
    class_names, said = _class_names(root, folders)
    found = find(root, "images")
    said += [problem._replace(wrong=False) for problem in found.problems]
    files = lookup(found)
    sets: dict[str, dict[str, str]] = {}  # set -> path -> its class folder
    for name, file in lists.items():
        images = [(line, *_image(line, root, files, folders)) for line in _lines(root, file)]
        said += [_at(line, problem) for line, _, why in images for problem in why]
        said += _repeated([(line, path) for line, path, _ in images if path], sets)
        before = {path for those in sets.values() for path in those} | {""}
        sets[name] = {p: line.text.split("/")[0] for line, p, _ in images if p not in before}
    named = {name: set(images.values()) for name, images in sets.items()}
    said += class_problems(named | {"meta/classes.txt": folders})
    rest = sorted(set(found.images).difference(*sets.values()))
    if rest:
        many = f"{len(rest)} images are in no list: {shown(rest)}"
        said.append(Problem("files without a line", many, "images", wrong=False))
    number = {folder: k for k, folder in enumerate(folders)}
    paths = {name: list(images) for name, images in sets.items()}
    labels = {
        name: np.array([number[folder] for folder in images.values()], np.int32)
        for name, images in sets.items()
    }
    return Listing(root, class_names, paths, labels, problems=tuple(said))


def _check_there(root: Path, lists: list[str]) -> None:
    """Raise UserError naming each list or folder that is missing."""
    missing = [file for file in lists if not (root / file).is_file()]
    missing += [] if (root / "images").is_dir() else ["images/"]
    problems(
        [f"there is no {name} in {str(root)!r}." for name in missing],
        "set --config.source.path to the folder that has images/ and meta/, as Food-101 unpacked.",
    )


def _lines(root: Path, file: str) -> list[Line]:
    """The lines of a list that are not blank. Raises UserError where it is no text in UTF-8."""
    try:
        texts = (root / file).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{root / file} is not UTF-8 ({error}).", "fetch it again.") from None
    lines = (Line(file, number, text.strip()) for number, text in enumerate(texts, 1))
    return [line for line in lines if line.text]


def _class_names(root: Path, folders: list[str]) -> tuple[tuple[str, ...], list[Problem]]:
    """What people call the classes: meta/labels.txt, or the folders where it is not there."""
    twice = sorted({name for name in folders if folders.count(name) > 1})
    if twice:
        raise UserError(
            f"{root / 'meta/classes.txt'} has {shown(twice)} twice.",
            "write each class folder in it once.",
        )
    if not (root / "meta/labels.txt").is_file():
        why = "is not there: classes are called as their folders"
        return tuple(folders), [Problem("no labels.txt", why, "meta/labels.txt", wrong=False)]
    names = tuple(line.text for line in _lines(root, "meta/labels.txt"))
    if len(names) != len(folders) or len(set(names)) != len(names):
        raise UserError(
            f"{root / 'meta/labels.txt'} has {len(names)} names, {len(set(names))} different ones, "
            f"for the {len(folders)} classes of meta/classes.txt.",
            "write one name in each line, in the order of classes.txt, or remove labels.txt.",
        )
    return names, []


def _image(line: Line, root: Path, files: Lookup, folders: list[str]) -> tuple[str, list[Problem]]:
    """(the file that a line CLASS/ID means, what is wrong with it): "" where it is wrong."""
    folder, slash, _ = line.text.partition("/")
    if why := unsafe(line.text) or ("" if slash else "is not CLASS/ID"):
        return "", [Problem("unsafe name", f"{line.text!r} {why}")]
    if folder not in folders:
        said = f"{folder!r} is not in meta/classes.txt{nearest(folder, folders)}"
        return "", [Problem("unknown class", said)]
    return path_of(f"images/{line.text}", root, files)


def _repeated(
    images: list[tuple[Line, str]], sets: Mapping[str, Mapping[str, str]]
) -> Iterator[Problem]:
    """Images (line, path) that were in the list before, or are in another set's."""
    seen: set[str] = set()
    for line, path in images:
        for name in (name for name in sets if path in sets[name]):
            yield _at(line, Problem("in two sets", f"{line.text!r} is in {name} too"))
        if path in seen:
            again = f"{line.text!r} was there before"
            yield _at(line, Problem("line left out", again, wrong=False))
        seen.add(path)


def _at(line: Line, problem: Problem) -> Problem:
    return problem._replace(path=line.file, line=line.number)
