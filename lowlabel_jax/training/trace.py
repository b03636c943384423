"""`--profile`: what device and host do in some steps, for TensorBoard and Perfetto."""

from pathlib import Path
from typing import Any

import jax

from lowlabel_jax.core import log


class Trace:
    """A trace of some steps, from the second call of the device on: the first one compiles."""

    def __init__(self, folder: Path, steps: int):
        self.folder, self.steps = folder, steps
        self.first: int | None = None  # steps done when it began
        self.known, self.over = 0, False  # steps that are done for certain; whether it is written

    def step(self, done: int) -> None:
        """So many steps of the phase are done, those of the last call perhaps still under way."""
        if self.over:
            return
        if self.first is None:
            jax.profiler.start_trace(self.folder)
            self.first = done
        elif self.known - self.first >= self.steps:
            self.write()
        self.known = done

    def write(self) -> None:
        """End the trace, and say where it lies and what opens it."""
        jax.profiler.stop_trace()
        self.over = True
        log.say(
            f"profile of {self.known - (self.first or 0)} steps in {self.folder}: "
            f"`tensorboard --logdir {self.folder}` (with the package xprof), or open its "
            "*.trace.json.gz at https://ui.perfetto.dev"
        )

    def __enter__(self) -> "Trace":
        return self

    def __exit__(self, *_: Any) -> None:
        if self.first is None:
            log.warn("no profile: it begins with the second call, and there was none.")
        elif not self.over:
            self.write()
