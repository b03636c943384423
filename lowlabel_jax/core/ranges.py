"""Annotations that say which values an option may take: `threshold: Probability = 0.95`.

A part declares its options' ranges in its own signature; `named.problems` reads them there
(without importing the part) and checks a config before anything is compiled. A search that compiles
one program for many values gives traced numbers in their place: they are checked where they are
made.
"""

import ast
import sys
from collections.abc import Callable, Mapping

Positive = float  # above 0
NonNegative = float  # 0 or more
Probability = float  # from 0 to 1, both allowed
Fraction = float  # from 0 up to, not including, 1
Magnitude = float  # from 0, nothing, to 1, all that there is
Count = int  # a whole number, 1 or more
Natural = int  # a whole number, 0 or more
Length = int  # steps, or a dict with one unit: {"epochs": 1}

RULES: dict[str, tuple[type, Callable[[float], bool], str]] = {
    "Positive": (float, lambda v: v > 0, "must be above 0"),
    "NonNegative": (float, lambda v: v >= 0, "must be 0 or more"),
    "Probability": (float, lambda v: 0 <= v <= 1, "must be from 0 to 1"),
    "Fraction": (float, lambda v: 0 <= v < 1, "must be 0 or more and below 1"),
    "Magnitude": (float, lambda v: 0 <= v <= 1, "must be from 0 to 1"),
    "Count": (int, lambda v: v >= 1, "must be a whole number, 1 or more"),
    "Natural": (int, lambda v: v >= 0, "must be a whole number, 0 or more"),
    "Length": (int, lambda v: v >= 0, "must be 0 or more steps, or a dict like {'epochs': 1}"),
    "float": (float, lambda v: v == v and abs(v) != float("inf"), "must be a finite number"),
    "int": (int, lambda v: True, "must be a whole number"),
    "bool": (bool, lambda v: True, "must be True or False"),
    "str": (str, lambda v: True, "must be text"),
}
FLOATS = frozenset(name for name, (kind, *_) in RULES.items() if kind is float)


def breaks(annotation: str, value: object) -> str:
    """What `value` breaks of the rule called `annotation`, or "". Unknown rules allow anything.

    `Literal["a", "b"]` allows what it lists. A traced number has no value to look at: it may stand
    where any float may.
    """
    if traced(value):
        return _breaks_traced(annotation, value)
    if annotation.startswith("Literal["):
        listed = choices(annotation)
        return "" if value in listed else f"must be one of {', '.join(map(str, listed))}"
    if annotation not in RULES:
        return ""
    kind, allowed, message = RULES[annotation]
    if annotation == "Length" and isinstance(value, Mapping):
        return "" if len(value) == 1 and all(v >= 0 for v in value.values()) else message
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return "" if allowed(value) else message
    if kind is not float and type(value) is kind and allowed(value):  # type: ignore[arg-type]
        return ""
    return message


def traced(value: object) -> bool:
    """Whether this is one of JAX's tracers: a number that has no value until a program runs."""
    core = sys.modules.get("jax.core")  # where nobody has imported it, there are none
    return isinstance(value, getattr(core, "Tracer", ()))


def on(value: object) -> bool:
    """Whether an option is at work: False only for a Python number that is 0; traced ones are."""
    return not isinstance(value, int | float) or value != 0


def allowed(annotation: str) -> str:
    """What the rule called `annotation` allows, in words; "" where there is no such rule."""
    if annotation.startswith("Literal["):
        return "one of " + ", ".join(map(str, choices(annotation)))
    return RULES[annotation][2].removeprefix("must be ") if annotation in RULES else ""


def choices(annotation: str) -> tuple[object, ...]:
    """What `Literal["a", "b"]` lists."""
    return ast.literal_eval(f"({annotation.removeprefix('Literal[').removesuffix(']')},)")


def _breaks_traced(annotation: str, value: object) -> str:
    if annotation in FLOATS:
        return "" if getattr(value, "shape", None) == () else "must be one number"
    return "must be known before compiling" if allowed(annotation) else ""
