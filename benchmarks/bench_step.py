"""The digits' training step on one core: ours with augmentation, naive Flax's without, in turn.

python -m benchmarks.bench_step [--quick]
"""

from benchmarks import interleaved
from benchmarks.interleaved import Options, goal, median, ratio

CONFIG, DIGITS, STEPS = "digits_fixmatch.py", (8, 8, 1), 20
NAIVE = "FixMatch, naive Flax, no augmentation"


def naive():
    """A function that takes STEPS steps of FixMatch on 10 + 30 + 30 given images, plain jit."""
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    import optax

    class Naive(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            for channels, pooled in ((32, False), (32, True), (64, False), (64, True)):
                x = nn.Conv(channels, (3, 3), use_bias=False)(x)
                x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.95)(x))
                x = nn.max_pool(x, (2, 2), (2, 2)) if pooled else x
            return nn.Dense(10)(x.reshape(len(x), -1))

    model, tx = Naive(), optax.sgd(0.1, 0.9, nesterov=True)
    x, label = jax.random.normal(jax.random.key(0), (70, *DIGITS)), jnp.arange(10)
    variables = model.init(jax.random.key(0), x, train=True)
    live = [variables["params"], variables["batch_stats"], tx.init(variables["params"])]

    @jax.jit
    def step(params, stats, memory):
        def loss(params):
            made = {"params": params, "batch_stats": stats}
            logits, new = model.apply(made, x, train=True, mutable=["batch_stats"])
            known = optax.softmax_cross_entropy_with_integer_labels(logits[:10], label).mean()
            probs = jax.lax.stop_gradient(jax.nn.softmax(logits[10:40]))
            taught = optax.softmax_cross_entropy_with_integer_labels(logits[40:], probs.argmax(-1))
            return known + (taught * (probs.max(-1) > 0.8)).mean(), new["batch_stats"]

        grads, moved = jax.grad(loss, has_aux=True)(params)
        updates, memory = tx.update(grads, memory, params)
        return optax.apply_updates(params, updates), moved, memory

    def steps():
        for _ in range(STEPS):
            live[:] = step(*live)
        jax.block_until_ready(live)

    return steps


def measured(options: Options) -> dict:
    """Seconds that STEPS steps take, by row."""
    from benchmarks.real_step import Run

    clocks = {}
    for objective in ("fixmatch", "supervised"):
        run = Run(CONFIG, f"objective.name={objective}", image=DIGITS)
        name = f"{objective}, ours, with augmentation"
        clocks[name] = interleaved.clock(lambda run=run: run.take(STEPS))
    clocks[NAIVE] = interleaved.clock(naive())
    seconds = interleaved.rounds(clocks, options)
    ours = seconds["fixmatch, ours, with augmentation"]
    return {"seconds": seconds, "steps": STEPS,
            "goals": [goal("digits FixMatch step, augmentation included",
                           "times naive Flax without", ratio(seconds[NAIVE], ours))]}  # fmt: skip


def table(report: dict) -> str:
    """Milliseconds a step."""
    rows = []
    for name, times in report["seconds"].items():
        low, high = (1e3 * pick(times)[0] / STEPS for pick in (min, max))
        rows.append([name, 1e3 * median(times) / STEPS, f"{low:.2f} to {high:.2f}"])
    return interleaved.markdown(["step", "ms of CPU time (median)", "min to max"], rows)


if __name__ == "__main__":
    interleaved.script("bench_step", __doc__ or "", measured, table)
