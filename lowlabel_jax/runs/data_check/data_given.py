"""What DATA stands for in `lowlabel data-check DATA`: a config, a source, a folder or a file."""

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lowlabel_jax.configuration import check, keys, load
from lowlabel_jax.core import archives, named
from lowlabel_jax.core.errors import UserError, nearest
from lowlabel_jax.data import opened
from lowlabel_jax.data.source import BadData, Problem, Source
from lowlabel_jax.images.near import SIDE
from lowlabel_jax.runs import listing
from lowlabel_jax.sources import csv_rows

KINDS = {".csv": "table", ".tsv": "table", ".npz": "arrays"}
COLUMNS = {  # of a table, by what they are usually called
    "id": ("objectid", "id", "filename", "file", "path", "image"),
    "label": ("value", "label", "class"),
    "split": ("split",),
}
SMALL = {"size": SIDE, "crop": "stretch", "channels": 1, "resample": "area", "cache": False}


class Data(NamedTuple):
    """What DATA on the command line stands for."""

    name: str
    out: Path  # the folder that pictures go to
    config: keys.Config
    has_split: bool  # a config says how its data is split, a source alone does not
    source: Source | None  # None: it cannot be made of what there is, see problems
    problems: tuple[Problem, ...] = ()  # all that was noticed when it was opened
    hint: str = ""  # what to type about them


def opened_data(
    data: str, overrides: Iterable[str] = (), out: Path | None = None, writes: bool = False
) -> Data:
    """DATA opened, with `--config.x.y=value` overrides. Files that cannot be read are left out.

    out: where pictures go; None: data-check/NAME. writes: whether there will be any.
    Raises UserError where DATA is nothing that is known, where there is no data at all, and where
    `out` lies among the data.
    """
    name, config, has_split = config_of(data, load.parse(overrides))
    check.check(config)
    out = out or Path("data-check") / name
    if writes:
        _check_out(out, config.source.to_dict())
    given = Data(name, out, config, has_split, None)
    try:
        source = opened.open_data(_reporting(config))
    except BadData as error:
        return given._replace(problems=error.problems, hint=error.hint)
    return given._replace(source=source, problems=source.problems)


def _check_out(out: Path, spec: Mapping[str, Any]) -> None:
    """Raise UserError where a folder that a source reads would be written to."""
    named_by = [Path(v).expanduser() for v in spec.values() if isinstance(v, str) and v]
    beside = [place.parent for place in named_by if spec["name"] == "table" and place.is_file()]
    folders = [place for place in named_by if place.is_dir()]
    for folder in folders if spec.get("images") else [*folders, *beside]:
        if out.resolve().is_relative_to(folder.resolve()):
            raise UserError(
                f"{str(out)!r} is in {str(folder)!r}, where the data is; nothing is written there.",
                "give another folder: --out=DIR.",
            )


def small(data: Data) -> Source:
    """The same images whole, grey and tiny, where they lie in files; else the source itself."""
    assert data.source
    if not data.source.records:
        return data.source
    config = _reporting(data.config)
    return opened.open_data({**config, "image": {**config["image"], **SMALL}})


def _reporting(config: keys.Config) -> dict[str, Any]:
    """A checked config, as one whose source tells of bad files and does not refuse them."""
    plain = config.to_dict()
    return {**plain, "image": {**plain["image"], "on_bad": "report"}}


def config_of(data: str, overrides: Mapping[str, str]) -> tuple[str, keys.Config, bool]:
    """(name, config, whether it says how to split) of DATA."""
    kind, _, argument = data.partition(":")
    configs = [path.stem for path in listing.config_files()]
    if kind in configs or kind.endswith(".py"):
        file = data.replace(kind, listing.config_path(kind), 1)
        return Path(kind).stem, load.override(load.get_config(file), overrides), True
    if kind in named.parts("source"):
        name, spec = kind, source_spec(kind, argument)
    elif place := _place(data):
        name, spec = _name(place[0]), spec_of(*place)
    else:
        raise _unknown(data, kind, configs)
    config = keys.base()
    keys.assign(config, "source", spec)
    return name, load.override(config, overrides), False


def _place(data: str) -> tuple[Path, str] | None:
    """(file or folder, its options) of "photos" or "photos:option=value", if there is one."""
    path, _, options = data.partition(":") if not Path(data).exists() else (data, "", "")
    path = Path(path).expanduser()
    return (path, options) if path.exists() else None


def _name(path: Path) -> str:
    """What a file or folder is called, "photos" of "../photos/" too."""
    return path.resolve().name.partition(".")[0] or "data"


def spec_of(path: Path, options: str = "") -> dict[str, Any]:
    """The source that reads what lies at a path, with options as in `source_spec`.

    Raises UserError for a file of another kind, and for a table whose columns have to be named.
    """
    kind = _kind_of(path)
    spec = source_spec(kind, options) | {"path": str(path)}
    return spec if kind != "table" else spec | _columns(path, spec)


def _kind_of(path: Path) -> str:
    if path.is_dir() and (path / "images").is_dir() and (path / "meta" / "train.txt").is_file():
        return "food101"
    if any((path / f"train-images-idx3-ubyte{packed}").is_file() for packed in ("", ".gz")):
        return "mnist_idx"
    if path.is_dir() or archives.is_archive(path):
        return "folder"
    if path.suffix.lower() not in KINDS:
        raise UserError(
            f"{str(path)!r} is no kind of data that is known.",
            f"give a folder, a file ({', '.join(KINDS)}) or an archive "
            f"({', '.join(archives.SUFFIXES)}).",
        )
    return KINDS[path.suffix.lower()]


def _columns(path: Path, spec: Mapping[str, Any]) -> dict[str, str]:
    """Which of a table's columns are its file names, labels and sets, where a spec leaves it open.

    Raises UserError where several could be; the source says what is missing where none is.
    """
    header = csv_rows.read(path, (), spec.get("delimiter", "")).header
    found = {}
    for option in (option for option in COLUMNS if option not in spec):
        fitting = [column for column in header if column.lower() in COLUMNS[option]]
        if len(fitting) > 1:
            raise UserError(
                f"{str(path)!r} has several columns that may be its {option}: "
                f"{', '.join(map(repr, fitting))}.",
                f"say which: lowlabel data-check {path}:{option}={fitting[0]}",
            )
        if fitting:
            found[option] = fitting[0]
    return found


def source_spec(name: str, options: str) -> dict[str, Any]:
    """("arrays", "path=a.npz,test=9") -> {"name": "arrays", "path": "a.npz", "test": 9}."""
    spec: dict[str, Any] = {"name": name}
    known = named.options("source", name)
    for option in re.split(r",(?=\w+=)", options) if options else ():
        key, equals, value = option.partition("=")
        if not equals:
            raise UserError(
                f"{option!r} is not an option of the source {name!r}.",
                f"write OPTION=VALUE with one of: {', '.join(k for k in known if k != 'image')}.",
            )
        is_text = key not in known or isinstance(known[key].default, str)
        spec[key] = value if is_text else _literal(value)
    return spec


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text  # what is wrong with it is said by the option's range


def _unknown(data: str, kind: str, configs: Sequence[str]) -> UserError:
    sources = sorted(named.parts("source"))
    return UserError(
        f"{data!r} is neither a config, a source, a folder nor a file."
        f"{nearest(kind, [*configs, *sources])}",
        f"give a folder of images, a table of them (.csv), an .npz file, a config (a file, or one "
        f"of {', '.join(configs)}) or a source with its options ({', '.join(sources)}), as "
        "arrays:path=FILE.npz.",
    )
