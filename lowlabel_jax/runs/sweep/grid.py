"""`--grid 'objective.threshold=0.8,0.95;seed=0:6'` -> the settings of every run. No JAX."""

import itertools
import re
from collections.abc import Iterator

from lowlabel_jax.core.errors import UserError

FORM = "write --grid='objective.threshold=0.8,0.95;seed=0:6' (0:6 is 0 to 5; 0:60:10 is 0 to 50)."
RANGE = re.compile(r"(-?\d+):(-?\d+)(?::(-?\d+))?")


def choices(text: str) -> list[dict[str, str]]:
    """Every combination of the grid's values, the last setting fastest; [{}] for no grid.

    Values stay text: the config types them as it does any override.
    """
    found = read(text)
    return [dict(zip(found, values, strict=True)) for values in itertools.product(*found.values())]


def read(text: str) -> dict[str, list[str]]:
    """ "seed=0:2;model.pool=(True,False)" -> {"seed": ["0", "1"], "model.pool": ["(True,False)"]}.

    Raises UserError for what is no grid; whether there are such settings is the config's to say.
    """
    found: dict[str, list[str]] = {}
    for part in filter(None, (part.strip() for part in split(text, ";"))):
        path, equals, values = part.partition("=")
        path = path.strip().removeprefix("--").removeprefix("config.")
        if not equals or not path:
            raise UserError(f"--grid: {part!r} is not SETTING=VALUE,VALUE.", FORM)
        if path in found:
            raise UserError(f"--grid names {path} twice.", "give all its values at one place.")
        found[path] = [one for value in split(values, ",") for one in _values(path, value.strip())]
        if len(set(found[path])) < len(found[path]):
            raise UserError(f"--grid: {path} has a value twice in {values!r}.", "give each once.")
    return found


def _values(path: str, text: str) -> Iterator[str]:
    """The values that one stands for: those of a range of whole numbers, or itself."""
    if not text:
        raise UserError(f"--grid: a value of {path} is empty.", FORM)
    matched = RANGE.fullmatch(text)
    if not matched:
        yield text
        return
    first, end, step = int(matched[1]), int(matched[2]), int(matched[3] or 1)
    if not step or not range(first, end, step):
        raise UserError(f"--grid: the range {path}={text} holds no number.", FORM)
    yield from map(str, range(first, end, step))


def split(text: str, mark: str) -> list[str]:
    """The text between marks that stand in no brackets and no quotes. Raises UserError for those
    that do not close."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote or letter in "'\"":
            quote = "" if letter == quote else quote or letter
        depth += (letter in "([{") - (letter in ")]}") if not quote else 0
        if letter == mark and not quote and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    if depth or quote:
        raise UserError(f"--grid: brackets or quotes do not close in {text!r}.", FORM)
    return parts
