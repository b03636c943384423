"""What a family of weight files (timm's, Keras', ..) is like for one architecture."""

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.pretrained import turns

Turn = Callable[[np.ndarray, tuple[int, ...]], np.ndarray]  # (the file's array, our shape) -> ours


class Rule(NamedTuple):
    """Where a tensor goes: a pattern for its whole name, and our path, "params/stem/conv/kernel".

    path: as for re.Match.expand ("params/block_\\1/scale"), or a function of the match where
    numbers have to be counted anew; "" leaves the tensor out, for it means nothing to us.
    """

    name: str
    path: str | Callable[[re.Match], str]
    turn: Turn = turns.as_it_is


class Layout(NamedTuple):
    """How one family of files holds an architecture, and what travels with such weights."""

    family: str  # "timm", "keras", ..
    mark: str  # a pattern that some name matches in files of this family, and in no other's
    rules: Sequence[Rule]
    options: Mapping[str, Any]  # of the model: epsilon, padding, ..
    pixels: str  # a name in pixels.PIXELS
    optional: str = r"params/head/.*"  # a pattern of paths that a model may do without


def layouts(model: str) -> tuple[Layout, ...]:
    """The layouts known for a model by its name. Raises UserError where there are none."""
    there = sorted(p.stem for p in (Path(__file__).parent / "layouts").glob("[!_]*.py"))
    if model not in there:
        raise UserError(
            f"no pretrained weights are known for the model {model!r}.",
            f"models that take weights: {', '.join(there)}.",
        )
    return importlib.import_module(f"lowlabel_jax.pretrained.layouts.{model}").LAYOUTS


def layout_of(model: str, names: Sequence[str]) -> Layout:
    """The layout of a file with tensors of these names. Raises UserError where none fits."""
    known = layouts(model)
    for layout in known:
        if any(re.fullmatch(layout.mark, name) for name in names):
            return layout
    shown = ", ".join(sorted(names)[:3])
    raise UserError(
        f"the file's tensors ({len(names)}: {shown}, ..) are not named like a {model} of "
        f"{' or '.join(dict.fromkeys(layout.family for layout in known))}.",
        "is it another architecture's? Set model.name to that.",
    )
