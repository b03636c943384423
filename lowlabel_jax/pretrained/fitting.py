"""A file's tensors into a model's variables: each leaf filled, each tensor accounted for."""

import contextlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from lowlabel_jax.core import tree
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.pretrained.layout import Layout, Rule

HEAD = "params/head/"  # what new classes begin anew
SIZE = "does model.* say the size of the network that the file holds (depth, width, ..)?"


class Account(NamedTuple):
    """What became of every tensor of a file and every leaf of a model."""

    matched: tuple[str, ...]  # leaves that the file filled
    head_kept: bool  # whether the head's are among them
    left_out: tuple[str, ...]  # tensors with no meaning here (a counter of batches, ..)
    unmatched: tuple[str, ...]  # tensors that no rule knows
    head_dropped: tuple[str, ...] = ()  # leaves of a head that the file has, but for other classes

    def __str__(self) -> str:
        parts = [f"{len(self.matched)} leaves from the file"]
        gone = len(self.head_dropped)
        new = f"head new ({gone} tensors of the file's dropped)" if gone else "head new"
        parts.append("head from the file" if self.head_kept else new)
        if self.left_out:
            parts.append(f"{len(self.left_out)} tensors of no use here left out")
        if self.unmatched:
            shown = ", ".join(self.unmatched[:3]) + (", .." if len(self.unmatched) > 3 else "")
            parts.append(f"{len(self.unmatched)} tensors without a place: {shown}")
        return "; ".join(parts)


def fitted(
    variables: Mapping[str, Any], tensors: Mapping[str, np.ndarray], layout: Layout
) -> tuple[dict[str, Any], Account]:
    """(variables with the file's tensors in them as float32, what became of which).

    The head is the file's where it has one of the same shape (as many classes), else it stays as
    given, all of it. Raises UserError where any other leaf is missing or has another shape, or
    where the file has layers that the model lacks: a deeper network's first layers are no network.
    """
    leaves = tree.named_leaves(variables)
    turned, left_out, unmatched = _placed(tensors, layout, leaves)
    dropped: list[str] = []
    if not _head_fits(turned, leaves):
        dropped = [path for path in turned if path.startswith(HEAD)]
        turned = {path: v for path, v in turned.items() if not path.startswith(HEAD)}
    needed = [path for path in leaves if not path.startswith(HEAD)]
    if missing := [path for path in needed if path not in turned]:
        raise UserError(
            f"the file has no weights for {len(missing)} of the model's {len(leaves)} leaves: "
            f"{', '.join(missing[:4])}{', ..' if len(missing) > 4 else ''}.",
            SIZE,
        )
    wrong = [
        f"{path} is {turned[path].shape} there, {tuple(leaves[path].shape)} here"
        for path in needed
        if turned[path].shape != tuple(leaves[path].shape)
    ]
    if wrong:
        raise UserError(
            f"{len(wrong)} of the file's tensors have another shape: {'; '.join(wrong[:3])}.",
            SIZE,
        )
    filled = jax.tree_util.tree_map_with_path(
        lambda path, old: turned.get(tree.path_name(path), old), dict(variables)
    )
    head = any(path.startswith(HEAD) for path in turned)
    listed = (tuple(names) for names in (left_out, unmatched, dropped))
    return filled, Account(tuple(turned), head, *listed)


def _placed(
    tensors: Mapping[str, np.ndarray], layout: Layout, leaves: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    """(our path -> array, tensors that a rule leaves out, tensors without a place)."""
    turned: dict[str, np.ndarray] = {}
    left_out, unmatched, beyond = [], [], []
    for name, array in tensors.items():
        rule, path = _find(layout, name)
        if not rule:
            unmatched.append(name)
        elif not path or (path not in leaves and re.fullmatch(layout.optional, path)):
            left_out.append(name)
        elif path not in leaves:
            beyond.append(path)
        elif path in turned:
            raise UserError(f"two tensors of the file are {path}: {name} is the second.")
        else:
            turned[path] = _turned(rule, name, array, tuple(leaves[path].shape))
    if beyond:
        raise UserError(
            f"the file has {len(beyond)} weights for layers that the model lacks: "
            f"{', '.join(beyond[:4])}{', ..' if len(beyond) > 4 else ''}.",
            SIZE,
        )
    return turned, left_out, unmatched


def _find(layout: Layout, name: str) -> tuple[Rule | None, str]:
    """The first rule that fits a tensor's name, and our path for it."""
    for rule in layout.rules:
        if match := re.fullmatch(rule.name, name):
            return rule, rule.path(match) if callable(rule.path) else match.expand(rule.path)
    return None, ""


def _turned(rule: Rule, name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An array as ours, float32. One that cannot be turned keeps its shape, which is then said."""
    with contextlib.suppress(ValueError):
        array = rule.turn(np.asarray(array), shape)
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
        array = np.asarray(array, np.float32, order="C")
    if not np.isfinite(array).all():
        raise UserError(f"{name} in the file holds numbers that are not finite.")
    return array


def _head_fits(turned: Mapping[str, np.ndarray], leaves: Mapping[str, Any]) -> bool:
    """Whether the file has the whole head, shape by shape."""
    mine = {path: tuple(leaf.shape) for path, leaf in leaves.items() if path.startswith(HEAD)}
    return all(path in turned and turned[path].shape == shape for path, shape in mine.items())
