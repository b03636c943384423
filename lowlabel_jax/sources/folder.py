"""Images in class folders: the folder that an image lies in is its label.

PATH/train/cats/1.jpg, PATH/validation/cats/2.jpg and so on, and images of no known class anywhere
below PATH/unlabelled; or just PATH/cats/1.jpg, from which the split draws all its sets. Folders
inside a class folder belong to the class. Hidden files are passed over; see `image_paths.find` for
links.
"""

import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lowlabel_jax.core.errors import UserError, nearest
from lowlabel_jax.data.source import Problem, Source
from lowlabel_jax.sources import image_files
from lowlabel_jax.sources.image_files import Listing
from lowlabel_jax.sources.image_paths import Found, find, is_below, is_hidden, shown
from lowlabel_jax.sources.listings import advice, class_problems, opened

LAYOUT = (
    "class folders are wanted: PATH/train/CLASS/*.jpg (and validation, test, unlabelled beside "
    "train), or PATH/CLASS/*.jpg."
)
HINTS = {
    "empty class": "put images into these folders, or remove the folders; links that lead out of "
    "PATH are not followed.",
    "classes differ": "every set needs the same class folders: add what lacks, remove what is too "
    "many, or leave a set out: --config.source.test=",
    "one class only": "two classes or more are wanted. If the class folders lie deeper, set "
    "--config.source.path to the folder that holds them.",
    "broken link": "remove these links, or put back what they lead to.",
    "unreadable folder": "let the user who trains read these folders: chmod u+rx FOLDER.",
    "name that is not UTF-8": "rename these files.",
}


def folder(
    *,
    image: Any,
    path: str = "",
    train: str = "train",
    validation: str = "validation",
    test: str = "test",
    unlabelled: str = "unlabelled",
) -> Source:
    """The images below PATH, a folder or an archive of one (.zip, .tar.gz, …).

    train, validation, test, unlabelled: the folders of the sets, below PATH; "": none. A set whose
    folder is not there is absent. Images of "unlabelled" join the set "train" with the label -1.
    Raises UserError where class folders are missing, empty, or not the same in all sets.
    """
    options = {"train": train, "validation": validation, "test": test, "unlabelled": unlabelled}
    listing = list_folder(opened(path, "folder", tuple(options.values())), options)
    hint = f"{advice(listing.problems, HINTS)} All this is below {str(listing.root)!r}."
    return image_files.from_files(listing, image, hint)


def list_folder(root: Path, options: Mapping[str, str]) -> Listing:
    """What lies below root. options: set, or "unlabelled" -> its folder below root, "" for none.

    Raises UserError where there are no class folders, or the folders of the sets are not as said.
    """
    places = _places(root, options)
    found = {name: find(root, place) for name, place in places.items()}
    sets = {name: _by_class(found[name], places[name]) for name in found if name != "unlabelled"}
    names = sorted(sets["train"])
    if not names:
        raise _no_classes(root, places["train"], found["train"])
    paths = {
        name: [path for label in names for path in those.get(label, ())]
        for name, those in sets.items()
    }
    labels = {
        name: np.repeat(
            np.arange(len(names), dtype=np.int32), [len(those.get(label, ())) for label in names]
        )
        for name, those in sets.items()
    }
    pool = found["unlabelled"].images if "unlabelled" in found else []
    paths["train"] += pool
    labels["train"] = np.append(labels["train"], np.full(len(pool), -1, np.int32))
    problems = [problem for those in found.values() for problem in those.problems]
    problems += [problem for name in sets for problem in _empty(sets[name], places[name])]
    problems += [*class_problems(sets), *_left_out(root, options, places, found)]
    return Listing(root, tuple(names), paths, labels, problems=tuple(problems))


def _places(root: Path, options: Mapping[str, str]) -> dict[str, str]:
    """Set -> its folder below root, of those that are there; {"train": ""} for root itself."""
    places = {name: _plain(place) for name, place in options.items() if place}
    there = {name: place for name, place in places.items() if (root / place).is_dir()}
    for name, place in places.items():
        if name not in there and place != name:  # another name than its own was asked for
            known = [entry.name for entry in root.iterdir() if entry.is_dir()]
            raise UserError(
                f"there is no folder {place!r} in {str(root)!r} for the set {name}."
                f"{nearest(place, known)}",
                f"there are: {shown(sorted(known))}; set --config.source.{name}.",
            )
    _check_apart(root, there)
    if not there:
        return {"train": ""}
    if "train" not in there:
        raise UserError(
            f"{str(root)!r} has a folder {shown(there.values())} but none to train on, "
            f"{options['train']!r}.",
            f"{LAYOUT} If it is a class and not a set, say so: "
            f"--config.source.{next(iter(there))}= (empty).",
        )
    return there


