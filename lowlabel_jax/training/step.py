"""One training step, the same function on every device: views, loss, gradient, update, average."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lowlabel_jax.augment.views import make_views
from lowlabel_jax.core import parallel, tree
from lowlabel_jax.objectives.base import Mean, Objective
from lowlabel_jax.state import Average, TrainState, part
from lowlabel_jax.training import policies

SKIPPED = "skipped_steps"  # the metric that counts them


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
        mine = state.replace(aux=state.aux["method"])

        def loss(moving):
            return objective.loss({**state.params, **moving}, mine, views, key_loss)

        grads, out = jax.grad(loss, has_aux=True)(part(state.params, state.trained))
        grads, stats = parallel.pmean((grads, out.batch_stats))
        learnt = policies.learn(learners, state, shown["labelled"], key_probes)
        new = state.advance(grads, stats, {"method": out.aux, "augment": learnt}, ema)
        metrics = parallel.psum(out.metrics) | {
            "rate": once(rate(state.phase_step)),
            "gradient_norm": once(optax.tree.norm(grads)),
            "ema_distance": once(_distance(new)),
        }
        return new, metrics

    return step


def several(step: Callable, count: int) -> Callable[..., tuple[TrainState, dict[str, Mean]]]:
    """`count` steps in one call of the device, which a host that is slower than it then feeds.

    steps(state, batches [b, count, …], resident) -> (state, metrics [count, …] of each step): they
    are added up on the host, in its precision, so that a log line is the same however they come.
    """

    def steps(state: TrainState, batches: Any, resident: Any) -> tuple[TrainState, dict[str, Mean]]:
        in_turn = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), batches)
        return jax.lax.scan(lambda now, batch: step(now, batch, resident), state, in_turn, count)

    return steps


def skipping(step: Callable) -> Callable[..., tuple[TrainState, dict[str, Mean]]]:
    """`step`, that changes nothing but the count of steps where what it makes is not finite.

    Its metrics then count nothing, but for the rate and SKIPPED.
    """

    def careful(state: TrainState, batch: Any, resident: Any) -> tuple[TrainState, dict[str, Mean]]:
        new, metrics = step(state, batch, resident)
        fine = tree.all_finite((new, metrics))
        kept = jax.tree.map(lambda n, o: jnp.where(fine, n, o), new, state)
        counted = jax.tree.map(lambda x: jnp.where(fine, x, jnp.zeros_like(x)), metrics)
        counted |= {"rate": metrics["rate"], SKIPPED: once(1 - fine)}
        return kept.replace(step=new.step), counted

    return careful


def _distance(state: TrainState) -> jax.Array:
    """How far the average is from the weights that it follows."""
    pair = (part(params, state.trained) for params in (state.ema["params"], state.params))
    return optax.tree.norm(optax.tree.sub(*pair))


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
