"""A dict with a name is a call: {"name": "fixmatch", "threshold": 0.9} -> fixmatch(threshold=0.9).

A part is a module of its kind's folder that defines a function of the module's own name, or a
public function of its kind's module. Names, options, defaults and ranges are read from the source
text, so a config is checked before any part (and JAX) is imported.
"""

import ast
import functools
import importlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lowlabel_jax.core import ranges
from lowlabel_jax.core.errors import UserError, nearest

PACKAGE = Path(__file__).parent.parent
PLACES = {  # kind -> the folder (one part a file) or the module (one part a function)
    "source": "sources",
    "model": "models",
    "augment": "augment",
    "objective": "objectives",
    "optimizer": "optimizers",
    "rate": "schedules",
}


class Option(NamedTuple):
    """One keyword of a part. `default` is `REQUIRED` where the run has to supply it."""

    default: Any
    annotation: str


REQUIRED = object()  # an option without a default: the run supplies it (num_classes, total_steps)


def parts(kind: str) -> dict[str, ast.FunctionDef]:
    """The parts of a kind by name, as syntax trees."""
    place = PACKAGE / PLACES[kind]
    if not place.is_dir():
        return {f.name: f for f in _functions(place.with_suffix(".py")) if _is_called_by_name(f)}
    return {
        f.name: f
        for path in sorted(place.glob("*.py"))
        for f in _functions(path)
        if f.name == path.stem
    }


def options(kind: str, name: str) -> dict[str, Option]:
    """The keyword options of a part, in the order of its signature."""
    arguments = _find(kind, name).args
    if arguments.args or arguments.vararg or arguments.kwarg:
        raise TypeError(f"{kind} {name!r} must take keyword-only options: def {name}(*, …)")
    found = {}
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        note = ast.unparse(argument.annotation) if argument.annotation else ""
        value = REQUIRED if default is None else _literal(default, kind, name, argument.arg)
        found[argument.arg] = Option(value, note)
    return found


def about(kind: str, name: str) -> str:
    """The first line of what a part says of itself."""
    return (ast.get_docstring(_find(kind, name)) or "").partition("\n")[0]


def complete(kind: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec with every default of the part written out, nested parts included."""
    mine = {
        k: o.default for k, o in options(kind, spec["name"]).items() if o.default is not REQUIRED
    }
    whole = {"name": spec["name"], **mine, **spec}
    return {k: complete(k, v) if _is_part(k, v) else v for k, v in whole.items()}


def problems(kind: str, spec: Mapping[str, Any], where: str) -> Iterator[str]:
    """What is wrong with a spec: one line for each unknown name, unknown option or bad value."""
    name = spec.get("name")
    known = parts(kind)
    if name not in known:
        there = ", ".join(sorted(known))
        yield f"{where}: no {kind} called {name!r}.{nearest(str(name), known)} There are: {there}."
        return
    mine = options(kind, name)
    for key, value in spec.items():
        if key == "name":
            continue
        if key not in mine:
            offered = [k for k, o in mine.items() if o.default is not REQUIRED]
            yield (
                f"{where}: {kind} {name!r} has no option {key!r}.{nearest(key, offered)} "
                f"It has: {', '.join(offered) or 'none'}."
            )
        elif _is_part(key, value):
            yield from problems(key, value, f"{where}.{key}")
        elif broken := ranges.breaks(mine[key].annotation, value):
            yield f"{where}.{key} = {value!r} {broken}."


def build(kind: str, spec: Mapping[str, Any], **known: Any) -> Any:
    """Call the part that a spec names; of `known` (what only the run knows) pass what it asks for.

    Raises UserError for an unknown part or option, with the nearest known one.
    """
    if found := list(problems(kind, spec, kind)):
        raise UserError(found[0])
    place = f"lowlabel_jax.{PLACES[kind]}"
    is_folder = (PACKAGE / PLACES[kind]).is_dir()
    module = importlib.import_module(f"{place}.{spec['name']}" if is_folder else place)
    part = getattr(module, spec["name"])
    wanted = inspect.signature(part).parameters
    given = {k: v for k, v in spec.items() if k != "name"}
    return part(**given, **{k: v for k, v in known.items() if k in wanted and k not in given})


def _is_part(key: str, value: object) -> bool:
    return key in PLACES and isinstance(value, Mapping) and "name" in value


def _is_called_by_name(function: ast.FunctionDef) -> bool:
    """Whether a function of a kind's module is a part: public, with keyword-only options."""
    return not function.name.startswith("_") and not function.args.args


@functools.cache
def _functions(path: Path) -> list[ast.FunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


def _find(kind: str, name: str) -> ast.FunctionDef:
    known = parts(kind)
    if name not in known:
        there = ", ".join(sorted(known))
        raise UserError(f"no {kind} called {name!r}.{nearest(name, known)} There are: {there}.")
    return known[name]


def _literal(node: ast.expr, kind: str, name: str, option: str) -> Any:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        raise TypeError(f"{kind} {name!r}: the default of {option!r} must be a literal") from None
    return value
