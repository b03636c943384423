"""A finished run scored again from what lies on its disk: another process, no live objects."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowlabel_jax.core import files, parallel
from lowlabel_jax.core.errors import UserError, nearest
from lowlabel_jax.data import source, splits
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs import results
from lowlabel_jax.state import TrainState
from lowlabel_jax.training import build, checkpoint

SETS = ("test", "validation", "labelled")


def evaluate(directory: Path, name: str) -> dict[str, Any]:
    """The scores of a run's newest checkpoint on one of its sets, also written to eval/NAME.json.

    Raises UserError where there is no run or no checkpoint, or where the data is not what it was.
    """
    config, state = load(directory)
    data = source.open_source(config["source"])
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
    images, label = splits.examples(data, split, name)
    if not len(label):
        raise UserError(f"the {name} set of {directory} is empty.", "choose another --split.")
    return results.score(config, state, images, label, name, directory)


def kept_split(directory: Path) -> Path:
    """Where a run keeps its split. It counts once config.json is there, which is written later."""
    return directory / "splits" / "split.json"


def load(directory: Path) -> tuple[dict[str, Any], TrainState]:
    """(config, state) of a run's newest whole checkpoint."""
    if not rundir.holds_run(directory):
        raise UserError(f"{directory} holds no run.", "lowlabel runs DIR lists the runs there are.")
    config = files.read_json(directory / "config.json")
    config["devices"] = 0 if config["devices"] > parallel.device_count() else config["devices"]
    progress = checkpoint.newest(directory)
    if progress is None:
        raise UserError(
            f"{directory} has no checkpoint yet.", "train it first: see its command.sh."
        )
    phase = build.phase(config, progress.phase)
    like = build.like_phase(build.new_state(config, phase), phase)
    return config, checkpoint.read(directory, progress.step, like)


def page(numbers: Mapping[str, Any]) -> str:
    """The scores for people: the headline, calibration, then class by class."""
    low, high = numbers["ci95"]
    lines = [
        f"{numbers['split']} set, {numbers['n']} images, step {numbers['step']}",
        f"accuracy           {numbers['accuracy']:.4f}  (EMA; 95 % {low:.3f} to {high:.3f})",
        f"accuracy, raw      {numbers['accuracy_raw']:.4f}  (the last weights)",
        f"balanced accuracy  {numbers['balanced_accuracy']:.4f}",
        f"NLL                {numbers['nll']:.4f}",
        f"calibration error  {numbers['ece']:.4f}  (ECE, 15 bins)",
        "",
        f"{'class':<20} {'n':>6} {'recall':>8} {'precision':>10}",
    ]
    for one in numbers["per_class"]:
        shown = [f"{v:.3f}" if v is not None else "-" for v in (one["recall"], one["precision"])]
        lines.append(f"{one['name']:<20} {one['n']:>6} {shown[0]:>8} {shown[1]:>10}")
    return "\n".join(lines)
