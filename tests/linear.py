"""A network whose logits are scale · image: what a loss comes to can be done on paper.

Images are [n, 2, 2, 1] and have four classes, one a pixel, so that they can also be turned and cut.
`call` runs an objective on them as a step does: on one or several devices (vmap stands for them),
differentiated, its draws looked at.
"""

import contextlib
import functools
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lowlabel_jax.augment.views import VIEWS
from lowlabel_jax.core import named, parallel
from lowlabel_jax.data.source import Info
from lowlabel_jax.objectives import adamatch, mixing, remixmatch, vat
from lowlabel_jax.state import create

K, B, M = 4, 4, 8  # classes, labelled images, unlabelled ones
LABELLED, UNLABELLED = 6, 12  # sizes of the two sets
INFO = Info(
    K, tuple("abcd"), (2, 2, 1), {"labelled": LABELLED, "unlabelled": UNLABELLED}, (3, 1, 1, 1)
)
SCALE = (1.3, 0.7, 2.0, 1.0)
QUICK = {"xla_backend_optimization_level": 0}  # a test's program runs for microseconds
TX = optax.sgd(0.1)


class Called(NamedTuple):
    """What an objective made of its views, over all devices."""

    loss: np.ndarray
    gradient: np.ndarray  # by scale, [K]
    by_view: dict[str, np.ndarray]  # of the sum over images, by their pixels [n, K]
    seen: float  # examples that moved BatchNorm's statistics, on one device
    aux: Any
    metrics: dict[str, float]
    draws: dict[str, list[np.ndarray]]
    heads: Any  # gradients by the objective's own layers


def images(seed, n, scale=2.0):
    """[n, 2, 2, 1], far from [-1, 1] so that guesses differ in how sure they are."""
    drawn = np.random.default_rng(seed).normal(size=(n, 2, 2, 1)) * scale
    return jnp.asarray(drawn, jnp.float32)


def given_views():
    """Views as an objective is given them: some images are in the batch twice."""
    found = {name: images(i, B if "labelled" in name else M) for i, name in enumerate(VIEWS)}
    probs = softmax(np.random.default_rng(99).normal(size=(M, K)) * 3)
    return found | {
        "label": jnp.array([0, 2, 3, 2]),
        "labelled_index": jnp.array([5, 0, 2, 0]),
        "truth": jnp.array([0, 1, 2, 3, 0, -1, 2, 1]),
        "index": jnp.array([3, 7, 0, 3, 11, 5, 0, 3]),
        "teacher": jnp.asarray(probs, jnp.float32),
    }


def flat(views):
    """The views as tests/papers.py takes them: float64, images [n, K]."""
    return {
        name: np.asarray(x, np.float64).reshape(len(x), K) if x.ndim == 4 else np.asarray(x)
        for name, x in views.items()
    }


def apply_fn(variables, images, **_):
    """Logits = scale · images; running statistics count the examples they have seen."""
    seen = variables["batch_stats"]["seen"] + len(images)
    features = images.reshape(len(images), K)
    logits = features * variables["params"]["scale"][None]
    return (logits, {"features": features}), {"batch_stats": {"seen": seen}}


def centred(variables, images, **more):
    """The same network, but an image's logits depend on its batch: the mean is taken off first."""
    mean = parallel.pmean(images.mean(0))
    return apply_fn(variables, images - mean[None], **more)


def call(
    name,
    views=None,
    *,
    scale=1.0,
    step=0,
    began=0,
    total_steps=10,
    aux=(),
    teacher=None,
    heads=None,
    devices=1,
    network=apply_fn,
    key=0,
    **options,
):
    """What an objective comes to at a step; `scale` and `teacher` are one number or [K]."""
    params = {"scale": full(scale), "heads": heads or {}}
    variables = {"params": params, "batch_stats": {"seen": jnp.zeros(())}}
    state = create(variables, network, TX, aux, 0)
    state = state.replace(step=jnp.int32(step), began=jnp.int32(began))
    if teacher is not None:
        average = {"scale": full(teacher), "heads": heads or {}}
        state = state.replace(ema={**state.ema, "params": average})
    views = given_views() if views is None else views
    wanted = set(
        named.build("objective", {"name": name, **options}, total_steps=9, info=INFO).views
    )
    shown = {n: x for n, x in views.items() if n in wanted}
    rest = {n: views[n] for n in ("label", "labelled_index", "truth", "index")}
    found = program(name, total_steps, tuple(sorted(options.items())))(
        params, parallel.shard(shown, devices), parallel.shard(rest, devices), state, key
    )
    return _called(*jax.device_get(found))


