"""Training steps, ours beside PyTorch's and naive Flax's, in turn in every round of one run.

python -m benchmarks.bench_train [--torch PYTHON] [--quick] [--only TEXT]
One core, one thread, float32 unless said; images are given, so no augmentation. PyTorch runs in a
process of its own, which takes a turn when it is told to and rests meanwhile. Ours is the step that
runs take: metrics, weight decay, averaged weights and all.
"""

import json

from benchmarks import interleaved, roofline
from benchmarks.interleaved import Options, goal, median, ratio
from benchmarks.workloads import INFERENCE, TRAINING, toy

JOINT, SPLIT = [name for name in TRAINING if name.startswith("WRN")]
GOALS = {  # (over PyTorch eager, over PyTorch channels last, over naive Flax)
    "small CNN, 32 px, B 64": (0.95, 0.65, 1.5),
    JOINT: (0.95, 0.75, 1.1),
    "MobileNet v1, 32 px, stem stride 1, B 8": (1.1, 0.9, 4.0),
    "ResNet-18, 128 px, B 8": (0.8, 0.75, 1.2),
}
AT_INFERENCE = {
    "small CNN, 32 px, B 64": (1.0, 0.9),
    "ResNet-18, 128 px, B 8": (1.0, 0.9),
}
FORMS = {
    "PyTorch eager": "eager",
    "PyTorch channels last": "channels last",
    "PyTorch channels last, bfloat16": "channels last, bfloat16",
}
LOST = "PyTorch channels last, bfloat16"


def measured(options: Options, training: bool = True) -> dict:
    """Times of every workload, the roof, and how the ratios stand to the goals."""
    works = {n: w for n, w in (TRAINING if training else INFERENCE).items() if options.wants(n)}
    works = {name: toy(work) for name, work in works.items()} if options.quick else works
    with interleaved.peer(options.torch, "torch_side") as ask:
        roof = roofline.measured(options, ask)
        found = {name: case(work, options, ask) for name, work in works.items()}
        version = ask("", "", 0) if ask else ""
    report = {"roof": roof, "torch": version, "cases": found}
    return report | {"goals": goals(found, GOALS if training else AT_INFERENCE)}


def case(work, options: Options, ask) -> dict:
    """{"images", "flops", "bytes", "seconds": {who: a pair a round}} of one workload."""
    from benchmarks import flax_side  # JAX, which must find the core chosen

    made = {who: flax_side.ready(work, who) for who in ("ours", "naive Flax")}
    clocks = {who: interleaved.clock(ready.run) for who, ready in made.items()}
    if ask:
        spec = json.dumps(work)
        for who, form in FORMS.items():
            clocks[who] = lambda turns, form=form: ask(spec, form, turns)
    flops = flax_side.flops(work)
    seconds = interleaved.rounds(clocks, options)
    return {"images": work.images, "flops": flops, "bytes": made["ours"].bytes, "seconds": seconds}


def goals(found: dict, wanted: dict) -> list[dict]:
    """Every ratio with its goal."""
    rows = []
    for name, limits in wanted.items():
        times = found.get(name, {"seconds": {}})["seconds"]
        for who, limit in zip((*list(FORMS)[:2], "naive Flax"), limits, strict=False):
            if who in times:
                value = ratio(times[who], times["ours"])
                rows.append(goal(name, f"times {who}", value, at_least=limit))
        if LOST in times:
            rows.append(goal(name, f"times {LOST}", ratio(times[LOST], times["ours"])))
    if {JOINT, SPLIT} <= set(found):
        joint, split = (found[name]["seconds"]["ours"] for name in (JOINT, SPLIT))
        rows.append(goal(SPLIT, "times our joint step", ratio(joint, split), at_least=1.3))
    return rows


def table(report: dict) -> str:
    """Images a second of CPU time; ours as a multiple of the others; how near to the roof."""
    rows, roof = [], report["roof"]
    for name, of in report["cases"].items():
        ours = of["seconds"]["ours"]
        for who, times in of["seconds"].items():
            cpu = median(times)
            rate, best = of["flops"] / cpu / 1e9, roof["JAX float32"]
            spread = f"{min(times)[0] * 1e3:.1f} to {max(times)[0] * 1e3:.1f}"
            rows.append([name, who, cpu * 1e3, spread, median(times, wall=True) * 1e3,
                         of["images"] / cpu, f"{ratio(times, ours):.2f}x", rate,
                         f"{rate / best:.0%}"])  # fmt: skip
    header = ["case", "who", "ms CPU (median)", "min to max", "ms wall", "images/s", "ours is",
              "GFLOP/s", "of the float32 roof"]  # fmt: skip
    return interleaved.markdown(header, rows) + roofline.written(roof) + memory(report)


def memory(report: dict) -> str:
    """What of each step could be the memory's doing."""
    said = []
    for name, of in report["cases"].items():
        moving = of["bytes"] / report["roof"]["copy"] / 1e9
        share = moving / median(of["seconds"]["ours"])
        said.append([name, of["flops"] / 1e9, of["bytes"] / 1e9, f"{share:.0%}"])
    header = ["case", "GFLOP", "GB that our kernels read and write",
              "time to move them at the speed of copies, of our step"]  # fmt: skip
    return "\n" + interleaved.markdown(header, said)


if __name__ == "__main__":
    interleaved.script("bench_train", __doc__ or "", measured, table)
