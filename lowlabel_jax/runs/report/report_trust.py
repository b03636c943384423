"""For a run's report: how far to trust probabilities; of two classes, where to draw a line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.evaluation.guesses import wilson
from lowlabel_jax.evaluation.scores import POSITIVE, by_level
from lowlabel_jax.runs.pages import figures
from lowlabel_jax.runs.pages.blocks import Block, Picture, Table, Text
from lowlabel_jax.runs.report.report_read import (
    Found,
    bins_of,
    called,
    classified,
    guessed,
    percent,
    said,
    write_csv,
)

CALIBRATED = 0.05  # an ECE below it is called small


def calibration(found: Found, folder: Path) -> list[Block]:
    """Confidence against accuracy: a reliability diagram, and what a temperature would make."""
    numbers, bins = classified(found), bins_of(found)
    head = ("low", "high", "n", "confidence", "accuracy")
    write_csv(folder / "calibration.csv", head, ([b[key] for key in head] for b in bins))
    used = [b for b in bins if b["n"]]
    _diagram(used, folder / "calibration.png")
    shares = ((percent(b["accuracy"], 0), percent(b["confidence"], 0), b["n"]) for b in used)
    parts = (f"{right} right at confidence {sure} (n = {n})" for right, sure, n in shares)
    caption = (
        "A dot is the images of one range of confidence: on the diagonal, 80 % sure would mean "
        "80 % right; below it the network is too sure. Whiskers: Wilson's 95 % interval. Below: "
        "how many images. Numbers: calibration.csv."
    )
    picture = Picture(folder / "calibration.png", f"Reliability: {'; '.join(parts)}", caption)
    return [Text(_trust(used, numbers["ece"])), picture, *_temperature(numbers)]


def _trust(used: Sequence[Mapping[str, Any]], ece: float) -> str:
    """Calibration in words."""
    n = sum(b["n"] for b in used)
    sure, right = (sum(b["n"] * b[key] for b in used) / n for key in ("confidence", "accuracy"))
    text = (
        f"The network is {percent(sure, 0)} sure on average and right in {percent(right, 0)}; "
        f"confidence and accuracy differ by {percent(ece)} on average (calibration error, ECE). "
    )
    if ece < CALIBRATED:
        return text + "That is little: its probabilities can be read as such."
    way = "too sure of itself" if sure > right else "less sure than it could be"
    return text + f"It is {way}: do not read its probabilities as shares."


def _temperature(numbers: Mapping[str, Any]) -> list[Block]:
    scaling = numbers.get("temperature_scaling")
    if not scaling:
        return []
    rows = [
        ("as they are", "1", f"{numbers['nll']:.4f}", percent(numbers["ece"])),
        (
            f"by {scaling['fitted_n']:,} validation images",
            f"{scaling['temperature']:.3f}",
            f"{scaling['nll_scaled']:.4f}",
            percent(scaling["ece_scaled"]),
        ),
    ]
    return [Table(("probabilities", "temperature", "NLL", "calibration error"), rows, (1, 2, 3))]


def _diagram(used: Sequence[Mapping[str, Any]], path: Path) -> None:
    figure, (axes, below) = figures.panels([3.4, 1.1], sharex=True)
    sure, right = (np.array([b[key] for b in used]) for key in ("confidence", "accuracy"))
    reach = np.array([wilson(round(b["accuracy"] * b["n"]), b["n"]) for b in used])
    axes.plot([0, 1], [0, 1], color=figures.QUIET, linewidth=1, linestyle="--")
    axes.text(0.03, 0.06, "as sure as right", fontsize=9, color=figures.QUIET, rotation=24)
    axes.vlines(sure, np.minimum(sure, right), np.maximum(sure, right), figures.RED, linewidth=2,
                alpha=0.35, label="gap")  # fmt: skip
    spread = np.maximum(0, [right - reach[:, 0], reach[:, 1] - right])
    look = {"fmt": "o", "color": figures.BLUE, "linewidth": 1.2, "capsize": 3}
    axes.errorbar(sure, right, yerr=spread, label="share that is right", **look)
    axes.set_ylim(-0.02, 1.02)
    axes.legend(fontsize=9, frameon=False, loc="upper left")
    figures.label(axes, y="accuracy", title="Is it right as often as it is sure?")
    wide = [b["high"] - b["low"] for b in used]
    lows, counts = [b["low"] for b in used], [b["n"] for b in used]
    below.bar(lows, counts, [0.92 * w for w in wide], align="edge", color=figures.SKY)
    below.set_xlim(0, 1.01)
    figures.label(below, "confidence: the probability of the guess", "images")
    figures.save(figure, path, "calibration", "accuracy against confidence")


def lines(found: Found, folder: Path) -> list[Block]:
    """Of two classes: what each threshold finds and flags wrongly, and those for a precision."""
    numbers = classified(found)
    if len(found.names) != 2:
        raise UserError("there are more than two classes, so no threshold between them")
    guesses, positive = guessed(found), found.names[POSITIVE]
    hits, misses = np.cumsum(by_level(guesses.label == POSITIVE, guesses.p[:, POSITIVE]), axis=1)
    if not hits[-1] or not misses[-1]:
        raise UserError("the set has images of one class only")
    thresholds = np.unique(guesses.p[:, POSITIVE])[::-1]
    rates = np.stack([misses / misses[-1], hits / hits[-1]])
    rows = zip(thresholds.tolist(), *rates.tolist(), strict=True)
    write_csv(folder / "roc.csv", ("threshold", "false_positive_rate", "true_positive_rate"), rows)
    points = numbers.get("operating_points") or []
    _roc(rates, thresholds, points, positive, folder / "roc.png")
    auroc = numbers.get("auroc")
    words = (
        f"area under the curve {said(auroc)}, {positive} to be found among {numbers['n']:,} images"
    )
    caption = f"Area under the curve {said(auroc)}; the dashed line is guessing. Numbers: roc.csv."
    picture = Picture(folder / "roc.png", f"ROC curve: {words}", caption)
    return [picture, *_points(points, positive)]


def _points(points: Sequence[Mapping[str, Any]], positive: str) -> list[Block]:
    if not points:
        return []
    rows = []
    for one in points:
        test = one["test"]
        if not test:
            rows.append((percent(one["wanted"], 0), "none reaches it", "–", "–", "–", "–"))
            continue
        low, high = test["precision_ci95"] or (None, None)
        reach = f"{percent(low)} to {percent(high)}"
        shares = (
            percent(test["precision"]),
            reach,
            percent(test["recall"]),
            percent(test["flagged"]),
        )
        rows.append((percent(one["wanted"], 0), f"{one['threshold']:.4f}", *shares))
    head = ("wanted precision", "threshold", "precision here", "95 % interval", "recall", "flagged")
    text = (
        f"Thresholds for a wanted precision of {positive}, chosen on the validation set, which is "
        "no promise, and what they give here."
    )
    return [Text(text), Table(head, rows, range(6))]


def _roc(
    rates: np.ndarray,
    thresholds: np.ndarray,
    points: Sequence[Mapping[str, Any]],
    positive: str,
    path: Path,
) -> None:
    figure, (axes,) = figures.panels([4.2])
    axes.plot([0, 1], [0, 1], color=figures.QUIET, linewidth=1, linestyle="--")
    whole = np.column_stack([[0, 0], rates])
    axes.plot(*whole, color=figures.BLUE, linewidth=1.8, drawstyle="steps-post")
    for one in points:
        if one["test"]:
            at = int((thresholds >= one["threshold"]).sum())
            axes.plot(*whole[:, at], "o", color=figures.RED, markersize=7)
            text = f"precision {percent(one['wanted'], 0)} wanted"
            axes.annotate(
                text, (whole[0, at], whole[1, at]), (8, -4), textcoords="offset points", fontsize=9
            )
    axes.set_xlim(-0.01, 1)
    axes.set_ylim(0, 1.02)
    title = f"Finding {called(positive)} by thresholds on its probability"
    figures.label(axes, "share of the others flagged wrongly", "share found", title)
    figures.save(figure, path, "roc", "true against false positive rate")
