"""The detector of a run that knows normal classes alone: fitted on its training images, with
thresholds from those held out, and kept as anomaly.npz, so that `predict` needs no data."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data.opened import images_of
from lowlabel_jax.data.source import Images, Source
from lowlabel_jax.data.splits import Split
from lowlabel_jax.evaluation import anomaly
from lowlabel_jax.evaluation.restoration import Restore, Rows

NAME = "anomaly.npz"
MOST = 10_000  # training images that a detector is fitted on: a fixed draw of more


class Judge(NamedTuple):
    """A detector and its thresholds."""

    detector: anomaly.Detector
    limits: dict[str, float]  # score -> above it lie anomalies
    values: int  # numbers that an image has
    score: str  # which score decides
    quantile: float
    normal_classes: tuple[str, ...]

    def scores(self, rows: Rows) -> dict[str, np.ndarray]:
        """score -> float64 [n] of restored images."""
        return anomaly.scores(self.detector, rows, self.values)

    def numbers(
        self,
        found: Mapping[str, np.ndarray],
        label: np.ndarray,
        known: np.ndarray,
        class_names: Sequence[str],
    ) -> dict[str, Any]:
        """What eval/NAME.json has of anomalies: scores -> [n], labels [n], known bool [n]."""
        judged = anomaly.judged(found, self.limits, known)
        above, chosen = found[self.score] > self.limits[self.score], judged[self.score]
        about = {
            "score": self.score,
            "quantile": self.quantile,
            "normal_classes": list(self.normal_classes),
            "normals": int((~known).sum()),
            "anomalies": int(known.sum()),
            "scores": judged,
            "per_class": anomaly.by_class(above, label, class_names),
        }
        headline = "psnr" if chosen["auroc"] is None else "auroc"
        return {"headline": headline, "anomaly": about, **chosen}


def of_run(
    config: Mapping[str, Any],
    restore: Restore,
    data: Source,
    split: Split,
    variables: Any,
    directory: Path,
    step: int,
) -> Judge:
    """The run's own detector at a step: as it was kept, else fitted now, and kept."""
    with contextlib.suppress(UserError):
        return read(config, directory, step)
    judge = fitted(config, restore, data, split, variables)
    limits = {f"threshold_{name}": np.float64(limit) for name, limit in judge.limits.items()}
    files.write_npz(directory / NAME, step=np.int64(step), **judge.detector._asdict(), **limits)
    return judge


def fitted(
    config: Mapping[str, Any], restore: Restore, data: Source, split: Split, variables: Any
) -> Judge:
    """A detector from the run's training images and, for its thresholds, its validation images."""
    trained = np.union1d(split.labelled, split.unlabelled)
    drawn = np.random.default_rng(config["seeds"]["split"]).permutation(trained)[:MOST]
    detector = anomaly.fit(restore(variables, Images(data, "train", np.sort(drawn))))
    judge = Judge(detector, {}, *_settings(config))
    held_out = judge.scores(restore(variables, images_of(data, split, "validation")[0]))
    limits = {name: anomaly.threshold(s, judge.quantile) for name, s in held_out.items()}
    return judge._replace(limits=limits)


def read(config: Mapping[str, Any], directory: Path, step: int) -> Judge:
    """The detector that a run has kept at a step. Raises UserError where it has none."""
    place = directory / NAME
    if place.exists():
        with np.load(place, allow_pickle=False) as kept:
            if kept["step"] == step:
                return _judge(config, kept)
    raise UserError(
        f"{directory} has no detector of step {step} ({NAME}) yet.",
        f"finish the run, or: lowlabel evaluate {directory} --split validation",
    )


def _judge(config: Mapping[str, Any], kept: Any) -> Judge:
    detector = anomaly.Detector(*(kept[name] for name in anomaly.Detector._fields))
    names = [name.removeprefix("threshold_") for name in kept if name.startswith("threshold_")]
    limits = {name: float(kept[f"threshold_{name}"]) for name in names}
    return Judge(detector, limits, *_settings(config))


def _settings(config: Mapping[str, Any]) -> tuple[int, str, float, tuple[str, ...]]:
    about = config["anomaly"]
    values = int(np.prod(config["info"]["image_shape"]))
    normals = tuple(config["split"]["normal_classes"])
    return values, about["score"], about["quantile"], normals
