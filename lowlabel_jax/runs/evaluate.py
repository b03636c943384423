"""A finished run scored again from what lies on its disk: another process, no live objects."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lowlabel_jax.core import files, parallel
from lowlabel_jax.core.errors import UserError, nearest
from lowlabel_jax.data import splits
from lowlabel_jax.data.opened import open_data
from lowlabel_jax.data.sets import rows
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs import results
from lowlabel_jax.runs.restored import restored
from lowlabel_jax.state import TrainState
from lowlabel_jax.training import build, checkpoint, networks

SETS = ("test", "validation", "labelled")


def evaluate(directory: Path, name: str) -> dict[str, Any]:
    """The scores of a run's newest checkpoint on one of its sets, also written to eval/NAME.json.

    Raises UserError where there is no run or no checkpoint, or where the data is not what it was.
    """
    config, state = load(directory)
    data = open_data(config)
    if data.fingerprint != config["data_fingerprint"]:
        raise UserError(
            f"the data has changed since {directory} was trained.",
            "put it back as it was: a score on other data would not be this run's.",
        )
    split = splits.read(kept_split(directory), data)
    if name not in SETS:
        raise UserError(
            f"no set called {name!r}.{nearest(name, SETS)} There are: {', '.join(SETS)}."
        )
    if not len(rows(data, split, name)[1]):
        raise UserError(f"the {name} set of {directory} is empty.", "choose another --split.")
    return results.score(config, state, data, split, name, directory)


def kept_split(directory: Path) -> Path:
    """Where a run keeps its split. It counts once config.json is there, which is written later."""
    return directory / "splits" / "split.json"


def load(directory: Path) -> tuple[dict[str, Any], TrainState]:
    """(config, state) of a run's newest whole checkpoint."""
    if not rundir.holds_run(directory):
        raise UserError(f"{directory} holds no run.", "lowlabel runs DIR lists the runs there are.")
    config = files.read_json(directory / "config.json")
    if missing := [name for name in ("image", "pretrained") if name not in config]:
        raise UserError(
            f"{directory} was begun by an older version: its config.json has no section "
            f"{missing[0]!r}.",
            "use the version that its environment.json names, or train it again.",
        )
    config["devices"] = 0 if config["devices"] > parallel.device_count() else config["devices"]
    progress = checkpoint.newest(directory)
    if progress is None:
        raise UserError(
            f"{directory} has no checkpoint yet.", "train it first: see its command.sh."
        )
    phase = build.phase(config, progress.phase)
    like = build.like_phase(build.new_state(config, phase), phase)
    state = checkpoint.read(directory, progress.step, like)
    return config, state.replace(apply_fn=networks.whole(config, phase.model))  # from the images on


def page(numbers: Mapping[str, Any]) -> str:
    """The scores for people: the headline, calibration, class by class, where to draw a line."""
    if numbers.get("task") == "restoration":
        return restored.page(numbers)
    parts = (_headline(numbers), _classes(numbers["per_class"]), _points(numbers))
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _headline(numbers: Mapping[str, Any]) -> list[str]:
    low, high = numbers["ci95"]
    each = f"each class against the rest, mean over {numbers['ranked_classes']}"
    over = f"of {numbers['positive']}" if "positive" in numbers else each
    rows = [
        ("accuracy", "accuracy", f"EMA; 95 % {low:.3f} to {high:.3f}"),
        ("accuracy, raw", "accuracy_raw", "the last weights"),
        ("balanced accuracy", "balanced_accuracy", "mean recall of the classes"),
        ("macro-F1", "macro_f1", "mean F1 of the classes"),
        ("average precision", "average_precision", over),
        ("AUROC", "auroc", over),
        ("NLL", "nll", ""),
        ("calibration error", "ece", "ECE, 15 bins"),
    ]
    lines = [f"{numbers['split']} set, {numbers['n']} images, step {numbers['step']}"]
    lines += [
        f"{name:<18} {_shown(numbers[key], 4)}{f'  ({note})' if note else ''}"
        for name, key, note in rows
    ]
    return [*lines, *_scaling(numbers.get("temperature_scaling"))]


def _scaling(found: Mapping[str, Any] | None) -> list[str]:
    if not found:
        return []
    bound = ", at its bound" if found["at_bound"] else ""
    return [
        f"with temperature   NLL {found['nll_scaled']:.4f}, calibration error "
        f"{found['ece_scaled']:.4f}  (T = {found['temperature']:.3f}{bound}, fitted on "
        f"{found['fitted_n']} validation images)"
    ]


def _classes(classes: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [f"{'class':<20} {'n':>6} {'recall':>8} {'precision':>10} {'F1':>8}"]
    for one in classes:
        recall, precision, f1 = (_shown(one[key]) for key in ("recall", "precision", "f1"))
        lines.append(f"{one['name']:<20} {one['n']:>6} {recall:>8} {precision:>10} {f1:>8}")
    return lines


def _points(numbers: Mapping[str, Any]) -> list[str]:
    """A row for each wanted precision: the threshold, what it gives on validation and on test."""
    if not numbers.get("operating_points"):
        return []
    lines = [
        f"thresholds for a wanted precision of {numbers['positive']}, chosen on the validation set "
        "(no promise), and what they give here",
        f"{'wanted':>6} {'threshold':>10} {'on validation (95 %)':>22}"
        f" {'precision':>10} {'recall':>8} {'flagged':>8}",
    ]
    for one in numbers["operating_points"]:
        if not one["test"]:
            lines.append(f"{one['wanted']:>6.2f} {'-':>10}  no threshold reaches it on validation")
            continue
        low, high = one["validation"]["precision_ci95"]
        there = f"{one['validation']['precision']:.3f} ({low:.3f} to {high:.3f})"
        precision, recall, share = (
            _shown(one["test"][key]) for key in ("precision", "recall", "flagged")
        )
        lines.append(
            f"{one['wanted']:>6.2f} {one['threshold']:>10.4f} {there:>22}"
            f" {precision:>10} {recall:>8} {share:>8}"
        )
    return lines


def _shown(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
