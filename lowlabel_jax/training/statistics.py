"""A phase that trains nothing: BatchNorm's running statistics settle while every weight rests.

For the moment at which they are of other batches than those to come: before the first step, where
they are zeros and ones; after weights of others; before a method that normalises other views.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lowlabel_jax.augment.views import make_views
from lowlabel_jax.core import log, parallel, tree
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.objectives.base import Mean, Objective
from lowlabel_jax.ops import layers
from lowlabel_jax.state import Average, TrainState
from lowlabel_jax.training import networks
from lowlabel_jax.training.step import fetch, once

DRIFT = "statistics/drift"
# Measured on digits (small_cnn, one seed, trained weights, statistics from zeros and ones; means of
# ten steps). At rest the drift is 0.03 for batches of 64 and 0.10 for 8; wide_resnet's 0.12 for 16.
# Batches of 64, momentum 0.99: 0.70 at first, 0.32, 0.13, 0.04 after 100, 200, 400 steps, while the
# test loss fell from 5.7 to 1.1, 0.30, 0.16; with momentum 0.9, 0.03 and 0.16 after 50 steps.
STABLE = 0.15


class Norm(NamedTuple):
    """What of a BatchNorm decides how its statistics move."""

    momentum: float
    epsilon: float


def moving(model: Any, image_shape: tuple[int, ...], spec: Mapping[str, Any]) -> dict[str, Norm]:
    """Path -> Norm of each BatchNorm whose statistics a phase moves, for images [h, w, c].

    Raises UserError where there is none: such a phase would do nothing.
    """
    found, resting = {}, networks.frozen(model, spec)

    def look(call: Callable, args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        if isinstance(module, layers.BatchNorm) and module.path[0] not in resting:
            found["/".join(module.path)] = Norm(module.momentum, module.epsilon)
        return call(*args, **kwargs)

    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    with nn.intercept_methods(look):
        jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
    free = {path: norm for path, norm in found.items() if norm.momentum < 1}
    if not free or spec["batch_norm"] == "running":
        raise UserError(
            f"phase {spec['name']!r} moves BatchNorm's statistics alone, and none can move.",
            "it wants a model with BatchNorm, of momentum below 1, in stages that are trained, and "
            "batch_norm=batch (lowlabel summary shows the stages).",
        )
    return free


def make_step(
    objective: Objective, recipes: Mapping[str, Callable], ema: Average, norms: Mapping[str, Norm]
) -> Callable[..., tuple[TrainState, dict[str, Mean]]]:
    """step(state, batch, resident) -> (state, metrics), to be mapped over devices.

    The objective's own forward, without its gradient: what moves the statistics, and by which
    views, is what will move them when the weights do. `norms`: those whose drift is measured.
    """

    def step(state: TrainState, batch: Any, resident: Any) -> tuple[TrainState, dict[str, Mean]]:
        key_views, key_loss, _ = jax.random.split(jax.random.fold_in(state.key, state.step), 3)
        shown = fetch(batch, resident)
        views = make_views(objective.views, shown, recipes, key_views, state.aux["augment"])
        mine = state.replace(aux=state.aux["method"])
        _, out = objective.loss(state.params, mine, views, key_loss)
        stats = parallel.pmean(out.batch_stats)
        average = ema.update(state.ema, {}, stats, state.step)
        new = state.replace(step=state.step + 1, batch_stats=stats, ema=average)
        alone = {"rate": 0.0, "gradient_norm": 0.0, DRIFT: drift(state.batch_stats, stats, norms)}
        return new, parallel.psum(out.metrics) | {name: once(x) for name, x in alone.items()}

    return step


def drift(old: Any, new: Any, norms: Mapping[str, Norm]) -> jax.Array:
    """How far the running statistics were from those of the batch that has moved them.

    The root mean square, over the channels of `norms`, of the batch's mean less the running mean,
    over the running standard deviation, and of the logarithm of its variance over the running
    variance. A step goes 1 - momentum of that way; were the step itself measured, statistics that
    a large momentum hardly lets move would pass for settled ones.
    """
    before, after = tree.named_leaves(old), tree.named_leaves(new)
    ways = []
    for path, norm in norms.items():
        mean, var = (before[f"{path}/{name}"] for name in ("mean", "var"))
        there = [
            kept + (after[f"{path}/{name}"] - kept) / (1 - norm.momentum)
            for name, kept in (("mean", mean), ("var", var))
        ]
        wide, seen = var + norm.epsilon, jnp.maximum(there[1], 0) + norm.epsilon
        ways += [(there[0] - mean) * jax.lax.rsqrt(wide), jnp.log(seen / wide)]
    return jnp.sqrt(jnp.square(jnp.concatenate(ways)).mean())


def judge(spec: Mapping[str, Any], numbers: Mapping[str, Any]) -> None:
    """Say of a phase of statistics, by its last log line, whether they have come to rest."""
    if spec["moves"] != "statistics":
        return
    found = numbers[DRIFT]
    if found <= STABLE:
        log.say(f"phase {spec['name']!r}: statistics are stable (drift {found:.2g})")
        return
    log.warn(
        f"phase {spec['name']!r}: BatchNorm's statistics still drift at its end ({found:.2g}, and "
        f"{STABLE} or less would do). Give it a longer length, or lower model.momentum."
    )
