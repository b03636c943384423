"""One training step, the same function on every device: views, loss, gradient, update, average."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lowlabel_jax.augment.views import make_views
from lowlabel_jax.core import parallel, tree
from lowlabel_jax.objectives.base import Mean, Objective
from lowlabel_jax.state import Average, TrainState
from lowlabel_jax.training import policies


def make_step(
    objective: Objective, recipes: Mapping[str, Callable], ema: Average, rate: Callable
) -> Callable[..., tuple[TrainState, dict[str, Mean]]]:
    """step(state, batch, resident) -> (state, metrics), to be mapped over devices."""

    learners = policies.learning(recipes, objective.views)

    def step(state: TrainState, batch: Any, resident: Any) -> tuple[TrainState, dict[str, Mean]]:
        key_views, key_loss, key_probes = jax.random.split(
            jax.random.fold_in(state.key, state.step), 3
        )
        shown, learnt = fetch(batch, resident), state.aux["augment"]
        views = make_views(objective.views, shown, recipes, key_views, learnt)
        gradient = jax.grad(objective.loss, has_aux=True)
        mine = state.replace(aux=state.aux["method"])
        grads, out = gradient(state.params, mine, views, key_loss)
        grads, stats = parallel.pmean((grads, out.batch_stats))
        learnt = policies.learn(learners, state, shown["labelled"], key_probes)
        new = state.advance(grads, stats, {"method": out.aux, "augment": learnt}, ema)
        metrics = parallel.psum(out.metrics) | {
            "rate": once(rate(state.phase_step)),
            "gradient_norm": once(optax.tree.norm(grads)),
            "ema_distance": once(optax.tree.norm(optax.tree.sub(new.ema["params"], new.params))),
        }
        return new, metrics

    return step


def fetch(batch: Any, resident: Any) -> dict[str, dict[str, jax.Array]]:
    """This step's images and labels by stream, taken from the device's own copy of the data.

    What the host has sent along (a streamed feed's images) is there already.
    """
    return {
        stream: dict(rows)
        | {name: values[rows["index"]] for name, values in resident[stream].items()}
        for stream, rows in batch.items()
    }


def once(value: jax.Array) -> Mean:
    """A number that is the same on all devices, as a mean of one."""
    return Mean(jnp.float32(value), jnp.float32(1))


def is_finite(state: TrainState) -> bool:
    """Whether everything that a checkpoint would hold is a finite number."""
    return bool(tree.all_finite((state.params, state.batch_stats, state.opt_state, state.ema)))
