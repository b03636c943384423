"""Times of MobileNet v1, ours, naive Flax's and PyTorch's, in turn in every round of one run.

python benchmarks/bench_mobilenet.py                     # writes bench_mobilenet.json and .md
python benchmarks/bench_mobilenet.py --torch PYTHON      # PYTHON: of an environment with PyTorch

One core, one thread: what counts is the ratio of CPU times within this one run. PyTorch runs in a
process of its own, which takes a turn when it is told to and rests meanwhile.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5,
          (1024, 2), (1024, 1))  # fmt: skip
CASES = {  # (images, side in px, stride of the first convolution, whether it is trained)
    "train 8 x 32 px, stem stride 1": (8, 32, 1, True),
    "train 32 x 32 px, stem stride 1": (32, 32, 1, True),
    "train 8 x 128 px, stem stride 2": (8, 128, 2, True),
    "train 32 x 128 px, stem stride 2": (32, 128, 2, True),
    "infer 32 x 128 px, stem stride 2": (32, 128, 2, False),
    "infer 8 x 224 px, stem stride 2": (8, 224, 2, False),
}
CLASSES, ROUNDS, ENOUGH = 10, 7, 0.5  # seconds a turn takes at least


def timed(run, turns):
    """(CPU, wall) seconds a call, over so many calls."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(turns):
        run()
    return (time.process_time() - cpu) / turns, (time.perf_counter() - wall) / turns


def flax_runs(model, options, batch, side, train):
    """A function that takes one step (SGD with momentum), or looks at a batch once."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from lowlabel_jax.ops.initialise import initialise

    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.uniform(-1, 1, (batch, side, side, 3)).astype("float32"))
    y = jnp.arange(batch) % CLASSES
    variables, tx = initialise(model, (side, side, 3), 0), optax.sgd(0.01, 0.9)
    params, stats = variables["params"], variables["batch_stats"]

    def step(live):
        params, stats, memory = live

        def loss(params):
            given = {"params": params, "batch_stats": stats}
            (logits, _), new = model.apply(given, x, True, mutable=["batch_stats"])
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
            return losses.mean(), new["batch_stats"]

        grads, new = jax.grad(loss, has_aux=True)(params)
        updates, memory = tx.update(grads, memory, params)
        return optax.apply_updates(params, updates), new, memory

    def look(live):
        return model.apply({"params": live[0], "batch_stats": live[1]}, x, False)[0]

    live = jax.device_put((params, stats, tx.init(params)))
    fn = jax.jit(step if train else look, donate_argnums=(0,) if train else ())
    compiled, box = fn.lower(live).compile(compiler_options=options), [live]

    def run():
        done = jax.block_until_ready(compiled(box[0]))
        if train:
            box[0] = done

    return run


def naive(stride):
    """The network as one writes it with Flax's own layers."""
    import flax.linen as nn

    class Naive(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            def normed(x):
                norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-3)
                return nn.relu6(norm(x))

            x = normed(nn.Conv(32, (3, 3), (stride, stride), use_bias=False)(x))
            for channels, step in BLOCKS:
                c, steps = x.shape[-1], (step, step)
                x = nn.Conv(c, (3, 3), steps, feature_group_count=c, use_bias=False)(x)
                x = normed(nn.Conv(channels, (1, 1), use_bias=False)(normed(x)))
            return nn.Dense(CLASSES)(x.mean((1, 2))), {}

    return Naive()


def torch_runs(batch, side, stride, train, channels_last):
    """The same in PyTorch, eager."""
    import torch
    from torch import nn

    def normed(i, o, size, step, groups=1):
        conv = nn.Conv2d(i, o, size, step, size // 2, groups=groups, bias=False)
        return [conv, nn.BatchNorm2d(o, eps=1e-3), nn.ReLU6()]

    layers, c = normed(3, 32, 3, stride), 32
    for channels, step in BLOCKS:
        layers += normed(c, c, 3, step, c) + normed(c, channels, 1, 1)
        c = channels
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, CLASSES)]
    kind = torch.channels_last if channels_last else torch.contiguous_format
    model = nn.Sequential(*layers).to(memory_format=kind).train(train)
    x = torch.rand(batch, 3, side, side).mul(2).sub(1).contiguous(memory_format=kind)
    y = torch.arange(batch) % CLASSES
    tx = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step():
        tx.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(x), y).backward()
        tx.step()

    return step if train else torch.inference_mode()(lambda: model(x))


