"""Which files below a folder are images, by their names alone, and which links are followed.

Hidden files and folders are passed over. A link is followed where it leads below the folder, to
what has not been read yet; so no link loops, and no file outside is ever opened.
"""

import heapq
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lowlabel_jax.data.source import Problem

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".gif"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm"),
)
HIDDEN = ("__macosx", "thumbs.db", "desktop.ini")  # and whatever begins with a dot


class Found(NamedTuple):
    """What lies below a folder and is not hidden: sorted paths from the root, with "/"."""

    images: list[str]
    others: list[str]  # files that are not called as images are, or are no plain files
    folders: list[str]
    problems: list[Problem]  # links that are not followed, names and folders that cannot be read


def find(root: Path, below: str = "") -> Found:
    """All that lies below root, or below a folder of it: no file is opened. Paths are from root."""
    found = Found([], [], [], [])
    home, seen = os.path.realpath(root), set()
    links = sorted(_walk(root, below, found, seen))  # a heap: what is followed depends on no disk
    while links:
        link = heapq.heappop(links)
        target = os.path.realpath(root / link)
        if why := _not_followed(root, link, target, home, seen):
            found.problems.append(why)
        elif os.path.isdir(target):
            found.folders.append(link)
            for further in _walk(root, link, found, seen):
                heapq.heappush(links, further)
        else:
            is_image = is_image_name(link) and os.path.isfile(target)
            (found.images if is_image else found.others).append(link)
    for part in found[:3]:
        part.sort()
    return found


def _not_followed(root: Path, link: str, target: str, home: str, seen: set[str]) -> Problem | None:
    """Why a link is not followed: it is broken, leads outside, or to what is read anyway."""
    leads = f"leads to {os.readlink(root / link)!r}"
    if not os.path.exists(target):
        return Problem("broken link", f"{leads}, which is not there", link)
    if not is_below(target, home):
        return Problem("link that leads outside", f"{leads}, not followed", link, wrong=False)
    if target in seen or is_below(os.path.realpath((root / link).parent), target):
        return Problem("link to what is read already", f"{leads}, not followed", link, wrong=False)
    return None


def _walk(root: Path, start: str, found: Found, seen: set[str]) -> Iterator[str]:
    """Add to `found` what lies below root/start and is not in `seen`, and yield the links there."""
    waiting = [start]
    while waiting:
        here = waiting.pop()
        real = os.path.realpath(root / here)
        if real in seen:  # through a link to a folder around it
            continue
        seen.add(real)
        for entry in _entries(root, here, found.problems):
            path = f"{here}/{entry.name}" if here else entry.name
            if entry.is_symlink():
                yield path
            elif entry.is_dir():
                found.folders.append(path)
                waiting.append(path)
            elif entry.is_file() and is_image_name(entry.name):
                found.images.append(path)
            else:
                found.others.append(path)


def _entries(root: Path, here: str, problems: list[Problem]) -> list[os.DirEntry]:
    """What lies in a folder and is not hidden."""
    try:
        with os.scandir(root / here) as entries:
            shown = [entry for entry in entries if not is_hidden(entry.name)]
    except OSError as error:
        problems.append(Problem("unreadable folder", f"{error.strerror}", here or str(root)))
        return []
    for entry in (entry for entry in shown if not _is_text(entry.name)):
        where = here or str(root)
        problems.append(
            Problem("name that is not UTF-8", f"{os.fsencode(entry.name)!r} in {where!r}")
        )
    return [entry for entry in shown if _is_text(entry.name)]


def _is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8; on Linux a name may be any bytes."""
    return name.isascii() or not re.search("[\ud800-\udfff]", name)


def is_image_name(name: str) -> bool:
    """Whether a file is called as images are; what it holds is found when it is decoded."""
    return name.lower().endswith(EXTENSIONS)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is the system's and not the user's: .DS_Store, __MACOSX."""
    return name.startswith(".") or name.lower() in HIDDEN


def is_below(path: str | Path, folder: str | Path) -> bool:
    """Whether a path is the folder or lies in it; both are real paths, without links."""
    return PurePosixPath(path).is_relative_to(folder)


def unsafe(name: str) -> str:
    """Why a name of a file from a table is refused before anything looks for it, or ""."""
    reasons = (
        ("\0" in name, "has a NUL character"),
        ("\\" in name, "has a backslash; write / between folders"),
        (name.startswith("/") or re.match("[A-Za-z]:", name), "is absolute"),
        (".." in name.split("/"), "leads out of the folder with '..'"),
    )
    return next((reason for is_so, reason in reasons if is_so), "")


class Lookup(NamedTuple):
    """The files of a folder by name, and by name without extension."""

    files: frozenset[str]
    stems: dict[str, list[str]]  # only images


def lookup(found: Found) -> Lookup:
    """What `meant` looks names up in."""
    stems: dict[str, list[str]] = {}
    for path in found.images:
        stems.setdefault(path[: path.rindex(".")], []).append(path)
    return Lookup(frozenset([*found.images, *found.others]), stems)


def meant(name: str, where: Lookup) -> Sequence[str]:
    """The files that a name can mean: the one called so, else the images with any extension."""
    plain = posixpath.normpath(name)
    return [plain] if plain in where.files else where.stems.get(plain, [])


def shown(names: Iterable[str], most: int = 5) -> str:
    """Names for a message: 'a', 'b', 'c' and 4 more."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