def _plain(place: str) -> str:
    """A folder below root as `find` writes it: "./train/" -> "train", "." -> ""."""
    plain = os.path.normpath(place).strip("/")
    return "" if plain == "." else plain


def _check_apart(root: Path, places: Mapping[str, str]) -> None:
    """Raise UserError where a set's folder is outside of root, or in that of another set."""
    real = {name: (root / place).resolve() for name, place in places.items()}
    for name, place in real.items():
        if not is_below(place, root.resolve()):
            raise UserError(
                f"the folder of the set {name}, {str(root / places[name])!r}, leads to "
                f"{str(place)!r}, which is not below {str(root)!r}.",
                f"set --config.source.path to a folder that holds all sets, without links, or "
                f"--config.source.{name}.",
            )
    for one, other in itertools.combinations(real, 2):
        if is_below(real[one], real[other]) or is_below(real[other], real[one]):
            where = " and ".join(repr(str(root / places[name])) for name in (one, other))
            raise UserError(
                f"the sets {one} and {other} would share images: {where}.",
                "give each a folder of its own, or one of them none: "
                f"--config.source.{one}= or --config.source.{other}= (empty).",
            )


def _by_class(found: Found, place: str) -> dict[str, list[str]]:
    """The images in each class folder of a set, which lies at `place`."""
    images = {name: [] for name in (_inside(path, place) for path in found.folders)}
    images = {name: those for name, those in images.items() if "/" not in name}
    for path in found.images:
        label, slash, _ = _inside(path, place).partition("/")
        if slash:
            images[label].append(path)
    return images


def _inside(path: str, place: str) -> str:
    """A path from root as one from the set's folder."""
    return path[len(place) + 1 :] if place else path


def _empty(images: Mapping[str, list[str]], place: str) -> list[Problem]:
    return [
        Problem("empty class", "a class folder without any image", f"{place}/{name}".strip("/"))
        for name, those in sorted(images.items())
        if not those
    ]


def _left_out(
    root: Path, options: Mapping[str, str], places: Mapping[str, str], found: Mapping[str, Found]
) -> list[Problem]:
    """Files that are no images by name or lie in no class folder, and folders that are no set's."""
    stray = [path for those in found.values() for path in those.others]
    for name, place in places.items():
        if name != "unlabelled":
            stray += [path for path in found[name].images if "/" not in _inside(path, place)]
    used = {place.split("/")[0] for place in places.values()}
    beside = [e for e in root.iterdir() if not is_hidden(e.name) and e.name not in used]
    beside = sorted(beside) if places["train"] else []  # else all of root was found already
    stray += [entry.name for entry in beside if not entry.is_dir()]
    folders = [entry.name for entry in beside if entry.is_dir()]
    absent = ", ".join(f"--config.source.{name}=" for name in options if name not in places)
    said = {
        "files left out": f"{len(stray)} are not called as images are, or are in no class folder: "
        f"{shown(stray)}",
        "folders left out": f"{shown(folders)} beside the folders of the sets"
        + (f"; if one is a set's, say so: {absent}" if absent else ""),
    }
    return [
        Problem(kind, said[kind], wrong=False)
        for kind, those in (("files left out", stray), ("folders left out", folders))
        if those
    ]


def _no_classes(root: Path, place: str, found: Found) -> UserError:
    where = repr(str(root / place))
    if found.images:
        what = f"{where} has {len(found.images)} images but no class folders."
    elif found.others:
        what = f"{where} has {len(found.others)} files but neither images nor class folders."
    else:
        what = f"{where} is empty."
    said = " " + "; ".join(f"{p.path}: {p.kind}" for p in found.problems) if found.problems else ""
    as_class = f" If {place!r} is a class, say so: --config.source.train= (empty)." if place else ""
    return UserError(what + said, f"{LAYOUT}{as_class}")
