"""The last word on what a search has chosen: what is quick at first may be slow in the end.

Short trials favour high rates and weak augmentation. So what has won them meets the config as it
was once more, on longer ones.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from lowlabel_jax.tuning.ground import Ground
from lowlabel_jax.tuning.search import Row, Trial, Values, choose, search

LONGER = 4  # times a trial's steps, if the phase itself is not shorter


class Verdict(NamedTuple):
    """What is taken after all."""

    row: Row
    error: float  # standard error of its difference from the config as it was
    words: str  # to be added to the reason
    rows: list[Row]  # the longer trials, the first of which is the config as it was


def final(
    ground: Ground,
    name: str,
    default: Row,
    row: Row,
    error: float,
    run_of: Callable[[int], Trial],
    more: Sequence[Values] = (),
) -> Verdict:
    """Hold the row against the default on longer trials, beside the values of `more`.

    None are due where the default is chosen anyhow or the phase is no longer than a trial. Where
    the time for learning is over, what could not be confirmed is not taken.
    run_of: steps -> what makes a trial of them.
    """
    steps = min(LONGER * ground.budget.trial, ground.budget.supervised)
    if row is default or steps <= ground.budget.trial:
        return Verdict(row, error, "", [])
    if ground.late:
        words = f"; the best short trial had {row.mean:.3f}: no time was left for longer ones"
        return Verdict(default, error, words, [])
    tried = [default.values, row.values, *more]
    words = f"{name} on {steps} steps"
    rows = search(ground, f"{name}_final", tried, {}, len(tried), run_of(steps), words, len(tried))
    best, error = choose(rows)
    words = f"; on longer trials {best.mean:.3f} against {rows[0].mean:.3f}"
    return Verdict(best, error, words, rows)