def serve():
    """PyTorch's side: a line with [case, channels last, turns] in, one with [CPU, wall] out."""
    import torch

    torch.set_num_threads(1)
    made = {}
    print(json.dumps(torch.__version__), flush=True)
    for line in sys.stdin:
        name, channels_last, turns = json.loads(line)
        batch, side, stride, train = CASES[name]
        if (name, channels_last) not in made:
            made.clear()
            run = made[name, channels_last] = torch_runs(batch, side, stride, train, channels_last)
            run()
        print(json.dumps(timed(made[name, channels_last], turns)), flush=True)


@contextlib.contextmanager
def torch_process(python):
    """(PyTorch's version, a function that times turns there), or (None, None) without one."""
    if not python:
        yield None, None
        return
    command = [python, __file__, "--serve"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, bufsize=1) as process:
        version = json.loads(process.stdout.readline())

        def ask(name, channels_last, turns):
            process.stdin.write(json.dumps([name, channels_last, turns]) + "\n")
            return json.loads(process.stdout.readline())

        yield version, ask
        process.stdin.close()


def measured(name, ask):
    """{who: [(CPU, wall) seconds a call, one a round]} of one case, all in turn in every round."""
    from lowlabel_jax.models.mobilenet_v1 import mobilenet_v1
    from lowlabel_jax.ops.compiling import compile_options

    batch, side, stride, train = CASES[name]
    ours = mobilenet_v1(num_classes=CLASSES, stem_stride=stride)
    runs = {
        "ours": flax_runs(ours, compile_options("cpu"), batch, side, train),
        "naive Flax": flax_runs(naive(stride), None, batch, side, train),
    }
    clocks = {who: lambda turns, run=run: timed(run, turns) for who, run in runs.items()}
    if ask:
        clocks["PyTorch"] = lambda turns: ask(name, False, turns)
        clocks["PyTorch, channels last"] = lambda turns: ask(name, True, turns)
    turns = {who: max(1, int(ENOUGH / clock(1)[0])) for who, clock in clocks.items()}
    found = {who: [] for who in clocks}
    for _ in range(ROUNDS):
        for who, clock in clocks.items():
            found[who].append(clock(turns[who]))
    return found


def table(report):
    """Markdown: images a second of CPU time, and ours as a multiple of the others."""
    lines = ["| case | who | ms CPU (median) | min to max | ms wall | images/s | ours is |",
             "| --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for name, found in report["seconds"].items():
        ours = statistics.median(cpu for cpu, _ in found["ours"])
        for who, times in found.items():
            cpus = [1000 * cpu for cpu, _ in times]
            middle, wall = statistics.median(cpus), statistics.median(wall for _, wall in times)
            lines.append(
                f"| {name} | {who} | {middle:.1f} | {min(cpus):.1f} to {max(cpus):.1f} | "
                f"{1000 * wall:.1f} | {1000 * CASES[name][0] / middle:.0f} | "
                f"{middle / 1000 / ours:.2f}x |"
            )
    return "\n".join(lines) + "\n"


def main():
    """Measure, write, show."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--torch", default="", help="a Python that has PyTorch")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve()
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    from lowlabel_jax import start
    from lowlabel_jax.core import files
    from lowlabel_jax.runs.directory import environment

    start.jax_ready()
    with torch_process(options.torch) as (version, ask):
        seconds = {name: measured(name, ask) for name in CASES if options.only in name}
    report = {"seconds": seconds, "load": os.getloadavg(), "rounds": ROUNDS, "date": files.now(),
              "torch": version, "environment": environment({"devices": 1})}  # fmt: skip
    if not options.only:
        files.write_json(HERE / "bench_mobilenet.json", report)
        files.write_text(HERE / "bench_mobilenet.md", table(report))
    print(table(report), report["load"])


if __name__ == "__main__":
    main()
