"""The workloads in PyTorch, timed by the scripts here from their own process.

python -m benchmarks.torch_side is what `--torch PYTHON` starts; it reads questions from stdin.
"""

import functools
import json
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import interleaved
from benchmarks.workloads import CLASSES, Workload

FORMS = ("eager", "channels last", "channels last, bfloat16")
MOBILE = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5,
          (1024, 2), (1024, 1))  # fmt: skip


def conv(i: int, o: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias, padded to keep the size at stride 1."""
    return nn.Conv2d(i, o, size, stride, size // 2, groups=groups, bias=False)


def small_cnn(channels=(32, 64, 128)) -> nn.Module:
    """Convolution, BatchNorm, ReLU, maximum, for each of `channels`."""
    layers, i = [], 3
    for o in channels:
        layers += [conv(i, o), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2)]
        i = o
    return nn.Sequential(*layers, *head(i))


def mobilenet_v1(stem_stride=2, width=1.0) -> nn.Module:
    """MobileNet v1."""

    def normed(i, o, *how):
        return conv(i, o, *how), nn.BatchNorm2d(o), nn.ReLU6()

    i = int(32 * width)
    layers = [*normed(3, i, 3, stem_stride)]
    for channels, stride in MOBILE:
        o = int(channels * width)
        layers += [*normed(i, i, 3, stride, i), *normed(i, o, 1)]
        i = o
    return nn.Sequential(*layers, *head(i))


def wide_resnet(depth=28, width=2) -> nn.Module:
    """WRN-depth-width with the leaky ReLU of FixMatch."""
    layers, i = [conv(3, 16)], 16
    for group in range(3):
        for block in range((depth - 4) // 6):
            o, stride = 16 * width * 2**group, 2 if group and not block else 1
            layers.append(WideBlock(i, o, stride, group == block == 0))
            i = o
    return nn.Sequential(*layers, nn.BatchNorm2d(i), nn.LeakyReLU(0.1), *head(i))


class WideBlock(nn.Module):
    """Normalise, activate, convolve, twice; and a shortcut."""

    def __init__(self, i, o, stride, first):
        super().__init__()
        self.norm_0, self.norm_1 = nn.BatchNorm2d(i), nn.BatchNorm2d(o)
        self.conv_0, self.conv_1 = conv(i, o, 3, stride), conv(o, o)
        self.short = conv(i, o, 1, stride) if i != o else nn.Identity()
        self.first = first

    def forward(self, x):
        y = F.leaky_relu(self.norm_0(x), 0.1)
        short = self.short(y if self.first else x)
        return short + self.conv_1(F.leaky_relu(self.norm_1(self.conv_0(y)), 0.1))


def resnet(depth=18, width=64) -> nn.Module:
    """ResNet-18 as torchvision has it."""
    layers, i = (
        [conv(3, width, 7, 2), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)],
        width,
    )
    for group in range(4):
        for block in range(2):
            o, stride = width * 2**group, 2 if group and not block else 1
            layers.append(Block(i, o, stride))
            i = o
    return nn.Sequential(*layers, *head(i))


class Block(nn.Module):
    """Two convolutions, and what came in."""

    def __init__(self, i, o, stride):
        super().__init__()
        self.main = nn.Sequential(conv(i, o, 3, stride), nn.BatchNorm2d(o), nn.ReLU(),
                                  conv(o, o), nn.BatchNorm2d(o))  # fmt: skip
        projected = nn.Sequential(conv(i, o, 1, stride), nn.BatchNorm2d(o))
        self.short = projected if stride > 1 else nn.Identity()

    def forward(self, x):
        return F.relu(self.short(x) + self.main(x))


def head(channels: int) -> tuple[nn.Module, ...]:
    """The mean over pixels, then the classes."""
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)


def network(work: Workload, form: str, device: str = "cpu") -> nn.Module:
    """The network of a workload, laid out as the form says."""
    kinds = {"small_cnn": small_cnn, "wide_resnet": wide_resnet, "resnet": resnet,
             "mobilenet_v1": mobilenet_v1}  # fmt: skip
    model = kinds[work.network](**work.options)
    return model.to(device, memory_format=layout(form)).train(work.train)


def layout(form: str) -> torch.memory_format:
    """Where channels lie in memory."""
    return torch.channels_last if form.startswith("channels last") else torch.contiguous_format


def step_of(
    work: Workload, model: nn.Module, form: str, device: str = "cpu"
) -> Callable[..., None]:
    """step(images [n, 3, h, w], labels [b]): supervised, or FixMatch and its average of weights."""
    tx = torch.optim.SGD(model.parameters(), 0.01, 0.9, weight_decay=5e-4, nesterov=True)
    params = list(model.parameters())
    average = [p.detach().clone() for p in params]
    half, b = "bfloat16" in form, work.labelled

    def logits(images: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=half):
            return model(images).float()

    def forward(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if not work.split:
            return logits(images).split([b, b * work.mu, b * work.mu])
        labelled, weak, strong = images.split([b, b * work.mu, b * work.mu])
        with torch.no_grad():
            guess = logits(weak)
        known, taught = logits(torch.cat([labelled, strong])).split([b, b * work.mu])
        return known, guess, taught

    def loss(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if not work.mu:
            return F.cross_entropy(logits(images), labels)
        known, weak, strong = forward(images)
        sure, guess = weak.detach().softmax(-1).max(-1)
        taught = F.cross_entropy(strong, guess, reduction="none") * (sure > 0.95)
        return F.cross_entropy(known, labels) + taught.mean()

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        tx.zero_grad(set_to_none=True)
        loss(images, labels).backward()
        tx.step()
        if work.mu:
            with torch.no_grad():
                torch._foreach_lerp_(average, params, 0.001)

    return step


def prepared(work: Workload, form: str) -> Callable[[], Any]:
    """A step, or a look at a batch, on the CPU."""
    model = network(work, form)
    images = torch.rand(work.images, 3, work.side, work.side).mul(2).sub(1)
    images = images.contiguous(memory_format=layout(form))
    if work.train:
        labels, step = torch.arange(work.labelled) % CLASSES, step_of(work, model, form)
        return lambda: step(images, labels)

    @torch.inference_mode()
    def look() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled="bfloat16" in form):
            return model(images)

    return look


def multiplied(form: str, size: int) -> Callable[[], Any]:
    """A product of two square matrices, for the roof."""
    kind = torch.bfloat16 if "bfloat16" in form else torch.float32
    a, b = torch.rand(2, size, size).to(kind)
    return lambda: a @ b


@functools.lru_cache(maxsize=4)  # the forms of one workload take turns
def kept(work: str, form: str) -> Callable[[], Any]:
    """What a question asks for, made once."""
    if work.isdecimal():
        return multiplied(form, int(work))
    fields = json.loads(work)
    return prepared(Workload(*fields), form)


def answer(work: str, form: str, turns: int) -> Any:
    """(CPU, wall) seconds a call of a workload (JSON) or a product of matrices (its size)."""
    if not work:
        return torch.__version__
    return interleaved.clock(kept(work, form))(turns)


if __name__ == "__main__":
    torch.set_num_threads(1)
    interleaved.serve(answer)
