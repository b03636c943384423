"""Times of the digits training step, ours and naive Flax's, interleaved in one process.

python benchmarks/bench_step.py      # about a minute; writes bench_step.json and .md beside it
The ratio is what counts: absolute times depend on the machine and on its load, which is recorded.
"""

import json
import os
import statistics
import time
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from lowlabel_jax import start
from lowlabel_jax.configuration import check, load
from lowlabel_jax.core import files, parallel
from lowlabel_jax.data import feed
from lowlabel_jax.runs.directory import environment
from lowlabel_jax.runs.train import prepare
from lowlabel_jax.training import build

HERE = Path(__file__).parent
ROUNDS, STEPS = 7, 60


class Naive(nn.Module):
    """The digits network as one writes it with Flax's own layers."""

    @nn.compact
    def __call__(self, x, train):
        for channels, pooled in ((32, False), (32, True), (64, False), (64, True)):
            x = nn.Conv(channels, (3, 3), use_bias=False)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.95)(x))
            x = nn.max_pool(x, (2, 2), (2, 2)) if pooled else x
        return nn.Dense(10)(x.reshape(len(x), -1))


def ours(objective):
    """A function that takes STEPS steps of our training step."""
    config = load.load(
        str(HERE.parent / "configs" / "digits_fixmatch.py"),
        ["--config.devices=1", f"--config.objective.name={objective}"],
    )
    check.check(config)
    plan = prepare(config, Path("/nonexistent"))
    phase = build.phase(plan.config, 0)
    made = feed.open_feed(plan.source, plan.split, phase.batch_sizes, 0)
    resident = parallel.replicate(made.resident, 1)
    live = {"state": parallel.replicate(build.new_state(plan.config, phase), 1)}

    def steps():
        for step in range(STEPS):
            batch = parallel.shard(made.batch(step), 1)
            live["state"], metrics = phase.step(live["state"], batch, resident)
        jax.block_until_ready(metrics)

    return steps


def naive():
    """The same arithmetic without augmentation: FixMatch on 10 + 30 + 30 images, plain jit."""
    model, tx, rng = Naive(), optax.sgd(0.1, 0.9, nesterov=True), np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(70, 8, 8, 1)), jnp.float32)
    label = jnp.arange(10)
    variables = model.init(jax.random.key(0), x, train=True)
    live = {"s": (variables["params"], variables["batch_stats"], tx.init(variables["params"]))}

    @jax.jit
    def step(s):
        params, stats, memory = s

        def loss(params):
            logits, new = model.apply(
                {"params": params, "batch_stats": stats}, x, train=True, mutable=["batch_stats"]
            )
            known = optax.softmax_cross_entropy_with_integer_labels(logits[:10], label).mean()
            probs = jax.lax.stop_gradient(jax.nn.softmax(logits[10:40]))
            taught = optax.softmax_cross_entropy_with_integer_labels(logits[40:], probs.argmax(-1))
            return known + (taught * (probs.max(-1) > 0.8)).mean(), new["batch_stats"]

        grads, stats = jax.grad(loss, has_aux=True)(params)
        updates, memory = tx.update(grads, memory, params)
        return optax.apply_updates(params, updates), stats, memory

    def steps():
        for _ in range(STEPS):
            live["s"] = step(live["s"])
        jax.block_until_ready(live["s"])

    return steps


def interleaved(cases):
    """{name: milliseconds a step, one number a round}, the cases in turn in every round."""
    for steps in cases.values():
        steps()
    found = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, steps in cases.items():
            began = time.perf_counter()
            steps()
            found[name].append(1000 * (time.perf_counter() - began) / STEPS)
    return found


def main():
    """Measure, write, show."""
    start.jax_ready()
    cases = {
        "fixmatch, ours, with augmentation": ours("fixmatch"),
        "supervised, ours, with augmentation": ours("supervised"),
        "fixmatch, naive Flax, no augmentation": naive(),
    }
    found = interleaved(cases)
    medians = {name: statistics.median(times) for name, times in found.items()}
    report = {
        "milliseconds_per_step": found,
        "median": medians,
        "load": os.getloadavg(),
        "rounds": ROUNDS,
        "steps": STEPS,
        "date": files.now(),
        "environment": environment({"devices": 1}),
    }
    files.write_json(HERE / "bench_step.json", report)
    lines = ["| step | ms (median) | min to max |", "| --- | --- | --- |"]
    lines += [
        f"| {name} | {medians[name]:.2f} | {min(t):.2f} to {max(t):.2f} |"
        for name, t in found.items()
    ]
    table = "\n".join(lines) + "\n"
    files.write_text(HERE / "bench_step.md", table)
    print(table + json.dumps(report["environment"], indent=2))


if __name__ == "__main__":
    main()
