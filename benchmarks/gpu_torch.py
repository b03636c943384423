"""PyTorch's side of gpu.py: the same FixMatch step, channels last, bfloat16 by autocast.

Three ways to come by the images: they are given, augmented, on the GPU (no augmentation at all,
which favours PyTorch); compiled by torch.compile, likewise; and as its ports do it, by worker
processes with Pillow, which have all cores.
"""

import json
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks import gpu, interleaved, torch_side
from benchmarks.workloads import CLASSES, Workload

FORM = "channels last, bfloat16"


class Views(Dataset):
    """A step's images as Pillow augments them: [images, 3, h, w] float32 in [-1, 1] and labels."""

    def __init__(self, work: Workload, steps: int):
        self.work, self.steps = work, steps
        shape = (1000, work.side, work.side, 3)
        self.images = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        from benchmarks.pillow_side import normalised, strong, weak

        rng, work = random.Random(number), self.work
        many = work.labelled * work.mu
        shown = [self.images[rng.randrange(1000)] for _ in range(work.labelled + many)]
        made = [normalised(weak(rng, image)) for image in shown]
        made += [strong(rng, image) for image in shown[work.labelled :]]
        images = torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2)
        return images, torch.arange(work.labelled) % CLASSES


def seconds_of(take: Callable[[int], None], at_least: float, rounds: int) -> float:
    """Wall seconds a step of take(steps): the rounds' median."""
    take(3)
    began = time.perf_counter()
    take(1)
    steps = max(1, int(at_least / (time.perf_counter() - began)))
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        take(steps)
        found.append((time.perf_counter() - began) / steps)
    return statistics.median(found)


def answer(said: str) -> dict[str, Any]:
    """{"version", "seconds": {how: a step}, "failed": {how: why}}; said: gpu.Size as JSON."""
    size = gpu.Size(*json.loads(said))
    work = Workload("wide_resnet", gpu.network(size), 32, size.labelled, size.mu)
    found, failed = {}, {}
    for name, made in ways(work, kind()).items():
        try:
            found[name] = seconds_of(made(), size.seconds, size.rounds)
        except Exception as error:  # no compiler, no shared memory: the other rows are worth having
            failed[name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return {"version": torch.__version__, "seconds": found, "failed": failed}


def ways(work: Workload, device: str) -> dict[str, Callable[[], Callable[[int], None]]]:
    """{how the images come and the network runs: what makes take(steps)}."""
    workers, split = os.cpu_count() or 1, work._replace(split=True)
    compiled = {
        "bfloat16, images given, torch.compile": lambda: given(work, device, True),
        "bfloat16, images given, torch.compile, split": lambda: given(split, device, True),
    }
    return {
        "bfloat16, images given": lambda: given(work, device, False),
        "bfloat16, images given, split": lambda: given(split, device, False),
        **(compiled if device == "cuda" else {}),
        f"bfloat16, {workers} Pillow workers": lambda: fed(work, device, workers),
    }


def kind() -> str:
    """Where PyTorch works."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def given(work: Workload, device: str, compiled: bool) -> Callable[[int], None]:
    """take(steps) on images that lie on the device."""
    shape = (work.images, 3, work.side, work.side)
    images = torch.rand(shape, device=device).mul(2).sub(1)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(work.labelled, device=device) % CLASSES
    step = stepping(work, device, compiled)

    def take(steps: int) -> None:
        for _ in range(steps):
            step(images, labels)
        wait(device)

    return take


def fed(work: Workload, device: str, workers: int) -> Callable[[int], None]:
    """take(steps) on images that worker processes make."""
    loader = DataLoader(Views(work, 10**6), batch_size=None, num_workers=workers,
                        prefetch_factor=4, pin_memory=device == "cuda")  # fmt: skip
    step, made = stepping(work, device, False), iter(loader)

    def take(steps: int) -> None:
        for images, labels in some(made, steps):
            images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
            step(images, labels.to(device, non_blocking=True))
        wait(device)

    return take


def some(made: Iterator, steps: int) -> Iterator:
    """The next so many."""
    for _ in range(steps):
        yield next(made)


def stepping(work: Workload, device: str, compiled: bool) -> Callable[..., None]:
    """The step of a fresh network."""
    torch.backends.cudnn.benchmark = True
    model = torch_side.network(work, FORM, device)
    return torch_side.step_of(work, torch.compile(model) if compiled else model, FORM, device)


def wait(device: str) -> None:
    """Until the GPU is done."""
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    interleaved.serve(answer)
