"""What a data set holds and what is wrong with it, before anything is trained on it. No JAX."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lowlabel_jax.configuration import check, keys, load, resolve
from lowlabel_jax.core import named
from lowlabel_jax.core.errors import UserError, nearest
from lowlabel_jax.data import check as look_at
from lowlabel_jax.data import source, splits
from lowlabel_jax.data.check import Place, Scan
from lowlabel_jax.runs import listing

SHOWN = 10  # lines of a kind that the page lists; the JSON has them all
WRONG = ("leakage", "split")  # what makes results wrong, or keeps a run from beginning


class Data(NamedTuple):
    """What DATA on the command line stands for."""

    name: str
    config: keys.Config
    has_split: bool  # a config says how its data is split, a source alone does not
    source: source.Source


def opened(data: str) -> Data:
    """The data of a config, by name or file, or of a source `name:option=value,option=value`.

    Raises UserError where it is neither, or where the data is not to be had.
    """
    kind, _, options = data.partition(":")
    configs = [path.stem for path in listing.config_files()]
    is_config = kind in configs or kind.endswith(".py")
    if is_config:
        config = load.load(data.replace(kind, listing.config_path(kind), 1))
    elif kind in named.parts("source"):
        config = keys.base()
        keys.assign(config, "source", source_spec(kind, options))
        config = load.override(config, {})
    else:
        sources = sorted(named.parts("source"))
        raise UserError(
            f"{data!r} is neither a config nor a source.{nearest(kind, [*configs, *sources])}",
            f"give a config (a file, or one of {', '.join(configs)}) or a source with its options "
            f"({', '.join(sources)}), as arrays:path=FILE.npz. Folders and CSV are not read yet.",
        )
    check.check(config)
    return Data(Path(kind).stem, config, is_config, source.open_source(config.source.to_dict()))


def source_spec(name: str, options: str) -> dict[str, Any]:
    """("arrays", "path=a.npz,test=9") -> {"name": "arrays", "path": "a.npz", "test": 9}."""
    spec: dict[str, Any] = {"name": name}
    known = named.options("source", name)
    for option in re.split(r",(?=\w+=)", options) if options else ():
        key, equals, value = option.partition("=")
        if not equals:
            raise UserError(
                f"{option!r} is not an option of the source {name!r}.",
                f"write {name}:OPTION=VALUE with one of: {', '.join(known)}.",
            )
        is_text = key not in known or isinstance(known[key].default, str)
        spec[key] = value if is_text else _literal(value)
    return spec


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text  # what is wrong with it is said by the option's range


def report(data: Data) -> dict[str, Any]:
    """What `--json` prints: classes, splits, problems, duplicates, leakage.

    An image is called by its set and its place in it: "train[7]".
    """
    scans = {name: look_at.scan(data.source, name) for name in data.source.labels}
    same = look_at.copies(scans)
    across = [group for group in same if len(look_at.by_set(group)) > 1]
    within = [part for group in same for part in look_at.by_set(group) if len(part) > 1]
    sizes, refused = _split(data) if data.has_split and not across else ({}, [])
    return {
        "classes": look_at.counts(data.source),
        "splits": {name: look_at.numbers(found) for name, found in scans.items()} | sizes,
        "problems": [*_problems(data.source, scans, same), *refused],
        "duplicates": [_group(data.source, group) for group in within],
        "leakage": [_group(data.source, group) for group in across],
    }


def is_wrong(found: Mapping[str, Any]) -> bool:
    """Whether results on this data would be wrong, or a run refused."""
    return any(problem["kind"] in WRONG for problem in found["problems"])


def _split(data: Data) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(the sizes of the config's split, or the problem for which a run would refuse it)."""
    wanted, seed = data.config.split.to_dict(), resolve.seeds(data.config)["split"]
    try:
        split = splits.split_of(data.source, wanted, seed)
    except UserError as error:
        return {}, [_problem("split", error.message)]
    return {name: {"n": len(rows)} for name, rows in split._asdict().items()}, []


def _problems(
    data: source.Source, scans: Mapping[str, Scan], same: Sequence[list[Place]]
) -> Iterator[dict[str, Any]]:
    for group in same:
        said = ", ".join(f"{_at(p)} ({look_at.class_of(data, p) or 'no label'})" for p in group)
        if len(look_at.by_set(group)) > 1:
            yield _problem("leakage", f"the same image: {said}", group[0])
        if len({look_at.class_of(data, place) for place in group} - {None}) > 1:
            yield _problem("conflict", f"one image, several labels: {said}", group[0])
    for name, found in scans.items():
        for index in found.constant.tolist():
            yield _problem("constant", "every pixel has the same colour", (name, index))
    for label, counts in look_at.counts(data).items():
        for name in (name for name, count in counts.items() if not count):
            yield _problem("empty class", f"class {label!r} has no image in {name}")


def _problem(kind: str, detail: str, place: Place | None = None) -> dict[str, Any]:
    return {"kind": kind, "path": _at(place) if place else None, "line": None, "detail": detail}


def _group(data: source.Source, group: list[Place]) -> dict[str, Any]:
    classes = [look_at.class_of(data, place) for place in group]
    return {"images": [_at(place) for place in group], "classes": classes}


def _at(place: Place) -> str:
    return f"{place[0]}[{place[1]}]"


def page(data: Data, found: Mapping[str, Any]) -> str:
    """The report for people."""
    shape = "x".join(str(n) for n in data.source.image_shape)
    lines = [
        f"{data.name}: {len(found['classes'])} classes, images of {shape}",
        "",
        *_sets(found["splits"]),
        "",
        *_classes(found["classes"]),
        "",
        f"{'duplicates':<12} {_images(found['duplicates'], 'within a set')}",
        f"{'leakage':<12} {_images(found['leakage'], 'between sets')}",
        f"{'problems':<12} {len(found['problems']) or 'none'}",
        *_listed(found["problems"]),
    ]
    return "\n".join(lines)


def _sets(sizes: Mapping[str, Any]) -> Iterator[str]:
    yield f"{'set':<12} {'images':>8}  {'values':<10} {'mean':<20} sd"
    for name, of in sizes.items():
        row = f"{name:<12} {of['n']:>8,}"
        if of.get("range"):
            mean, spread = (" ".join(f"{v:.1f}" for v in of[key]) for key in ("mean", "std"))
            low, high = of["range"]
            row += f"  {f'{low} to {high}':<10} {mean:<20} {spread}"
        yield row


def _classes(classes: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    width = max(5, *(len(name) for name in classes))
    sets = next(iter(classes.values()))
    yield f"{'class':<{width}}" + "".join(f"{name:>9}" for name in sets)
    for label, counts in classes.items():
        yield f"{label:<{width}}" + "".join(f"{count:>9,}" for count in counts.values())


def _images(groups: Sequence[Mapping[str, Any]], where: str) -> str:
    count = sum(len(group["images"]) for group in groups)
    return f"{count} images in {len(groups)} groups, {where}" if groups else f"none {where}"


def _listed(problems: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for kind in dict.fromkeys(problem["kind"] for problem in problems):
        those = [problem for problem in problems if problem["kind"] == kind]
        for problem in those[:SHOWN]:
            yield f"  {kind:<12} {problem['detail']}"
        if len(those) > SHOWN:
            yield f"  {kind:<12} and {len(those) - SHOWN} more (--json has them all)"
