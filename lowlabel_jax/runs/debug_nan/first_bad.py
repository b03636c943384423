"""Which operation of a program is the first to make a number that is not finite.

jax_debug_nans stops at the compiled program that made one. This goes on inside of it: every
operation of the traced program is asked whether it made a NaN, or an infinity, of finite numbers.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun

import lowlabel_jax

PACKAGE = str(Path(lowlabel_jax.__file__).parent)
NAN, INFINITY = "NaN", "infinity"
INSIDE = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # where an operation keeps a program to be called


class Made(NamedTuple):
    """An operation that made a number that is not finite where all it was given was finite."""

    what: str  # NAN or INFINITY
    operation: str  # XLA's name and what it makes: "log float32[8,10]"
    layer: str  # the path of modules it stands in: "jvp(SmallCnn)/conv_0"; "" outside of any
    place: str  # the line of this package that asked for it: "objectives/losses.py:21"


def first_bad(function: Callable, *given: Any) -> dict[str, Made]:
    """{"NaN": the first operation that makes one, "infinity": likewise}; those that there are.

    Operations run one by one, as they were written, up to the first NaN. An infinity may be meant
    to be there, as a mask. A loop counts as one operation.
    """
    program = jax.make_jaxpr(function)(*given)
    found: dict[str, Made] = {}
    with contextlib.suppress(StopIteration):
        _run(program.jaxpr, program.consts, jax.tree.leaves(given), "", found)
    return found


def _run(jaxpr: Any, consts: Any, given: Any, stack: str, found: dict[str, Made]) -> list:
    """The outputs of a program, run operation by operation; raises StopIteration at a NaN."""
    env = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *given), strict=True))

    def read(x: Any) -> Any:
        return x.val if isinstance(x, Literal) else env[x]

    for equation in jaxpr.eqns:
        values = [read(x) for x in equation.invars]
        here = f"{stack}/{equation.source_info.name_stack}"
        if inner := _inside(equation.params):
            out = _run(inner.jaxpr, inner.consts, values, here, found)
        else:
            out = _alone(jaxpr, equation)(*values)
            for kind in _made(values, out):
                about = (_operation(equation), here, _place(equation))
                found.setdefault(kind, Made(kind, *about))
            if NAN in found:
                raise StopIteration
        env.update(zip(equation.outvars, out, strict=True))
    return [read(x) for x in jaxpr.outvars]


def _alone(jaxpr: Any, equation: Any) -> Callable:
    """One operation of a program as a function of all that it is given, numbers written in too."""
    places = [i for i, x in enumerate(equation.invars) if not isinstance(x, Literal)]
    needed = dict.fromkeys(equation.invars[i] for i in places)
    first = {x: equation.invars.index(x) for x in needed}
    one = jaxpr.replace(
        eqns=[equation], constvars=[], invars=list(needed), outvars=equation.outvars
    )
    whole = jaxpr_as_fun(ClosedJaxpr(one, []))
    return lambda *values: whole(*(values[i] for i in first.values()))


def _inside(params: Mapping[str, Any]) -> Any:
    """The program that an operation does nothing but call; None for loops and branches."""
    if {"body_jaxpr", "branches", "length"} & set(params):
        return None
    return next((params[name] for name in INSIDE if hasattr(params.get(name), "consts")), None)


def _made(given: list, out: list) -> Iterator[str]:
    """What an operation has made that it was not given."""
    floats = [np.asarray(x) for x in out if _is_float(x)]
    if all(np.isfinite(x).all() for x in floats):
        return
    before = [np.asarray(x) for x in given if _is_float(x)]
    if any(np.isnan(x).any() for x in floats) and not any(np.isnan(x).any() for x in before):
        yield NAN
    if any(np.isinf(x).any() for x in floats) and all(np.isfinite(x).all() for x in before):
        yield INFINITY


def _is_float(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.floating)


def _operation(equation: Any) -> str:
    made = ", ".join(x.aval.str_short() for x in equation.outvars[:2])
    return f"{equation.primitive.name} {made}"


def _place(equation: Any) -> str:
    """The innermost line of this package in the call that made the operation."""
    return next(_lines(equation.source_info.traceback), "")


def _lines(traceback: Any) -> Iterator[str]:
    for frame in getattr(traceback, "frames", ()):
        if frame.file_name.startswith(PACKAGE) and "/ops/" not in frame.file_name:
            yield f"{frame.file_name[len(PACKAGE) + 1 :]}:{frame.line_num}"
