"""The last word on what a search has chosen: what is quick at first may be slow in the end.

Short trials favour high rates and weak augmentation. So what has won them meets the config as it
was once more, on longer ones.
"""

from collections.abc import Callable, Sequence

from lowlabel_jax.tuning.ground import Ground
from lowlabel_jax.tuning.search import Row, Trial, Values, choose, search

LONGER = 4  # times a trial's steps, if the phase itself is not shorter


def final(
    ground: Ground,
    name: str,
    default: Row,
    row: Row,
    run_of: Callable[[int], Trial],
    more: Sequence[Values] = (),
) -> list[Row]:
    """Longer trials of the default's values, of the row's, and of `more`; [] where none are due:
    the default is chosen anyhow, the phase is no longer than a trial, or the time is over.

    run_of: steps -> what makes a trial of them.
    """
    steps = min(LONGER * ground.budget.trial, ground.budget.supervised)
    if row is default or steps <= ground.budget.trial or ground.late:
        return []
    tried = [default.values, row.values, *more]
    words = f"{name} on {steps} steps"
    return search(ground, f"{name}_final", tried, {}, len(tried), run_of(steps), words, len(tried))


def verdict(rows: Sequence[Row]) -> tuple[Row, float, str]:
    """(the final's row to take, its standard error, in words); row 0 is the config as it was."""
    best, error = choose(rows)
    words = f"on longer trials {best.mean:.3f} against {rows[0].mean:.3f}"
    return best, error, words
