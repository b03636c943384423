"""What folders, tables and layouts of files share: where they lie, and classes that must agree."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from lowlabel_jax.core import archives, files, log
from lowlabel_jax.core.errors import UserError, nearest
from lowlabel_jax.data.source import Problem
from lowlabel_jax.sources.image_paths import is_hidden, shown


def opened(path: str, source: str, known: Collection[str] = ()) -> Path:
    """The folder that an option `path` names, or what an archive holds, unpacked in the cache.

    A single folder at the top of an archive is stepped into, unless it is one of those `known`.
    Raises UserError where there is no path, nothing at it, or a file that is no archive.
    """
    if not path:
        raise UserError(f"the source {source!r} has no path.", "add --config.source.path=FOLDER.")
    place = Path(path).expanduser()
    if place.is_dir():
        return place
    if not place.exists():
        raise UserError(f"there is no folder {path!r}.{_near(place)}", "set --config.source.path.")
    if not (place.is_file() and archives.is_archive(place)):
        raise UserError(
            f"{path!r} is a file, and no archive ({', '.join(archives.SUFFIXES)}).",
            "set --config.source.path to the folder that the images lie in.",
        )
    unpacked = files.cache_directory() / "unpacked" / files.sha256(place)
    if not unpacked.is_dir():
        log.say(f"unpacking {place} into {unpacked}")
    archives.unpack(place, unpacked)
    tops = [entry for entry in unpacked.iterdir() if not is_hidden(entry.name)]
    steps = len(tops) == 1 and tops[0].is_dir() and tops[0].name not in known
    return tops[0] if steps else unpacked


def _near(place: Path) -> str:
    """ " Did you mean 'x'?" for what lies beside it."""
    beside = place.parent.iterdir() if place.parent.is_dir() else ()
    return nearest(place.name, [entry.name for entry in beside])


def class_problems(classes: Mapping[str, Collection[str]]) -> Iterator[Problem]:
    """What is wrong with the classes of the sets: set -> names. There is always "train"."""
    train = set(classes["train"])
    for name, those in classes.items():
        sides = ((name, set(those) - train, "train"), ("train", train - set(those), name))
        said = [f"{a} has {shown(sorted(more))}, which {b} has not" for a, more, b in sides if more]
        if said:
            yield Problem("classes differ", "; ".join(said))
    if len(train) == 1:
        yield Problem("one class only", f"{train.pop()!r}: there is nothing to tell it from")


def advice(problems: Sequence[Problem], hints: Mapping[str, str]) -> str:
    """What to type about the problems that are wrong: the hints of their kinds."""
    kinds = dict.fromkeys(problem.kind for problem in problems if problem.wrong)
    return " ".join(hints[kind] for kind in kinds if kind in hints)