def full(scale):
    """[K]."""
    return jnp.broadcast_to(jnp.asarray(scale, jnp.float32), (K,))


@functools.cache
def program(name, total_steps, options):
    """An objective's loss, its gradients and all it returns, compiled over a device axis."""
    made = named.build(
        "objective", {"name": name, **dict(options)}, total_steps=total_steps, info=INFO
    )

    def loss(params, shown, rest, state, key):
        with recorded() as draws:
            value, out = made.loss(params, state, shown | rest, jax.random.key(key))
        return value, (out, draws)

    def one(params, shown, rest, state, key):
        (value, (out, draws)), (by_params, by_view) = jax.value_and_grad(loss, (0, 1), True)(
            params, shown, rest, state, key
        )
        scalars = parallel.pmean((value, by_params, out.batch_stats["seen"]))
        return *scalars, out.aux, parallel.psum(out.metrics), by_view, draws

    over = jax.vmap(one, axis_name=parallel.AXIS, in_axes=(None, 0, 0, None, None))
    return jax.jit(over, compiler_options=QUICK)


def _called(value, by_params, seen, aux, metrics, by_view, draws):
    """Of what must be equal on all devices, the first one's; the rest in global order."""
    for leaf in jax.tree.leaves((aux, metrics)):
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))
    first = jax.tree.map(lambda x: x[0], (value, by_params, seen, aux, metrics))
    value, by_params, seen, aux, metrics = first
    by_view = {name: x.reshape(-1, K) for name, x in by_view.items()}
    means = {name: m.total / max(m.count, 1) for name, m in metrics.items()}
    whole = {name: [_whole(name, x) for x in found] for name, found in draws.items()}
    gradient, heads = by_params["scale"], by_params["heads"]
    return Called(value, gradient, by_view, float(seen), aux, means, whole, heads)


def _whole(name, drawn):
    """A draw [d, n, …] of all devices: an order is the same on each, the others lie in a row."""
    return drawn[0] if name == "permutation" else drawn.reshape(-1, *drawn.shape[2:])


@contextlib.contextmanager
def recorded():
    """Yield {function: [what it drew, …]} of the draws made while an objective is traced.

    An interpolation's shares are what it makes of zeros and ones; VAT's noise is the first thing
    that is brought to length 1.
    """
    draws = {}

    def spy(module, name, what):
        real = getattr(module, name)

        def wrapped(*args):
            result = real(*args)
            draws.setdefault(name, []).append(what(result, real, *args))
            return result

        return mock.patch.object(module, name, wrapped)

    def itself(result, *_):
        return result

    def shares(_, real, one, other, key):
        ends = [[f(x) for x in one] for f in (jnp.zeros_like, jnp.ones_like)]
        return jnp.stack(real(*ends, key), axis=1)

    with contextlib.ExitStack() as all_of_them:
        for module, name, what in (
            (mixing, "beta", itself),
            (jax.random, "permutation", itself),
            (adamatch, "between", shares),
            (remixmatch, "turned_by", lambda _, real, images, turns: turns),
            (vat, "unit", lambda _, real, x: x),
            (vat, "adversary", itself),
        ):
            all_of_them.enter_context(spy(module, name, what))
        yield draws


def softmax(x):
    """In float64, along the last axis."""
    x = np.asarray(x, np.float64)
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def turning_head():
    """The layer that tells quarter turns apart, with numbers of its own."""
    rng = np.random.default_rng(6)
    layer = {"kernel": rng.normal(size=(K, 4)), "bias": rng.normal(size=4)}
    return {"rotation": {"head": {name: jnp.float32(x) for name, x in layer.items()}}}
