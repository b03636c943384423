"""A workload in JAX: our own training step or inference, or naive Flax's, ready to be timed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import naive_flax
from benchmarks.workloads import CLASSES, Workload
from lowlabel_jax import optimizers, schedules, state
from lowlabel_jax.augment.identity import identity
from lowlabel_jax.core import named, parallel
from lowlabel_jax.data.source import Info
from lowlabel_jax.objectives.fixmatch import fixmatch
from lowlabel_jax.objectives.supervised import supervised
from lowlabel_jax.ops.compiling import compile_options
from lowlabel_jax.ops.initialise import initialise
from lowlabel_jax.runs.summary.summary_stages import look
from lowlabel_jax.training.step import make_step

STEPS = 1000


class Ready(NamedTuple):
    """A compiled program with its arguments."""

    run: Callable[[], Any]  # one step or one look, done when it returns
    bytes: float  # that its kernels read and write, as XLA counts them, without what loops repeat


def ready(work: Workload, who: str) -> Ready:
    """The workload as "ours" or as "naive Flax" does it."""
    return ours(work) if who == "ours" else naive(work)


def ours(work: Workload) -> Ready:
    """Our step as runs take it, of images that come augmented; or our network's inference."""
    shape = (work.side, work.side, 3)
    model = _model(work)
    variables = initialise(model, shape, 0)
    if not work.train:
        return _looking(work, model, variables, compile_options("cpu"), lambda out: out[0])
    tx = optimizers.sgd(rate=schedules.constant(total_steps=STEPS, peak=0.01))
    objective = _objective(work)
    made = state.create(variables, model.apply, tx, {"method": (), "augment": {}}, 0)
    average = state.Average(decay=0.999, warmup=False, batch_stats=False)
    recipes = {name: identity() for name in ("weak", "strong")}
    step = make_step(objective, recipes, average, lambda step: 0.01)
    mapped = parallel.mapped(step, 1, donate=True, options=compile_options("cpu"))
    batch, nothing = parallel.shard(_batch(work), 1), {"labelled": {}, "unlabelled": {}}
    batch, live = jax.device_put(batch), parallel.replicate(made, 1)
    return _stepping(mapped.compile(live, batch, nothing), live, (batch, nothing))


def _model(work: Workload) -> Any:
    """Our network of a workload."""
    how = {name: tuple(v) if isinstance(v, list) else v for name, v in work.options.items()}
    return named.build("model", {"name": work.network, **how}, num_classes=CLASSES)


def naive(work: Workload) -> Ready:
    """What one writes first, with Flax's own layers and plain jit."""
    if work.train:
        return _naive_step(work)
    model = naive_flax.network(work)
    variables = initialise(model, (work.side, work.side, 3), 0)
    return _looking(work, model, variables, None, lambda out: out)


def _naive_step(work: Workload) -> Ready:
    model = naive_flax.network(work)
    variables = initialise(model, (work.side, work.side, 3), 0)
    tx = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(0.01, 0.9, nesterov=True))
    params, stats = jax.device_put((variables["params"], variables["batch_stats"]))
    live = (params, stats, tx.init(params), params)
    given = (jnp.asarray(noise(work)), jnp.arange(work.labelled) % CLASSES)
    lowered = jax.jit(naive_flax.training_step(work, model, tx)).lower(live, *given)
    return _stepping(lowered.compile(), live, given)


def noise(work: Workload) -> np.ndarray:
    """float32 [images, h, w, 3] in [-1, 1]."""
    shape = (work.images, work.side, work.side, 3)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def _objective(work: Workload) -> Any:
    """FixMatch, or supervised."""
    if work.mu:
        return fixmatch(total_steps=STEPS, split=work.split)
    names, sizes = tuple(map(str, range(CLASSES))), {"labelled": work.labelled, "unlabelled": 0}
    shape = (work.side, work.side, 3)
    return supervised(info=Info(CLASSES, names, shape, sizes, (1,) * CLASSES))


def _batch(work: Workload) -> dict[str, Any]:
    """Images as they are after augmentation, which leaves float32 alone, and their labels."""
    images, b = noise(work), work.labelled
    streams = {"labelled": images[:b], "unlabelled": images[b : b * (1 + work.mu)]}
    return {
        stream: {
            "image": found,
            "label": np.arange(len(found), dtype=np.int32) % CLASSES,
            "index": np.arange(len(found), dtype=np.int32),
        }
        for stream, found in streams.items()
        if len(found)
    }


def _stepping(compiled: Any, live: Any, given: tuple) -> Ready:
    """Steps that each begin where the last one ended."""
    box = [live]

    def run() -> None:
        out = compiled(box[0], *given)
        box[0] = out[0] if hasattr(out[0], "step") else out
        jax.block_until_ready(box[0])

    return Ready(run, moved(compiled))


def _looking(work: Workload, model: Any, variables: Any, options: Any, of: Callable) -> Ready:
    """Inference on one batch."""
    images, variables = jax.device_put((noise(work), variables))
    fn = jax.jit(lambda variables, images: of(model.apply(variables, images, train=False)))
    compiled = fn.lower(variables, images).compile(compiler_options=options)
    return Ready(lambda: jax.block_until_ready(compiled(variables, images)), moved(compiled))


def moved(program: Any) -> float:
    """Bytes that a compiled program's kernels read and write, as XLA counts them."""
    said = program.cost_analysis() or {}
    said = said[0] if isinstance(said, list) else said
    return float(said.get("bytes accessed", 0))


def flops(work: Workload) -> float:
    """What the network's products take, a multiply-add as two: going back is twice going forward.

    Counted from its kernels: XLA's own count takes depthwise gradients for dense ones.
    """
    found = look(_model(work), (work.side, work.side, 3))
    forward = sum(stage.flops for stage in found.stages)
    guessed = work.labelled * work.mu if work.split else 0  # weak views, which only go forward
    back = work.images - guessed if work.train else 0
    return forward * (work.images + 2 * back)
