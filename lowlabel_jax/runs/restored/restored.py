"""What came out of a run that restores images: numbers and rows on disk, as results.py has them of
classifiers. Of one that knows normal classes alone also what it takes for an anomaly."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lowlabel_jax.core import files, parallel
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data import normal
from lowlabel_jax.data.opened import images_of
from lowlabel_jax.data.source import Source
from lowlabel_jax.data.splits import Split
from lowlabel_jax.evaluation import anomaly, restoration
from lowlabel_jax.objectives.base import Objective, as_it_is
from lowlabel_jax.runs.restored import detectors
from lowlabel_jax.state import TrainState
from lowlabel_jax.training import build

ROWS = ("psnr", "psnr_shown", "ssim", "mse", "bce", "square", "kl", "code")  # kept of each image


def check(config: Mapping[str, Any]) -> None:
    """Raise UserError where the settings of a run that restores images contradict each other."""
    normals, wanted = config["split"]["normal_classes"], config["anomaly"]["score"]
    if build.last_objective(config).task != "restoration":
        if normals:
            raise UserError(
                f"split.normal_classes = {tuple(normals)!r} is for runs that end restoring images.",
                "set --config.objective.name=reconstruction (or denoising, vae), or leave it out.",
            )
        return
    if config["median_of"] > 1:
        raise UserError(
            f"median_of = {config['median_of']} is of accuracies, and this run restores images.",
            "leave it at 1.",
        )
    if normals and wanted == "elbo" and not variational(config):
        name = config["phases"][-1]["objective"]["name"]
        raise UserError(
            f"anomaly.score = 'elbo' is of objective 'vae', and the run's is {name!r}.",
            "use objective.name=vae, or another score: combined, relative, error, …",
        )


def variational(config: Mapping[str, Any]) -> bool:
    """Whether the run ends training a distribution of codes: only then is its divergence one."""
    return "log_variance" in build.last_objective(config).needs


def restorer(
    config: Mapping[str, Any],
    apply_fn: Callable,
    objective: Objective | None = None,
    pictures: bool = False,
) -> restoration.Restore:
    """The network as a function of images, on the run's devices.

    objective: images are corrupted as it does; not without one, nor where they may be anomalies.
    """
    noise = objective and not config["split"]["normal_classes"]
    corrupt = objective.corrupt if objective and noise else as_it_is
    seed, size = config["seeds"]["augment"], config["batch"]["evaluation"]
    devices = parallel.device_count(config["devices"])
    how = {"pictures": pictures, "variational": variational(config)}
    return restoration.restorer(apply_fn, corrupt, seed, size, devices, **how)


def score(
    config: Mapping[str, Any],
    state: TrainState,
    data: Source,
    split: Split,
    name: str,
    directory: Path,
) -> dict[str, Any]:
    """Evaluate on one set: eval/NAME.json and predictions/NAME.npz.

    "headline" names the main number, fixed in advance: the AUROC where normals and anomalies are
    to be told apart, else the PSNR; of the averaged weights, with the last weights' beside it.
    """
    images, label = images_of(data, split, name)
    restore = restorer(config, state.apply_fn, build.last_objective(config))
    raw = {"params": state.params, "batch_stats": state.batch_stats}
    rows, raw_rows = restore(state.ema, images), restore(raw, images)
    numbers = {
        "split": name,
        "step": int(state.step),
        "weights": "ema",
        "task": "restoration",
        "headline": "psnr",
        "n": len(label),
        **restoration.numbers(rows),
        "psnr_raw": restoration.numbers(raw_rows)["psnr"],
    }
    kept = {key: rows[key] for key in ROWS if key in rows}
    if normals := config["split"]["normal_classes"]:
        known = ~normal.is_normal(data, normals, label)
        shared = (config, restore, data, split)
        judge = detectors.of_run(*shared, state.ema, directory, int(state.step))
        found = judge.scores(rows)
        numbers |= judge.numbers(found, label, known, data.class_names)
        if numbers["headline"] == "auroc":
            other = detectors.fitted(*shared, raw).scores(raw_rows)
            numbers["auroc_raw"] = anomaly.auroc(known, other[judge.score])
        kept |= {f"score_{key}": values for key, values in found.items()}
        kept["anomaly"] = found[judge.score] > judge.limits[judge.score]
    files.write_json(directory / "eval" / f"{name}.json", numbers)
    place = directory / "predictions" / f"{name}.npz"
    files.write_npz(place, label=label, step=np.int64(state.step), **kept)
    return numbers


def look(
    config: Mapping[str, Any], spec: Mapping[str, Any], rows: restoration.Rows
) -> dict[str, float]:
    """What a look at the validation set adds to metrics.jsonl; its loss steers patience."""
    values = int(np.prod(config["info"]["image_shape"]))
    found = restoration.numbers(rows)
    return {
        "validation/loss": restoration.loss(rows, spec["objective"], values),
        "validation/psnr": found["psnr"],
    }


def words(numbers: Mapping[str, Any]) -> list[str]:
    """What came out of one set, for people: a line, or of anomalies three."""
    name, shown = numbers["split"], numbers.get("psnr_shown")
    gained = f", {numbers['psnr_gain']:+.2f} dB on the noisy ones" if shown is not None else ""
    lines = [
        f"{name} PSNR {numbers['psnr']:.2f} dB{gained} (EMA weights; mean over {numbers['n']} "
        f"images; SSIM {numbers['ssim']:.3f}), raw weights {numbers['psnr_raw']:.2f} dB"
    ]
    return lines + (_anomalies(numbers) if "anomaly" in numbers else [])


def _anomalies(numbers: Mapping[str, Any]) -> list[str]:
    found, name = numbers["anomaly"], numbers["split"]
    chosen = found["scores"][found["score"]]
    shares = [
        f"{said} {chosen[key]:.1%} of {found[of]}"
        for key, said, of in (
            ("detected", "found", "anomalies"),
            ("false_alarms", "false alarms", "normals"),
        )
        if chosen[key] is not None
    ]
    above = f"{name}: above {chosen['threshold']:.4g}, {', '.join(shares)}"
    if numbers["headline"] != "auroc":
        return [f"{above}; no AUROC, for that takes normals and anomalies"]
    others = "  ".join(f"{key} {one['auroc']:.4f}" for key, one in found["scores"].items())
    headline = f"{name} AUROC {numbers['auroc']:.4f} by {found['score']} (EMA weights)"
    return [f"{headline}, raw weights {numbers['auroc_raw']:.4f}", f"  {others}", above]


def page(numbers: Mapping[str, Any]) -> str:
    """The scores for people, as `lowlabel evaluate` shows them."""
    lines = [f"{numbers['split']} set, {numbers['n']} images, step {numbers['step']}"]
    lines += words(numbers)
    if "anomaly" in numbers:
        lines += ["", *_table(numbers["anomaly"]["scores"]), ""]
        lines += _classes(numbers["anomaly"]["per_class"], numbers["anomaly"]["normal_classes"])
    return "\n".join(lines)


def _table(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    columns = ("auroc", "average_precision", "threshold", "detected", "false_alarms")
    lines = [f"{'score':<12}" + "".join(f"{name:>19}" for name in columns)]
    for name, one in scores.items():
        cells = ("-" if one[key] is None else f"{one[key]:.4f}" for key in columns)
        lines.append(f"{name:<12}" + "".join(f"{cell:>19}" for cell in cells))
    return lines


def _classes(classes: Sequence[Mapping[str, Any]], normals: Sequence[str]) -> list[str]:
    lines = [f"{'class':<20} {'':<8} {'n':>6} {'called anomalies':>17}"]
    for one in (one for one in classes if one["n"]):
        kind = "normal" if one["name"] in normals else ""
        lines.append(f"{one['name']:<20} {kind:<8} {one['n']:>6} {one['share']:>17.1%}")
    return lines
