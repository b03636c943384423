"""FixMatch on one GPU: its step, its pieces, and PyTorch on the same GPU.

python -m benchmarks.gpu [--torch PYTHON] [--pieces a,b] [--tiny]     # writes gpu.json and gpu.md
It needs jax with CUDA, flax, optax and ml-collections; PyTorch and Pillow for the peers, from the
same Python or another one. --tiny runs every piece at toy size on whatever JAX finds, to see that
it works: it writes nothing, and its times mean nothing. Without a GPU nothing is measured. What is
measured is written piece by piece; with --pieces the others of the file stay as they were.
"""

import argparse
import functools
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import interleaved
from benchmarks.workloads import Workload

CONFIG = "cifar10_fixmatch.py:labels=40"
PEAKS = {  # part of a device's name -> (dense bfloat16 TFLOP/s, memory TB/s), by its maker's sheet
    "H200": (989.0, 4.8),
    "H100": (989.0, 3.35),
    "A100": (312.0, 2.0),
    "L4": (121.0, 0.3),
    "T4": (65.0, 0.32),
}
GOAL, STEPS = 100.0, 2**20  # steps a second (the fastest published claim is 48.5); a whole run's
FIXMATCH = "FixMatch WRN-28-2, B 64 mu 7, one GPU"


class Size(NamedTuple):
    """How large everything is."""

    labelled: int
    mu: int
    model: tuple[str, ...]
    depthwise: tuple[int, int, int]  # images, side, channels
    counts: tuple[int, ...]  # steps a call
    seconds: float  # that a turn takes at least
    rounds: int


WHOLE = Size(64, 7, (), (64, 16, 256), (1, 10, 50), 2.0, 5)
TINY = Size(2, 1, ("model.depth=10", "model.width=1"), (2, 8, 8), (1, 2), 0.0, 1)


def timed(run: Callable[[int], Any], size: Size) -> float:
    """Wall seconds a call of run(calls), which returns when they are done: the rounds' median."""
    run(1)
    began = time.perf_counter()
    run(1)
    calls = max(1, int(size.seconds / (time.perf_counter() - began)))
    found = []
    for _ in range(size.rounds):
        began = time.perf_counter()
        run(calls)
        found.append((time.perf_counter() - began) / calls)
    return statistics.median(found)


def overrides(size: Size, *more: str) -> tuple[str, ...]:
    """FixMatch at this size."""
    return (f"batch.labelled={size.labelled}", f"batch.mu={size.mu}", *size.model, *more)


def step(size: Size, split: bool, dtype: str, counts: tuple[int, ...]) -> dict[str, dict]:
    """The step of runs, augmentation included, so many in a call: seconds, FLOPs, bytes.

    FLOPs are what the network's products take; bytes are of the compiled program.
    """
    from benchmarks.flax_side import moved
    from benchmarks.real_step import Run

    flops, found = network_flops(size, split), {}
    more = (f"objective.split={split}", f"model.dtype={dtype}", f"steps_per_call={max(counts)}")
    run = Run(CONFIG, *overrides(size, *more))
    for count in counts:
        seconds = timed(lambda calls, n=count: run.take(calls * n, n), size) / count
        kind, calls = "split" if split else "joint", "steps" if count > 1 else "step"
        name = f"{kind}, {dtype}, {count} {calls} a call"
        found[name] = {"seconds": seconds, "flops": flops}
    bytes_moved = moved(run.compiled())
    planned = run.compiled().memory_analysis().temp_size_in_bytes
    return {
        name: of | {"bytes": bytes_moved, "working bytes": planned} for name, of in found.items()
    }


def network_flops(size: Size, split: bool) -> float:
    """FLOPs of the network in a step, forward and back."""
    from benchmarks.flax_side import flops

    return flops(Workload("wide_resnet", network(size), 32, *size[:2], split))


def network(size: Size) -> dict[str, int]:
    """The Wide ResNet's options."""
    said = dict(one.removeprefix("model.").split("=") for one in size.model)
    return {"depth": int(said.get("depth", 28)), "width": int(said.get("width", 2))}


