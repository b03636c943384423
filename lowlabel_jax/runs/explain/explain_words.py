"""What `lowlabel explain` found, as tables and in words."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lowlabel_jax.core import files, log
from lowlabel_jax.evaluation.confusions import Pair
from lowlabel_jax.runs.explain.explain_pictures import Heat
from lowlabel_jax.runs.explain.explain_read import Near, Own, Subjects

MEANS = "heat beside the object says that the class is known by something else."
LOOK = "next: look at the pictures:"
SHOWN = 20  # images that are said in words
PAIRS = 5  # pairs of classes, likewise


def table(names: Sequence[str], found: Subjects, guesses: bool) -> Iterator[list[Any]]:
    """explained.csv: a row an image, in the order of the pictures; then those with an error."""
    yield ["number", "image", "truth", "guess", "confidence", "second", "confidence_2", "error"]
    for i, name in enumerate(found.names):
        cells = ["", "", "", ""]
        if guesses:
            two = [(names[k], f"{found.probs[i, k]:.6f}") for k in found.order[i, :2]]
            cells = [cell for pair in two for cell in pair] + [""] * (4 - 2 * len(two))
        truth = names[found.truth[i]] if found.truth[i] >= 0 else ""
        yield [i + 1, files.without_formula(name), truth, *cells, ""]
    for path, why in found.errors.items():
        yield ["", files.without_formula(path), "", "", "", "", "", why]


def neighbours(names: Sequence[str], found: Subjects, near: Near) -> Iterator[list[Any]]:
    """neighbours.csv: a row for each neighbour of each image, the nearest first."""
    yield ["number", "image", "rank", "neighbour", "label", "cosine"]
    for i, name in enumerate(found.names):
        for j, other in enumerate(near.names[i]):
            label, cosine = names[near.labels[i, j]], f"{near.cosines[i, j]:.6f}"
            image, other = files.without_formula(name), files.without_formula(other)
            yield [i + 1, image, j + 1, other, label, cosine]


def pairs(own: Own, found: Sequence[Pair]) -> Iterator[list[Any]]:
    """confused.csv: a row for each pair of classes that are confused, in this direction."""
    yield ["true", "guessed", "count", "share", "of", "other_way"]
    counts = {(pair.true, pair.guessed): pair.count for pair in found}
    names = list(own.source.class_names)
    for pair in found:
        of = int((own.label == names.index(pair.true)).sum())
        back = counts.get((pair.guessed, pair.true), 0)
        yield [pair.true, pair.guessed, pair.count, f"{pair.share:.6f}", of, back]


def subjects(
    names: Sequence[str],
    title: str,
    found: Subjects,
    heats: Sequence[Heat],
    near: Near | None,
    guesses: bool,
) -> list[str]:
    """What is explained, and a line for each of the first images."""
    lines = [title]
    if heats:
        shape = "x".join(map(str, found.images.shape[1:3]))
        lines.append(f"heat: Grad-CAM at {heats[0].layer}, laid over images of {shape}")
    for i, name in enumerate(found.names[:SHOWN]):
        parts = [_guess(names, found, i)] if guesses else []
        if near:
            alike = zip(near.labels[i], near.cosines[i], strict=True)
            said = ", ".join(f"{names[k]} {cosine:.2f}" for k, cosine in alike)
            parts.append(f"nearest labelled: {said}")
        lines.append(f"#{i + 1} {name}: {'; '.join(parts)}")
    if len(found.names) > SHOWN:
        lines.append(f"    and {len(found.names) - SHOWN} more, in explained.csv")
    if near and guesses:
        same = (near.labels == found.order[:, :1]).sum()
        lines.append(f"{same} of {near.labels.size} of these neighbours have the guessed label")
    return lines


def _guess(names: Sequence[str], found: Subjects, i: int) -> str:
    likeliest = [f"{names[k]} {found.probs[i, k]:.2f}" for k in found.order[i, :2]]
    truth = found.truth[i]
    if truth < 0:
        return ", ".join(likeliest)
    right = "rightly" if truth == found.order[i, 0] else f"but is {names[truth]}"
    return f"{likeliest[0]}, {right}"


def confused(own: Own, found: Sequence[Pair]) -> list[str]:
    """The most confused pairs, both directions apart."""
    if not found:
        return [f"no {own.name} image is taken for another class"]
    lines = [f"most confused, of {sum(pair.count for pair in found)} mistakes:"]
    for pair in found[:PAIRS]:
        share = f"{pair.share:.1%} of all {pair.true}"
        lines.append(f"   {pair.true} called {pair.guessed}: {pair.count} ({share})")
    return lines


def where(folder: Path) -> str:
    """What lies in the folder."""
    made = sorted(p.name for p in folder.iterdir() if p.suffix in (".png", ".csv"))
    return f"written: {folder}/  ({'  '.join(made)})"


def advice(directory: Path, guesses: bool, has_data: bool) -> str:
    """What to look at and what to do then."""
    if not guesses:
        return f"{LOOK} do the nearest images show the same things?"
    if not has_data:
        return f"{LOOK} {MEANS}"
    again = log.typed(f"lowlabel label-next {directory} --unlabelled")
    return f"{LOOK} {MEANS}\n      confused classes want more labels: {again}"
