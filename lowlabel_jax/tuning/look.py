"""A look at the data: what the task is, what fits it, what to be told before anything is learnt."""

from typing import Any

import numpy as np

from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data import splits
from lowlabel_jax.data.source import Info
from lowlabel_jax.tuning.findings import Finding, finding
from lowlabel_jax.tuning.ground import Ground

UNEVEN = 3.0  # largest class to smallest from which accuracy alone misleads
SURE, DOUBTED = (
    0.9,
    0.05,
)  # a guess that is this sure of another class, and of the label this little
NETWORKS = (  # (largest side of an image, small_cnn's options)
    (12, {"channels": (32, 32, 64, 64), "pool": (False, True, False, True), "head": "flatten"}),
    (40, {"channels": (32, 64, 128), "pool": (True,), "head": "average"}),
    (10**6, {"channels": (16, 32, 64, 128), "pool": (True,), "head": "average"}),
)
NORM = {"momentum": 0.95, "epsilon": 1e-3}  # the papers' 0.999 remembers more than a short run has


def learn(ground: Ground, config: Config, validation: str) -> dict[str, Any]:
    """The facts, what they ask for, and the notes that a person should read."""
    info = splits.info_of(ground.source, ground.split)
    return {
        **facts(info, validation),
        "notes": notes(info, bool(ground.folds)),
        "label_noise": [],
        "findings": architecture(config, info) if "model" in config.tune.learn else [],
    }


def facts(info: Info, validation: str) -> dict[str, Any]:
    """Task, shapes, counts. Raises UserError where there is nothing to tell apart."""
    if info.num_classes < 2:
        raise UserError(
            f"there is one class alone ({info.class_names[0]!r}): nothing to tell apart.",
            "give the images of another class a folder, or a label, of their own.",
        )
    counts = info.label_counts
    return {
        "task": "binary" if info.num_classes == 2 else "many-class",
        "image_shape": list(info.image_shape),
        "input_range": [0, 255],
        "num_classes": info.num_classes,
        "class_names": list(info.class_names),
        "sizes": dict(info.sizes),
        "label_counts": list(counts),
        "imbalance": max(counts) / max(min(counts), 1),
        "validation": validation,
    }


def notes(info: Info, folds: bool) -> list[str]:
    """What does not fit, or fits badly, in a sentence each."""
    found, counts = [], info.label_counts
    if not folds:
        found.append(
            f"class {info.class_names[int(np.argmin(counts))]!r} has fewer than 2 labels: nothing "
            "can validate, so nothing is learnt and the settings stay as they are."
        )
    if max(counts) > UNEVEN * max(min(counts), 1):
        found.append(
            f"the classes are uneven ({max(counts)} labels to {min(counts)}): read the balanced "
            "accuracy, and see objective.logit_adjustment of the supervised objective."
        )
    if not info.sizes["unlabelled"]:
        found.append("there are no unlabelled images: the semi-supervised phase is left out.")
    if not info.sizes["test"]:
        found.append("there is no test set: nothing says how good the result is on new images.")
    if info.image_shape[-1] == 1:
        found.append("the images are grey: hues are not changed, and nothing is mirrored unasked.")
    return found


def architecture(config: Config, info: Info) -> list[Finding]:
    """A network that fits the images, where no weights of others decide it."""
    if config.pretrained.weights:
        return []
    side = max(info.image_shape[:2])
    options = next(options for most, options in NETWORKS if side <= most)
    why = f"images of {'x'.join(map(str, info.image_shape))}"
    found = {"name": "small_cnn", **options, **NORM}
    return [
        finding(config, f"model.{key}", list(v) if isinstance(v, tuple) else v, why)
        for key, v in found.items()
    ]


def doubts(ground: Ground, folds: list[np.ndarray]) -> list[dict[str, Any]]:
    """Labels that a network trained on the other folds is sure are wrong: probabilities [n, k] for
    each fold's validation images. Hints for a person, never acted on."""
    names, found = ground.source.class_names, []
    for split, probs in zip(ground.folds, folds, strict=True):
        label = ground.source.labels["train"][split.validation]
        own = probs[np.arange(len(label)), label]
        for i in np.flatnonzero((own < DOUBTED) & (probs.max(1) > SURE)):
            index = int(split.validation[i])
            listed = ground.source.names.get("train")
            found.append(
                {
                    "index": index,
                    "name": listed[index] if listed else None,
                    "label": names[label[i]],
                    "guess": names[int(probs[i].argmax())],
                    "confidence": float(probs[i].max()),
                }
            )
    return sorted(found, key=lambda one: -one["confidence"])[:20]