def depthwise(size: Size) -> dict[str, float]:
    """Seconds of a depthwise 3x3 forward and back: XLA's own, and ours as it is on the CPU."""
    import jax

    from lowlabel_jax.ops.depthwise import depthwise_conv2d

    b, side, c = size.depthwise

    def loss(impl, x, kernel):
        return (depthwise_conv2d(x, kernel, impl=impl) ** 2).sum()

    found = {}
    for dtype in ("float32", "bfloat16"):
        given = jax.numpy.ones((b, side, side, c), dtype), jax.numpy.ones((3, 3, 1, c), dtype)
        for who, impl in (("XLA's own", "native"), ("ours", "cpu")):
            both = jax.jit(jax.grad(functools.partial(loss, impl), (0, 1)))
            found[f"{who}, {dtype}"] = timed(repeated(functools.partial(both, *given)), size)
    return found


def repeated(once: Callable[[], Any]) -> Callable[[int], Any]:
    """run(calls): they are all under way before the last one is waited for."""
    import jax

    def run(calls: int) -> None:
        for _ in range(calls - 1):
            once()
        jax.block_until_ready(once())

    return run


def augmenting(size: Size) -> dict[str, float]:
    """Seconds that augmenting a step's unlabelled images takes by itself, weakly and strongly."""
    import jax

    from benchmarks.real_step import noise
    from lowlabel_jax.augment.fixmatch_ra import fixmatch_ra
    from lowlabel_jax.augment.flip_shift import flip_shift
    from lowlabel_jax.augment.recipe import over

    found, many = {}, size.labelled * size.mu
    images = jax.device_put(noise(many, (32, 32, 3)).read("train", np.arange(many)))
    keys = jax.random.split(jax.random.key(0), many)
    recipes = {"weak: flip_shift": flip_shift(), "strong: fixmatch_ra": fixmatch_ra()}
    for name, recipe in recipes.items():
        run = jax.jit(functools.partial(over, recipe))
        found[name] = timed(repeated(functools.partial(run, keys, images)), size)
    return found


def pytorch(size: Size, python: str) -> dict[str, Any]:
    """What gpu_torch says; {} without a Python that has it."""
    import jax

    jax.clear_caches()  # what ours has on the GPU is let go of
    with interleaved.peer(python, "gpu_torch") as ask:
        return ask(json.dumps(size)) if ask else {}


def pieces(size: Size, python: str) -> dict[str, Callable[[], dict]]:
    """{name: what measures it}. Of ours one step a call and the most; once between them."""
    first, *between, most = size.counts
    made: dict[str, Callable[[], dict]] = {
        f"{'split' if split else 'joint'} {dtype}": functools.partial(
            step, size, split, dtype, (first, most)
        )
        for split in (False, True)
        for dtype in ("float32", "bfloat16")
    }
    for count in between:
        made[f"joint {count}"] = functools.partial(step, size, False, "bfloat16", (count,))
    made["depthwise"] = functools.partial(depthwise, size)
    made["augmentation"] = functools.partial(augmenting, size)
    return made | {"PyTorch": functools.partial(pytorch, size, python)}


def measured(size: Size, python: str, wanted: str = "", kept: Callable = print) -> dict[str, Any]:
    """The report, of all pieces or of those `wanted`; `kept` is shown it after each of them."""
    import jax

    device = jax.devices()[0]
    report = {"device": device.device_kind, "platform": device.platform,
              "size": size._asdict(), "pieces": {}}  # fmt: skip
    for name, piece in pieces(size, python).items():
        if not wanted or name in wanted.split(","):
            report["pieces"][name] = piece()
            kept(report)
    return report


def steps(report: dict[str, Any]) -> dict[str, dict]:
    """Our steps, of all pieces."""
    of = [made for name, made in report["pieces"].items() if name.startswith(("joint", "split"))]
    return {name: row for made in of for name, row in made.items()}


def theirs(report: dict[str, Any]) -> dict[str, float]:
    """PyTorch's seconds a step."""
    return report["pieces"].get("PyTorch", {}).get("seconds", {})


