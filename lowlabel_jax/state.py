"""Everything that changes during training. If it is not here it is not remembered."""

from collections.abc import Callable, Collection
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
    trained: tuple[str, ...] = struct.field(pytree_node=False)  # names below params; others rest

    @property
    def phase_step(self) -> jax.Array:
        """Steps since this phase began: what ramps count."""
        return self.step - self.began

    def advance(self, grads: Any, batch_stats: Any, aux: Any, ema: "Average") -> "TrainState":
        """The state after one optimiser step; the average follows the new parameters.

        grads: of the trained parameters alone. What rests stays what it is, bit by bit.
        """
        mine = part(self.params, self.trained)
        updates, opt_state = self.tx.update(grads, self.opt_state, mine)
        moved: Any = optax.apply_updates(mine, updates)
        return self.replace(
            step=self.step + 1,
            params={**self.params, **moved},
            batch_stats=batch_stats,
            opt_state=opt_state,
            ema=ema.update(self.ema, moved, batch_stats, self.step),
            aux=aux,
        )

    def enter_phase(
        self,
        tx: optax.GradientTransformation,
        aux: Any,
        apply_fn: Callable | None = None,
        trained: tuple[str, ...] | None = None,
    ) -> "TrainState":
        """The state at the start of another phase: weights and average carry over.

        apply_fn, trained: as they are where None is given.
        """
        trained = self.trained if trained is None else trained
        return self.replace(
            began=jnp.copy(self.step),  # two leaves that share a buffer cannot both be donated
            tx=tx,
            opt_state=jax.jit(tx.init)(part(self.params, trained)),
            aux=aux,
            apply_fn=apply_fn or self.apply_fn,
            trained=trained,
        )

    def started_with(self, variables: Any) -> "TrainState":
        """The state with other first weights, {"params", "batch_stats"}, in the average too."""
        copies, ema = _copied(dict(variables)), _copied(dict(variables))
        opt_state = jax.jit(self.tx.init)(part(copies["params"], self.trained))
        params, batch_stats = copies["params"], copies["batch_stats"]
        return self.replace(params=params, batch_stats=batch_stats, ema=ema, opt_state=opt_state)

    def settled(self) -> "TrainState":
        """The averaged weights as the weights: what a phase on their features starts from."""
        copies = _copied(self.ema)
        return self.replace(params=copies["params"], batch_stats=copies["batch_stats"])


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
        """The average after a step, as variables to evaluate with; params: those that moved."""
        decay = self.decay_at(step)
        averaged = part(old["params"], params)
        stats = tree.moving_average(old["batch_stats"], batch_stats, decay)
        return {
            "params": {**old["params"], **tree.moving_average(averaged, params, decay)},
            "batch_stats": stats if self.batch_stats else batch_stats,
        }


def part(params: Any, names: Collection[str]) -> dict[str, Any]:
    """The children of `params` that have these names."""
    return {name: params[name] for name in names}


def create(
    variables: Any,
    apply_fn: Callable,
    tx: optax.GradientTransformation,
    aux: Any,
    seed: int,
    trained: tuple[str, ...] | None = None,
) -> TrainState:
    """The state before the first step; trained None: all of its parameters."""
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    trained = tuple(params) if trained is None else trained
    ema = {"params": params, "batch_stats": batch_stats}
    state = TrainState(
        step=jnp.int32(0),
        began=jnp.int32(0),
        params=params,
        batch_stats=batch_stats,
        opt_state=jax.jit(tx.init)(part(params, trained)),
        ema=ema,
        aux=aux,
        key=jax.random.key(seed),
        apply_fn=apply_fn,
        tx=tx,
        trained=trained,
    )
    # Parameters and their average must not share buffers: a donated buffer can be given only once.
    return _copied(state)


def _copied(tree: Any) -> Any:
    """The tree in buffers of its own."""
    leaves, form = jax.tree.flatten(tree)
    return jax.tree.unflatten(form, _copies(leaves))


@jax.jit
def _copies(leaves: list[Any]) -> list[jax.Array]:
    """One program: leaf by leaf, each shape would be one of its own to make."""
    return [jnp.copy(leaf) for leaf in leaves]
