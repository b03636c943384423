"""Batches made ahead of time by threads, and still a pure function of the step."""

from collections.abc import Callable
from typing import Any

from lowlabel_jax.images.inspection import cores

STEPS = 2**31  # more than any run has: the number of a dataset that has no end


class Ahead:
    """`batch(step)` that has begun with the steps to follow while this one is at work.

    Asked for any other step than the next, it begins anew there: what it returns depends on the
    step alone, so a resumed run needs no iterator to be saved. At most two batches a thread are
    held in memory.
    """

    def __init__(self, make: Callable[[int], Any], threads: int = 0) -> None:
        self.make, self.threads = make, threads or cores()
        self.next: int = -1
        self.iterator: Any = None

    def __call__(self, step: int) -> Any:
        if step != self.next or self.iterator is None:
            self.close()
            self.iterator = self._from(step)
        self.next = step + 1
        return next(self.iterator)

    def close(self) -> None:
        """Let go of the threads."""
        if self.iterator is not None:
            self.iterator.close()
            self.iterator = None

    def _from(self, step: int) -> Any:
        """An iterator over the batches from this step on."""
        import grain  # a second to import: only a streamed run pays

        steps = grain.MapDataset.range(step, STEPS).map(self.make)
        options = grain.ReadOptions(self.threads, prefetch_buffer_size=2 * self.threads)
        return iter(steps.to_iter_dataset(options))