def table(report: dict[str, Any]) -> str:
    """Everything as tables."""
    size = Size(**report["size"])
    peak, band = next((v for k, v in PEAKS.items() if k in report["device"]), (0.0, 0.0))
    lines = []
    for name, of in steps(report).items():
        rate, speed = of["flops"] / of["seconds"] / 1e12, of["bytes"] / of["seconds"] / 1e9
        lines.append([f"ours: {name}", 1 / of["seconds"], 1e3 * of["seconds"],
                      STEPS * of["seconds"] / 3600, rate, f"{rate / peak:.1%}" if peak else "",
                      speed, f"{speed / band / 1e3:.0%}" if band else "",
                      of["working bytes"] / 2**30])  # fmt: skip
    for name, seconds in theirs(report).items():
        lines.append([f"PyTorch: {name}", 1 / seconds, 1e3 * seconds, STEPS * seconds / 3600,
                      *[None] * 5])  # fmt: skip
    header = ["FixMatch step", "it/s", "ms", "hours for 2^20", "TFLOP/s",
              "MFU, of the bfloat16 peak", "GB/s as XLA counts", "of the memory's",
              "working memory, GiB"]  # fmt: skip
    title = "WRN-{depth}-{width}, ".format(**network(size))
    title += f"B {size.labelled}, mu {size.mu}, one {report['device']}.\n\n"
    shown = title + interleaved.markdown(header, lines) + "\n"
    return shown + interleaved.markdown(["piece", "ms"], small_pieces(report, size)) + notes(report)


def small_pieces(report: dict[str, Any], size: Size) -> list[list]:
    """Depthwise convolution and augmentation: [what, ms]."""
    (b, side, c), many = size.depthwise, size.labelled * size.mu
    named = {
        f"depthwise 3x3 of {b} x {side} x {side} x {c}, forward and back": "depthwise",
        f"{many} images of 32 x 32": "augmentation",
    }
    return [
        [f"{what}: {who}", 1e3 * seconds]
        for what, piece in named.items()
        for who, seconds in report["pieces"].get(piece, {}).items()
    ]


def notes(report: dict[str, Any]) -> str:
    """What PyTorch could not do here, and what was not measured."""
    lost = report["pieces"].get("PyTorch", {}).get("failed", {})
    said = [f"PyTorch, {name}: not measured ({why})." for name, why in lost.items()]
    if not theirs(report):
        said.append("PyTorch: not measured.")
    return "".join(f"\n{line}\n" for line in said)


def goals(report: dict[str, Any]) -> list[dict[str, Any]]:
    """How the numbers stand: rows of RESULTS.md."""
    rates = {name: 1 / of["seconds"] for name, of in steps(report).items()}
    rows = []
    for kind in ("joint", "split"):
        mine = {name: rate for name, rate in rates.items() if name.startswith(kind)}
        best = max(mine, key=mine.__getitem__, default="")
        if best:
            row = f"{FIXMATCH}: {best}"
            rows.append(interleaved.goal(row, "it/s", mine[best], at_least=GOAL))
    for name, seconds in theirs(report).items():
        kind = "split" if "split" in name else "joint"
        mine = max((rate for ours, rate in rates.items() if ours.startswith(kind)), default=0.0)
        limit = {"at_least": 2.0 if "Pillow" in name else 1.0}
        row = f"{FIXMATCH}: {kind}"
        rows.append(interleaved.goal(row, f"times PyTorch, {name}", mine * seconds, **limit))
    return rows


def main() -> None:
    """Measure where there is a GPU, write, show."""
    here = sys.executable if importlib.util.find_spec("torch") else ""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--torch", default=here, help="a Python that has PyTorch")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, on any device")
    parser.add_argument("--pieces", default="", help=f"of {', '.join(pieces(WHOLE, ''))}: a,b")
    parser.add_argument("--out", default=str(interleaved.HERE), help="folder to write to")
    options = parser.parse_args()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs some, too
    from lowlabel_jax import start

    start.jax_ready()
    import jax

    if jax.default_backend() != "gpu" and not options.tiny:
        sys.exit("JAX finds no GPU here: nothing is measured. --tiny shows whether it would run.")
    size, before = (TINY if options.tiny else WHOLE), os.getloadavg()[0]
    path = Path(options.out, "gpu.json")
    old = json.loads(path.read_text())["pieces"] if options.pieces and path.exists() else {}

    def kept(report: dict[str, Any]) -> None:
        made = {**report, "pieces": {**old, **report["pieces"]}}
        made |= {"goals": goals(made), "rounds": size.rounds, "machine": interleaved.machine(),
                 "torch": made["pieces"].get("PyTorch", {}).get("version"),
                 "load": [before, os.getloadavg()[0]]}  # fmt: skip
        shown = table(made) + interleaved.footer(made)
        print(shown, flush=True)
        if not options.tiny:
            interleaved.write(options.out, "gpu", made, shown)

    measured(size, options.torch, options.pieces, kept)


if __name__ == "__main__":
    main()
