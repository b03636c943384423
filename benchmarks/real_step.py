"""A run without its directory, on images of noise: its feed, augmentation and step."""

from typing import Any

import jax
import numpy as np

from benchmarks.interleaved import ROOT
from lowlabel_jax.configuration import load, resolve
from lowlabel_jax.core import parallel
from lowlabel_jax.data import feed, source, splits
from lowlabel_jax.training import build

CLASSES = 10


class Run:
    """What training is before its first step, and the loop over its steps."""

    def __init__(self, config: str, *overrides: str, image=(32, 32, 3), images: int = 1000):
        """A file of configs/ and its overrides ("batch.mu=3"), on so many images [h, w, c]."""
        said = [f"--config.{one}" for one in ("devices=1", *overrides)]
        made = load.load(str(ROOT / "configs" / config), said)
        data = noise(images, image)
        split = splits.split_of(data, made.split.to_dict(), resolve.seeds(made)["split"])
        info = splits.info_of(data, split)
        self.config = resolve.resolve(made, info, data.fingerprint)
        self.phase = build.phase(self.config, 0)
        self.devices = parallel.device_count(self.config["devices"])
        order, how = self.config["seeds"]["order"], self.config["feed"]
        self.feed = feed.open_feed(data, split, self.phase.batch_sizes, order, **how)
        self.resident = parallel.replicate(self.feed.resident, self.devices)
        self.state = parallel.replicate(build.new_state(self.config, self.phase), self.devices)
        self.done = 0

    @property
    def images(self) -> int:
        """Images that a step shows the network: FixMatch's unlabelled ones are shown twice."""
        sizes = self.phase.batch_sizes
        return sizes["labelled"] + 2 * sizes.get("unlabelled", 0)

    def batch(self, step: int, count: int = 1) -> Any:
        """[d, b/d, …] of a step, or [d, b/d, count, …] of several, as the training loop does."""
        found = [self.feed.batch(step + i) for i in range(count)]
        whole = jax.tree.map(lambda *x: np.stack(x, 1), *found) if count > 1 else found[0]
        return parallel.shard(whole, self.devices)

    def take(self, steps: int, count: int = 1) -> None:
        """So many steps, `count` in a call; metrics are read one call late, as runs do."""
        pending = None
        for _ in range(steps // count):
            given = self.batch(self.done, count)
            self.state, metrics = self.phase.calls[count](self.state, given, self.resident)
            self.done += count
            jax.device_get(pending)
            pending = metrics
        jax.device_get(pending)

    def compiled(self, count: int = 1) -> Any:
        """The program of a call, which has been made."""
        return self.phase.calls[count].compiled


def noise(images: int, image: tuple[int, int, int]) -> source.Source:
    """uint8 noise of shape [h, w, c] and labels that go round: so many, and ten to test with."""
    rng = np.random.default_rng(0)
    sets = {
        name: (rng.integers(256, size=(n, *image), dtype=np.uint8), np.arange(n) % CLASSES)
        for name, n in (("train", images), ("test", CLASSES))
    }
    return source.from_arrays(map(str, range(CLASSES)), sets)
