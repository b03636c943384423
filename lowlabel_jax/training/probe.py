"""Linear probe: the head by logistic regression on features, its L2 by cross-validation."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.objectives.base import Mean

STRENGTHS = tuple(10.0 ** (k / 2) for k in range(-10, 9))  # scikit-learn's C, of features of size 1
FOLDS = 5  # or as many as the rarest class has labels
ALONE = 1.0  # C where a class has one label, so that nothing can be held out


class Fit(NamedTuple):
    """A probe: logits = features @ kernel + bias."""

    kernel: np.ndarray  # float32 [f, k]
    bias: np.ndarray  # float32 [k]
    strength: float  # the C that was chosen


def fit(features: np.ndarray, label: np.ndarray, num_classes: int, balanced: bool = False) -> Fit:
    """Logistic regression with the L2 of lowest held-out log loss: features [n, f], label [n].

    Only these labels are looked at: stratified folds of them, as many as the rarest class allows,
    five at most. balanced: classes weigh alike. A class without labels is put far below the
    others. Raises UserError where fewer than two classes have labels.
    """
    from threadpoolctl import threadpool_limits

    counts = np.bincount(label, minlength=num_classes)
    seen = np.flatnonzero(counts)
    if len(seen) < 2:
        raise UserError("a probe needs labels of two classes or more.", "raise split.labelled.")
    centre = features.mean(0, dtype=np.float64)
    x, back = _turned(features - centre)
    weights = {"class_weight": "balanced" if balanced else None}
    with threadpool_limits(1):  # BLAS threads on matrices this small: 18 times as long for 1,000
        strength = _chosen(x, label, counts[seen].min(), weights)
        model = _model(strength, weights).fit(x, label)
    kernel = np.zeros((features.shape[1], num_classes))
    bias = np.full(num_classes, model.intercept_.min() - 30.0)
    if len(seen) == 2:  # scikit-learn keeps one column of two
        kernel[:, seen] = (back @ model.coef_[0])[:, None] * [-0.5, 0.5]
        bias[seen] = model.intercept_[0] * np.array([-0.5, 0.5])
    else:
        kernel[:, seen], bias[seen] = back @ model.coef_.T, model.intercept_
    bias = bias - centre @ kernel
    return Fit(kernel.astype(np.float32), bias.astype(np.float32), strength)


def _turned(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(x [n, r] of mean square 1 in the span of its own rows, what brings weights [r, k] back).

    The L2 of weights is the same in either place, and few images span few of many features.
    """
    u, sizes, rows = np.linalg.svd(x, full_matrices=False)
    size = np.sqrt(np.square(x).mean()) or 1.0
    return u * (sizes / size), rows.T / size


def _chosen(x: np.ndarray, label: np.ndarray, rarest: int, how: Mapping[str, Any]) -> float:
    """The strength of lowest log loss on held-out folds, from strong L2 to weak.

    It stops where the loss has gone up twice: the weakest take the longest and are not wanted.
    """
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedKFold

    if rarest < 2:
        return ALONE
    parts = StratifiedKFold(min(FOLDS, int(rarest)), shuffle=True, random_state=0).split(x, label)
    folds = [(_model(ALONE, {**how, "warm_start": True}), *part) for part in parts]
    losses: list[float] = []
    for strength in STRENGTHS:
        found = [
            log_loss(
                label[held],
                model.set_params(C=strength).fit(x[rest], label[rest]).predict_proba(x[held]),
                labels=model.classes_,
            )
            for model, rest, held in folds
        ]
        losses.append(float(np.mean(found)))
        if len(losses) - int(np.argmin(losses)) > 2:
            break
    return STRENGTHS[int(np.argmin(losses))]


def _model(strength: float, how: Mapping[str, Any]) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=2000, **how)


def make_step(model: Any, objective: Mapping[str, Any]) -> Callable:
    """step(state, batch, resident) -> (state, metrics): one step, over all labels at once.

    Raises UserError where the model's head is more than a linear layer.
    """
    if model.head.hidden:
        raise UserError(
            f"features=probe fits a linear layer, and model.hidden is {model.head.hidden}.",
            "set model.hidden=0, or features=cached.",
        )

    def step(state: Any, batch: Any, resident: Any) -> tuple[Any, dict[str, Mean]]:
        known = resident["labelled"]
        features, label = (np.asarray(known[name]) for name in ("image", "label"))
        found = fit(features, label, model.head.num_classes, objective.get("balanced", False))
        logits = features @ found.kernel + found.bias
        return _with_head(state, found), _metrics(logits, label, found)

    return step


def _with_head(state: Any, found: Fit) -> Any:
    """The state with the probe as its head, in the average too."""
    head = state.params["head"]
    placed = {
        name: jax.device_put(value, head[name].sharding)
        for name, value in (("kernel", found.kernel), ("bias", found.bias))
    }
    copies = jax.tree.map(jnp.copy, placed)
    return state.replace(
        step=state.step + 1,
        params={**state.params, "head": placed},
        ema={**state.ema, "params": {**state.ema["params"], "head": copies}},
    )


def _metrics(logits: np.ndarray, label: np.ndarray, found: Fit) -> dict[str, Mean]:
    from scipy.special import log_softmax

    chosen = np.take_along_axis(log_softmax(logits, axis=1), label[:, None], axis=1)
    right = (logits.argmax(1) == label).sum()
    one = jnp.float32(1)
    totals = {"loss": -chosen.sum(), "accuracy/labelled": right}
    metrics = {name: Mean(jnp.float32(v), jnp.float32(len(label))) for name, v in totals.items()}
    alone = {"rate": 0.0, "gradient_norm": 0.0, "probe/log10_c": np.log10(found.strength)}
    return metrics | {name: Mean(jnp.float32(value), one) for name, value in alone.items()}
