"""Everything that changes during training. If it is not here it is not remembered."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from lowlabel_jax.core import tree


class TrainState(struct.PyTreeNode):
    """One logical copy, the same on every device. A checkpoint holds exactly its leaves."""

    step: jax.Array  # optimiser steps since the run began
    began: jax.Array  # the step at which this phase began
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any  # {"params", "batch_stats"}: what is evaluated, and Mean Teacher's teacher
    aux: Any  # what the objective remembers between steps
    key: jax.Array
    apply_fn: Callable = struct.field(pytree_node=False)
    tx: optax.GradientTransformation = struct.field(pytree_node=False)

    @property
    def phase_step(self) -> jax.Array:
        """Steps since this phase began: what ramps count."""
        return self.step - self.began

    def advance(self, grads: Any, batch_stats: Any, aux: Any, ema: "Average") -> "TrainState":
        """The state after one optimiser step; the average follows the new parameters."""
        updates, opt_state = self.tx.update(grads, self.opt_state, self.params)
        params = optax.apply_updates(self.params, updates)
        return self.replace(
            step=self.step + 1,
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            ema=ema.update(self.ema, params, batch_stats, self.step),
            aux=aux,
        )

    def enter_phase(self, tx: optax.GradientTransformation, aux: Any) -> "TrainState":
        """The state at the start of another phase: weights and average carry over."""
        began = jnp.copy(self.step)  # two leaves that share a buffer cannot both be donated
        return self.replace(began=began, tx=tx, opt_state=tx.init(self.params), aux=aux)


class Average(struct.PyTreeNode):
    """How weights are averaged (config.ema). FixMatch: 0.999, statistics as they are."""

    decay: float = struct.field(pytree_node=False)
    warmup: bool = struct.field(pytree_node=False)
    batch_stats: bool = struct.field(pytree_node=False)

    def decay_at(self, step: jax.Array) -> jax.Array:
        """The decay of step number `step`; with warm-up the first weights are soon forgotten."""
        slow = jnp.float32(self.decay)
        return jnp.minimum(slow, (1 + step) / (10 + step)) if self.warmup else slow

    def update(self, old: Any, params: Any, batch_stats: Any, step: jax.Array) -> Any:
        """The average after a step, as variables to evaluate with."""
        decay = self.decay_at(step)
        stats = tree.moving_average(old["batch_stats"], batch_stats, decay)
        return {
            "params": tree.moving_average(old["params"], params, decay),
            "batch_stats": stats if self.batch_stats else batch_stats,
        }


def create(
    variables: Any, apply_fn: Callable, tx: optax.GradientTransformation, aux: Any, seed: int
) -> TrainState:
    """The state before the first step."""
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    ema = {"params": params, "batch_stats": batch_stats}
    state = TrainState(
        step=jnp.int32(0),
        began=jnp.int32(0),
        params=params,
        batch_stats=batch_stats,
        opt_state=tx.init(params),
        ema=ema,
        aux=aux,
        key=jax.random.key(seed),
        apply_fn=apply_fn,
        tx=tx,
    )
    # Parameters and their average must not share buffers: a donated buffer can be given only once.
    return jax.tree.map(jnp.copy, state)
