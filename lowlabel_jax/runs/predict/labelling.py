"""Images labelled some at a time, by whatever makes guesses: a run, or what was exported of one.

One image that cannot be read spoils no other: it has a row, and a reason, of its own.
"""

import concurrent.futures
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.runs.predict.predict_images import Item, Shown, read

AT_ONCE = 64  # images read and labelled together, at most

Row = dict[str, Any]  # {"path" or None, "topk": [{"label", "probability"}, …], "error" or None}
Guess = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]


class Part(NamedTuple):
    """What is found of some images, in order; numbers of one that cannot be read are NaN."""

    items: Sequence[Item]
    errors: list[str | None]
    probs: np.ndarray  # float32 [n, k]
    features: np.ndarray | None  # float32 [n, f], where they were asked for


def parts(
    items: Sequence[Item], shown: Shown, guess: Guess, size: int, widths: tuple[int, int | None]
) -> Iterator[Part]:
    """What `guess` finds of images, `size` at a time; the next are read while these are labelled.

    widths: (k, f), the lengths of probabilities and of features; f None where none are wanted.
    """
    starts = range(0, len(items), size or 1)
    blocks = [items[start : start + size] for start in starts]
    with concurrent.futures.ThreadPoolExecutor(1) as reader:
        coming = [reader.submit(read, block, shown) for block in blocks[:1]]
        for number, block in enumerate(blocks):
            images, errors = coming.pop().result()
            for following in blocks[number + 1 : number + 2]:
                coming.append(reader.submit(read, following, shown))
            yield _part(block, images, errors, guess, widths)


def batch_size(n: int, most: int = AT_ONCE) -> int:
    """Images a batch for n of them: a power of two, so that few programs are compiled."""
    return min(1 << max(n - 1, 0).bit_length(), AT_ONCE, most)


def _part(
    items: Sequence[Item],
    images: np.ndarray,
    errors: list[str | None],
    guess: Guess,
    widths: tuple[int, int | None],
) -> Part:
    """What is found of images [n, h, w, c]; those with an error are not shown."""
    good = [i for i, error in enumerate(errors) if error is None]
    none = [None if width is None else np.zeros((0, width)) for width in widths]
    probs, features = (
        None if found is None else _spread(found, good, len(items))
        for found in (guess(images[good]) if good else none)
    )
    assert probs is not None
    return Part(items, errors, probs, features)


def rows(part: Part, class_names: Sequence[str], topk: int) -> Iterator[Row]:
    """A row for each image of a part."""
    for item, error, probs in zip(part.items, part.errors, part.probs, strict=True):
        likeliest = [] if error else best(probs, class_names, topk)
        path = item if isinstance(item, str) else None
        yield {"path": path, "topk": likeliest, "error": error}


def check_topk(topk: int, option: str = "--topk ") -> None:
    """Raise UserError for a number of classes that shows none."""
    if not isinstance(topk, int) or topk < 1:
        raise UserError(f"{option}{topk} shows no class.", f"{option}3 shows three.")


def best(probs: np.ndarray, names: Sequence[str], topk: int) -> list[dict[str, Any]]:
    """The likeliest classes of probabilities [k], with theirs."""
    order = np.argsort(-probs, kind="stable")[:topk]
    return [{"label": names[k], "probability": round(float(probs[k]), 6)} for k in order]


def _spread(found: np.ndarray, places: Sequence[int], n: int) -> np.ndarray:
    """[m, f] at places of [n, f], the rest NaN."""
    whole = np.full((n, found.shape[1]), np.nan, np.float32)
    whole[places] = found
    return whole


def sound(part: Part) -> Part:
    """The part. Raises UserError for its first image that cannot be read."""
    for item, error in zip(part.items, part.errors, strict=True):
        if error is not None:
            raise UserError(
                f"{item if isinstance(item, str) else 'an array'} cannot be read: {error}.",
                "leave it out; run.predict says which can.",
            )
    return part
