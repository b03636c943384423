"""How good a state is: every example once, padded and masked, raw and averaged weights alike."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lowlabel_jax.augment.views import shown
from lowlabel_jax.core import parallel
from lowlabel_jax.ops.compiling import compile_options
from lowlabel_jax.state import TrainState

Predict = Callable[[Mapping[str, Any], Any], dict[str, np.ndarray]]


def predictor(apply_fn: Callable, batch_size: int, devices: int) -> Predict:
    """predict({name: variables}, images) -> {name: probabilities float32 [n, k]}.

    images: uint8 [n, h, w, c], an array or whatever gives one for a slice (data.source.Images):
    each part is read once for all the variables. The batch is rounded up to what the devices can
    share and the last one padded: neither changes which examples are counted.
    """

    def forward(variables, batch):
        logits, _ = apply_fn(variables, shown(batch["image"]), train=False)
        return jax.nn.softmax(logits.astype(jnp.float32))

    size = -(-batch_size // devices) * devices
    options = compile_options(jax.default_backend())
    mapped = parallel.mapped(forward, devices, sharded_out=True, options=options)

    def predict(variables: Mapping[str, Any], images: Any) -> dict[str, np.ndarray]:
        variables = parallel.replicate(dict(variables), devices)
        found: dict[str, list[np.ndarray]] = {name: [] for name in variables}
        for start in range(0, len(images), size):
            part = images[start : start + size]
            batch = parallel.shard_filled({"image": part}, size, devices)
            for name, values in variables.items():
                found[name].append(parallel.rows(mapped(values, batch), len(part)))
        return {name: np.concatenate(parts) for name, parts in found.items()}

    return predict


def both(predict: Predict, state: TrainState, images: Any) -> dict[str, np.ndarray]:
    """{"ema": probabilities [n, k], "raw": likewise}: the averaged weights and the last ones."""
    raw = {"params": state.params, "batch_stats": state.batch_stats}
    return predict({"ema": state.ema, "raw": raw}, images)


def validation_numbers(probs: Mapping[str, np.ndarray], label: np.ndarray) -> dict[str, float]:
    """What a look at the validation set adds to metrics.jsonl; its loss steers patience."""
    chosen = np.take_along_axis(probs["ema"], label[:, None], axis=1)[:, 0]
    return {
        "validation/loss": float(-np.log(np.maximum(chosen, 1e-12)).mean()),
        "validation/accuracy": float((probs["ema"].argmax(1) == label).mean()),
        "validation/accuracy_raw": float((probs["raw"].argmax(1) == label).mean()),
    }
