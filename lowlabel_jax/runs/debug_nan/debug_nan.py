"""`lowlabel debug-nan RUN`: the step at which a run diverged, once more, and what broke in it.

From the checkpoint before it the steps are repeated as they were, to the bit on the same machine;
the one that goes wrong is then taken apart, operation by operation (first_bad.py).
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from lowlabel_jax.configuration import load
from lowlabel_jax.core import log, parallel
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs import plan as prepared
from lowlabel_jax.runs import teacher
from lowlabel_jax.runs.debug_nan.first_bad import Made, first_bad
from lowlabel_jax.state import TrainState
from lowlabel_jax.training import build, checkpoint, diverged
from lowlabel_jax.training.phases import Progress
from lowlabel_jax.training.step import is_finite

WRAPPED = re.compile(r"\b(vmap|jvp|transpose|jit|rematted_computation)\(([^()]*)\)")


class Taken(NamedTuple):
    """A step about to be taken: what the state is before it, and what it is given."""

    step: int
    state: TrainState
    batch: Any
    resident: Any


def debug_nan(directory: Path) -> int:
    """Print the first operation and layer that are not finite; 0 where they were found, else 1.

    Raises UserError where the run has not diverged, or where its checkpoint is gone.
    """
    captured = capture(directory)
    plan = prepared.prepare(load.load(str(directory / "config.json")), directory)
    phase = build.phase(plan.config, int(captured["phase"]))
    with prepared.feeding(plan, directory, _columns(plan, directory)) as feeder:
        state, began = before(plan, directory, phase, captured)
        bad = repeated(plan, phase, state, feeder(phase, state), began, int(captured["step"]))
        if bad is None:
            log.say(
                f"step {captured['step'] + 1} is finite when it is repeated from step {began}: "
                "its bits are not those of the run (another machine or version?)."
            )
            return 1
        found = first_bad(apart(phase), *bad[1:])
    log.say(page(bad.step, began, found))
    return 0 if found else 1


def capture(directory: Path) -> dict[str, np.ndarray]:
    """What was kept of the step that diverged. Raises UserError where there is nothing."""
    path = directory / diverged.CAPTURE
    if not rundir.holds_run(directory) or not path.exists():
        raise UserError(
            f"{directory} has no {diverged.CAPTURE}: no run has diverged there.",
            "lowlabel runs DIR lists the runs and how they ended.",
        )
    with np.load(path, allow_pickle=False) as kept:
        return dict(kept)


def before(
    plan: prepared.Plan, directory: Path, phase: build.Phase, captured: dict[str, np.ndarray]
) -> tuple[TrainState, int]:
    """(the state, the step) that the phase of the capture is repeated from."""
    config, wanted = plan.config, int(captured["checkpoint"])
    first = build.new_state(config, build.phase(config, 0))
    if wanted == diverged.NONE_YET:
        return prepared.starting(config, plan.brought)(first), 0
    if wanted not in checkpoint.steps(directory):
        raise UserError(
            f"checkpoint {wanted} of {directory}, before step {captured['step'] + 1}, is gone.",
            "the run went on from it: debug it where it diverges next.",
        )
    progress: Progress = checkpoint.progress(directory, wanted)
    held = build.phase(config, progress.phase)
    like = build.like_phase(first, held) if progress.phase else first
    state = checkpoint.read(directory, wanted, like)
    if progress.phase < int(captured["phase"]):
        state = build.like_phase(state, phase)
        if phase.spec["fresh"]:
            state = build.anew(config, state, int(captured["phase"]))
    return state, wanted


def repeated(
    plan: prepared.Plan, phase: build.Phase, state: TrainState, feed: Any, began: int, last: int
) -> Taken | None:
    """The first of the steps from `began` to `last` that is not finite; None where all are."""
    devices = parallel.device_count(plan.config["devices"])
    state, resident = parallel.replicate(state, devices), parallel.replicate(feed.resident, devices)
    for step in range(began, last + 1):
        batch = parallel.shard(feed.batch(step), devices)
        kept = Taken(step, jax.device_get(state), batch, feed.resident)  # the step takes its memory
        state, metrics = phase.step(state, batch, resident)
        if not is_finite(state) or not all(map(_finite, jax.tree.leaves(metrics))):
            return kept
    return None


def apart(phase: build.Phase) -> Any:
    """The step as a plain function of (state, batch [d, b/d, …], resident), all on one device."""
    return jax.vmap(phase.step.fn, (None, 0, None), axis_name=parallel.AXIS)


def page(step: int, began: int, found: dict[str, Made]) -> str:
    """What was found, in words."""
    after = f"{step - began} steps after checkpoint {began}" if began else "counted from the start"
    lines = [f"step {step + 1}, {after}, is not finite."]
    if not found:
        return f"{lines[0]} Taken apart, it is: the compiled program sums in another order."
    return "\n".join([*lines, *map(_line, found.values())])


def _line(made: Made) -> str:
    layer, back = named_layer(made.layer), "the gradient of " * ("transpose" in made.layer)
    where = f"in {back}layer {layer}" if layer else "outside of the network"
    asked = f", asked for in lowlabel_jax/{made.place}" if made.place else ""
    return f"first {made.what}: {made.operation}, {where}{asked}"


def named_layer(stack: str) -> str:
    """The path of modules in what JAX calls a name stack: "transpose(jvp(Net))/a" -> "Net/a"."""
    plain = stack
    while (less := WRAPPED.sub(r"\2", plain)) != plain:
        plain = less
    return "/".join(part for part in plain.split("/") if part)


def _columns(plan: prepared.Plan, directory: Path) -> Any:
    return teacher.columns(plan.config, directory, plan.source, plan.split)


def _finite(x: Any) -> bool:
    return bool(np.isfinite(np.asarray(x)).all())
