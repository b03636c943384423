"""Distance analysis: how far each strength of an augmentation moves a trained network's loss.

Strengths of different kinds (a shift, a hue, a blur) cannot be compared by their numbers. By the
loss that they add they can: level i of five is the strength that adds i fifths of what the largest
one does, so that a search goes up all of them in like steps.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from lowlabel_jax.augment.recipe import over
from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.core import named
from lowlabel_jax.data.source import Images
from lowlabel_jax.tuning import trial
from lowlabel_jax.tuning.ground import Ground
from lowlabel_jax.tuning.judging import RATE, given_numbers

CLUSTERS = {"spatial": 1.0, "hsv": 1.0, "contrast": 1.0, "blur": 1.0, "rotate": 45.0}  # the most
LEVELS = 5
POINTS = 8  # strengths that are tried of each
LEAST = 256  # draws that a mean is taken over: few images are drawn several times
SLIGHT = 0.02  # nats: an augmentation that never adds as much has levels of like strengths


def analyse(ground: Ground, config: Config) -> dict[str, dict[str, Any]]:
    """cluster -> {"magnitude" [p], "loss" [p], "levels" [6]}, by a trial's network."""
    steps = ground.budget.trial
    made = trial.program(ground, config, 0, ground.whole(steps), [RATE])
    state = trial.trained(ground, made, 0, given_numbers(config, {}, ()), steps)
    images, label = repeated(ground)
    predict = trial.predictor(made.config, made.phase.apply_fn, len(images))

    def loss(shown: np.ndarray) -> float:
        probs = predict({"ema": state.ema}, shown)["ema"]
        return float(trial.bounded(probs, label).mean())

    still = loss(images)
    keys = jax.random.split(jax.random.key(ground.seed), len(images))
    found = {}
    for cluster, most in CLUSTERS.items():
        moved = jax.jit(functools.partial(_moved, cluster))
        magnitude = np.linspace(0, most, POINTS + 1)
        after = [still, *(loss(np.asarray(moved(m, keys, images))) for m in magnitude[1:])]
        found[cluster] = {
            "magnitude": magnitude.tolist(),
            "loss": after,
            "levels": levels(magnitude, np.array(after)),
        }
    return found


def repeated(ground: Ground) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 [m, h, w, c], labels [m]): a fold's validation images, as often as LEAST asks."""
    places = ground.folds[0].validation
    times = -(-LEAST // len(places))
    images = np.tile(Images(ground.source, "train", places)[:], (times, 1, 1, 1))
    return images, np.tile(ground.source.labels["train"][places], times)


def levels(magnitude: np.ndarray, loss: np.ndarray) -> list[float]:
    """Strengths of level 0 to LEVELS: magnitude [p] from 0 up, loss [p] there.

    A loss that falls back counts as its greatest so far: of two strengths the larger one is never
    the lesser distance.
    """
    rise = np.maximum.accumulate(loss - loss[0])
    wanted = np.linspace(0, rise[-1], LEVELS + 1)
    if rise[-1] < SLIGHT:
        return np.linspace(0, magnitude[-1], LEVELS + 1).tolist()
    steep = rise + np.arange(len(rise)) * 1e-9  # flat stretches still have an inverse
    found = np.interp(wanted, steep, magnitude)
    return [0.0, *found[1:-1].tolist(), float(np.interp(wanted[-1], steep, magnitude))]


def of_level(analysis: Mapping[str, Mapping[str, Any]], level: int) -> dict[str, float]:
    """cluster -> its strength at a level."""
    return {cluster: float(found["levels"][level]) for cluster, found in analysis.items()}


def _moved(cluster: str, strength: Any, keys: Any, images: Any) -> Any:
    recipe = named.build("augment", {"name": "clusters", cluster: strength})
    return over(recipe, keys, images)
