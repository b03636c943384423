"""The networks as one writes them with Flax's own layers, and a training step with optax."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from benchmarks.workloads import CLASSES, Workload

MOBILE = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5,
          (1024, 2), (1024, 1))  # fmt: skip


def conv(channels: int, size: int = 3, stride: int = 1, **how: Any) -> nn.Conv:
    """A convolution without bias."""
    return nn.Conv(channels, (size, size), (stride, stride), use_bias=False, **how)


def norm(train: bool) -> nn.BatchNorm:
    """BatchNorm."""
    return nn.BatchNorm(use_running_average=not train, momentum=0.9)


class SmallCNN(nn.Module):
    """Convolution, BatchNorm, ReLU, maximum, for each of `channels`."""

    channels: tuple[int, ...] = (32, 64, 128)

    @nn.compact
    def __call__(self, x, train):
        for channels in self.channels:
            x = nn.max_pool(nn.relu(norm(train)(conv(channels)(x))), (2, 2), (2, 2))
        return nn.Dense(CLASSES)(x.mean((1, 2)))


class WideResNet(nn.Module):
    """WRN-depth-width with the leaky ReLU of FixMatch."""

    depth: int = 28
    width: int = 2

    @nn.compact
    def __call__(self, x, train):
        def active(x):
            return nn.leaky_relu(norm(train)(x), 0.1)

        x = conv(16)(x)
        for group in range(3):
            for block in range((self.depth - 4) // 6):
                channels, stride = 16 * self.width * 2**group, 2 if group and not block else 1
                y = active(x)
                short = y if group == block == 0 else x
                y = conv(channels)(active(conv(channels, 3, stride)(y)))
                if x.shape[-1] != channels:
                    short = conv(channels, 1, stride)(short)
                x = short + y
        return nn.Dense(CLASSES)(active(x).mean((1, 2)))


class ResNet18(nn.Module):
    """ResNet-18 as torchvision has it."""

    width: int = 64

    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(norm(train)(conv(self.width, 7, 2, padding=3)(x)))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for group in range(4):
            for block in range(2):
                channels, stride = self.width * 2**group, 2 if group and not block else 1
                y = nn.relu(norm(train)(conv(channels, 3, stride, padding=1)(x)))
                y = norm(train)(conv(channels, padding=1)(y))
                if stride > 1:
                    x = norm(train)(conv(channels, 1, stride)(x))
                x = nn.relu(x + y)
        return nn.Dense(CLASSES)(x.mean((1, 2)))


class MobileNetV1(nn.Module):
    """MobileNet v1."""

    stem_stride: int = 2
    width: float = 1.0

    @nn.compact
    def __call__(self, x, train):
        x = nn.relu6(norm(train)(conv(int(32 * self.width), 3, self.stem_stride)(x)))
        for channels, stride in MOBILE:
            c = x.shape[-1]
            x = nn.relu6(norm(train)(conv(c, 3, stride, feature_group_count=c)(x)))
            x = nn.relu6(norm(train)(conv(int(channels * self.width), 1)(x)))
        return nn.Dense(CLASSES)(x.mean((1, 2)))


def network(work: Workload) -> nn.Module:
    """The network of a workload."""
    kinds = {"small_cnn": SmallCNN, "wide_resnet": WideResNet, "resnet": ResNet18,
             "mobilenet_v1": MobileNetV1}  # fmt: skip
    known = {name: tuple(v) if isinstance(v, list) else v for name, v in work.options.items()}
    if work.network == "resnet":
        del known["depth"]  # it is 18
    return kinds[work.network](**known)


def training_step(work: Workload, model: nn.Module, tx: optax.GradientTransformation) -> Any:
    """step(live, images [n, h, w, 3], labels [b]) -> live: supervised, or FixMatch with its EMA."""
    b, m = work.labelled, work.labelled * work.mu

    def network(params, stats, images):
        made = {"params": params, "batch_stats": stats}
        logits, new = model.apply(made, images, True, mutable=["batch_stats"])
        return logits, new["batch_stats"]

    def forward(params, stats, images):
        if not work.split:
            return network(params, stats, images)
        guess, _ = network(jax.lax.stop_gradient(params), stats, images[b : b + m])
        logits, stats = network(params, stats, jnp.concatenate([images[:b], images[b + m :]]))
        return jnp.concatenate([logits[:b], guess, logits[b:]]), stats

    def loss(params, stats, images, labels):
        logits, stats = forward(params, stats, images)
        known = optax.softmax_cross_entropy_with_integer_labels(logits[:b], labels).mean()
        if work.mu:
            weak, strong = jnp.split(logits[b:], 2)
            probs = jax.nn.softmax(jax.lax.stop_gradient(weak))
            taught = optax.softmax_cross_entropy_with_integer_labels(strong, probs.argmax(-1))
            known += (taught * (probs.max(-1) > 0.95)).mean()
        return known, stats

    def step(live, images, labels):
        params, stats, memory, average = live
        grads, stats = jax.grad(loss, has_aux=True)(params, stats, images, labels)
        updates, memory = tx.update(grads, memory, params)
        params = optax.apply_updates(params, updates)
        if work.mu:
            average = optax.incremental_update(params, average, 0.001)
        return params, stats, memory, average

    return step
