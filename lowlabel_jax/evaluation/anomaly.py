"""How odd an image is to a network that has seen normal ones alone, and from where on it is called
an anomaly. numpy; scikit-learn where a covariance is fitted.

Letters: `n` images, `f` numbers of a code. Higher scores are odder.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.evaluation.guesses import wilson
from lowlabel_jax.evaluation.scores import auroc, average_precision

BLOCK = 500  # images whose distances to all normals are looked at together
LEAST = 1e-12  # of what is divided by, or has its logarithm taken
FAINTEST = 1e-4  # mean square that an image is taken to have at least: a black one has none

Rows = Mapping[str, np.ndarray]  # of evaluation.restoration


class Detector(NamedTuple):
    """What is known of the normal images trained on: n codes, and where they lie."""

    mean: np.ndarray  # float64 [f], of the codes
    whiten: np.ndarray  # float64 [f, f]: (code - mean) @ whiten has the identity as covariance
    codes: np.ndarray  # float32 [n, f], the white codes of normals
    centre: np.ndarray  # float64 [3], mean logarithms of what the combined score is made of
    spread: np.ndarray  # float64 [3], their standard deviations


def fit(rows: Rows) -> Detector:
    """A detector from the rows of training normals.

    The covariance is shrunk towards a multiple of the identity (Ledoit and Wolf 2004), so that it
    has an inverse where codes are few or flat.
    """
    codes = rows["code"].astype(np.float64)
    mean, whiten = codes.mean(0), _whitening(codes)
    white = (codes - mean) @ whiten
    three = _three(rows, np.linalg.norm(white, axis=1))
    spread = np.maximum(three.std(0), LEAST)
    return Detector(mean, whiten, white.astype(np.float32), three.mean(0), spread)


def scores(detector: Detector, rows: Rows, values: int) -> dict[str, np.ndarray]:
    """score -> float64 [n]; values: how many numbers an image has.

    error        squared error of the restored image, the mean over its values
    relative     that over the mean square of the image's values: thick strokes are no anomaly
    structural   1 - SSIM of the restored image (arXiv:1807.02011)
    mahalanobis  distance of the code from the normals' mean, by their covariance
    combined     the mean of the last three's logarithms, each in the normals' standard deviations
    neighbour    distance of the white code to the nearest normal's
    elbo         of a VAE: minus the evidence lower bound at the mean code, in nats
    """
    white = (rows["code"].astype(np.float64) - detector.mean) @ detector.whiten
    distance = np.linalg.norm(white, axis=1)
    three = (_three(rows, distance) - detector.centre) / detector.spread
    found = {
        "error": rows["mse"].astype(np.float64),
        "relative": relative(rows),
        "structural": structural(rows),
        "mahalanobis": distance,
        "combined": three.mean(1),
        "neighbour": nearest(white, detector.codes),
    }
    if "kl" in rows:
        found["elbo"] = rows["bce"].astype(np.float64) * values + rows["kl"]
    return found


def relative(rows: Rows) -> np.ndarray:
    """float64 [n]: the squared errors over the mean squares of the images' values."""
    return rows["mse"].astype(np.float64) / np.maximum(rows["square"], FAINTEST)


def structural(rows: Rows) -> np.ndarray:
    """float64 [n] in [0, 2]: how far the structural similarity is from that of equal images."""
    return 1 - rows["ssim"].astype(np.float64)


def nearest(codes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """codes [n, f], others [m, f] -> the distance of each to the nearest of the others, [n]."""
    codes, others = codes.astype(np.float64), others.astype(np.float64)
    square, found = (others**2).sum(1), [np.zeros(0)]
    for start in range(0, len(codes), BLOCK):
        part = codes[start : start + BLOCK]
        apart = (part**2).sum(1)[:, None] + square[None] - 2 * part @ others.T
        found.append(np.sqrt(np.maximum(apart.min(1), 0)))
    return np.concatenate(found)


def threshold(held_out: np.ndarray, quantile: float) -> float:
    """The score [n] of a held-out normal that at least this share of them does not exceed.

    Above it an image is an anomaly; of normals like these, about 1 - quantile are false alarms.
    """
    return float(np.quantile(held_out, quantile, method="higher"))


def judged(
    found: Mapping[str, np.ndarray], limits: Mapping[str, float], anomaly: np.ndarray
) -> dict[str, Any]:
    """score -> how well it finds the anomalies, bool [n]; ready for JSON.

    auroc and average_precision are None where there are no two kinds to tell apart. false_alarms
    and detected are the shares of normals and of anomalies above the threshold, None of none.
    """
    return {name: _judged(found[name], limit, anomaly) for name, limit in limits.items()}


def _judged(score: np.ndarray, limit: float, anomaly: np.ndarray) -> dict[str, Any]:
    above, both = score > limit, anomaly.any() and not anomaly.all()
    return {
        "auroc": auroc(anomaly, score),
        "average_precision": average_precision(anomaly, score) if both else None,
        "threshold": limit,
        **_share("false_alarms", above[~anomaly]),
        **_share("detected", above[anomaly]),
    }


def _share(name: str, above: np.ndarray) -> dict[str, Any]:
    if not len(above):
        return {name: None, f"{name}_ci95": None}
    return {name: float(above.mean()), f"{name}_ci95": wilson(int(above.sum()), len(above))}


def by_class(
    above: np.ndarray, label: np.ndarray, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Of each class how many of its images are above the threshold: above bool [n], label [n]."""
    counts = np.bincount(label, minlength=len(class_names)).tolist()
    flagged = np.bincount(label, above, len(class_names)).astype(int).tolist()
    return [
        {"name": name, "n": n, "flagged": m, "share": m / n if n else None}
        for name, n, m in zip(class_names, counts, flagged, strict=True)
    ]


def _three(rows: Rows, distance: np.ndarray) -> np.ndarray:
    """Logarithms [n, 3] of relative error, structural error and Mahalanobis distance [n]."""
    found = np.stack([relative(rows), structural(rows), distance], 1)
    return np.log(np.maximum(found, LEAST))


def _whitening(x: np.ndarray) -> np.ndarray:
    """[n, f] -> [f, f]: what makes the covariance, shrunk, the identity."""
    from sklearn.covariance import ledoit_wolf

    covariance, _ = ledoit_wolf(x)
    values, vectors = np.linalg.eigh(covariance)
    floor = max(float(values[-1]), LEAST) * 1e-10  # of a code that never changes
    return vectors / np.sqrt(np.maximum(values, floor))
