"""Optimisers. Every public function is one by its name; `rate` is a schedule (step -> rate).

Weight decay acts on kernels only, chosen by rule over the parameters' paths: every leaf must be
covered by a rule. For sgd, rmsprop and adam it is L2 (added to the gradient, so momentum sees it,
as in FixMatch's loss); for adamw it is decoupled.
"""

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lowlabel_jax.core import tree
from lowlabel_jax.core.ranges import Fraction, NonNegative, Positive, on, traced

DECAY_RULES = ((r"(.*/)?kernel", True), (r"(.*/)?(bias|scale)", False))


def sgd(
    *,
    rate: Callable,
    momentum: Fraction = 0.9,
    nesterov: bool = True,
    weight_decay: NonNegative = 5e-4,
    clip_norm: NonNegative = 0.0,
) -> optax.GradientTransformation:
    """SGD with (Nesterov) momentum: the FixMatch family's optimiser at rate 0.03."""
    return _with_l2(weight_decay, clip_norm, optax.sgd(rate, momentum, nesterov))


def adam(
    *,
    rate: Callable,
    b1: Fraction = 0.9,
    b2: Fraction = 0.999,
    epsilon: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    clip_norm: NonNegative = 0.0,
) -> optax.GradientTransformation:
    """Adam (1412.6980)."""
    return _with_l2(weight_decay, clip_norm, optax.adam(rate, b1, b2, epsilon))


def adamw(
    *,
    rate: Callable,
    b1: Fraction = 0.9,
    b2: Fraction = 0.999,
    epsilon: Positive = 1e-8,
    weight_decay: NonNegative = 1e-2,
    clip_norm: NonNegative = 0.0,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay, scaled by the rate (1711.05101)."""
    tx = optax.adamw(rate, b1, b2, epsilon, weight_decay=weight_decay, mask=decays)
    return _with_l2(0.0, clip_norm, tx)


def rmsprop(
    *,
    rate: Callable,
    decay: Fraction = 0.9,
    epsilon: Positive = 1e-7,
    momentum: Fraction = 0.0,
    weight_decay: NonNegative = 0.0,
    clip_norm: NonNegative = 0.0,
) -> optax.GradientTransformation:
    """RMSprop with Keras' defaults."""
    tx = optax.rmsprop(rate, decay, epsilon, momentum=momentum if on(momentum) else None)
    return _with_l2(weight_decay, clip_norm, tx)


def by_stage(
    tx: optax.GradientTransformation, rates: Mapping[str, float]
) -> optax.GradientTransformation:
    """The optimiser with its updates times the rate of the stage (name below params) they belong
    to; 1 where none is given. Decoupled weight decay follows the rate, as it does in adamw.
    """
    if set(rates.values()) == {1.0}:
        return tx

    def scale(updates: Any, params: Any) -> Any:
        factors = {name: rates.get(name, 1.0) for name in updates}
        return {
            name: jax.tree.map(functools.partial(operator.mul, factors[name]), update)
            for name, update in updates.items()
        }

    return optax.chain(tx, optax.stateless(scale))


def decays(params: Any) -> Any:
    """Whether weight decay acts on each leaf. Raises ValueError for a leaf without a rule."""
    return tree.by_rule(params, DECAY_RULES)


def _with_l2(
    weight_decay: float, clip_norm: float, tx: optax.GradientTransformation
) -> optax.GradientTransformation:
    most = jnp.where(clip_norm > 0, clip_norm, jnp.inf) if traced(clip_norm) else clip_norm
    clip = [optax.clip_by_global_norm(most)] if on(clip_norm) else []
    return optax.chain(*clip, optax.add_decayed_weights(weight_decay, decays), tx)
