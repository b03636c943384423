"""The training line. Everything that happens to a run, in the order in which it happens."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lowlabel_jax.core import log, parallel, processes
from lowlabel_jax.core.errors import Interrupted
from lowlabel_jax.core.signals import StopRequest
from lowlabel_jax.data.feed import Feed
from lowlabel_jax.state import TrainState
from lowlabel_jax.training import again, alarms, build, checkpoint
from lowlabel_jax.training.diverged import TOO_MANY, Call, diverged
from lowlabel_jax.training.ending import end, is_best
from lowlabel_jax.training.phases import Progress, add, advance, ending, means, next_phase
from lowlabel_jax.training.record import Record, write_status
from lowlabel_jax.training.step import SKIPPED, is_finite
from lowlabel_jax.training.watch import Watch

Feeder = Callable[[build.Phase, TrainState], Feed]  # what a phase is shown: images or features
Validate = Callable[[build.Phase, TrainState], dict[str, float]]


def train(
    config: Mapping[str, Any],
    directory: Path,
    progress: Progress,
    start: Callable[[TrainState], TrainState],
    feeder: Feeder,
    validate: Validate,
    record: Record,
    watch: Watch,
    stop: StopRequest,
) -> TrainState:
    """Train from where `progress` stands to the end of the last phase; the state there.

    start: what is done to the first state of all, for weights that others have trained.
    Raises Interrupted after saving where a signal asked to stop, Diverged where the numbers stop
    being finite; neither leaves a checkpoint that a later run could not go on from.
    """
    devices = parallel.device_count(config["devices"])
    phase = again.phase(config, progress.phase)
    state = build.new_state(config, again.phase(config, 0) if progress.phase else phase)
    if not progress.step:
        state = start(state)
    else:
        state = build.like_phase(state, phase) if progress.phase else state
        state = checkpoint.read(directory, progress.step, state)
    state = parallel.replicate(state, devices)
    batch, resident = _load(feeder, phase, state, devices)
    pending, saved, over = None, time.monotonic(), ending(progress, phase.spec)
    watch.begin(progress.phase, progress.step - progress.began)
    while True:
        if over:
            if progress.phase + 1 == len(config["phases"]):
                return state
            progress = next_phase(progress)
            phase = again.phase(config, progress.phase)
            state = parallel.replicate(build.like_phase(state, phase), devices)
            batch, resident = _load(feeder, phase, state, devices)
            state = _anew(config, state, progress.phase, devices) if phase.spec["fresh"] else state
            watch.begin(progress.phase, 0)
            log.say(f"phase {phase.spec['name']!r} begins at step {progress.step}")

        state, call = _call(phase, state, batch, resident, progress)
        progress = replace(progress, step=progress.step + call.count)
        if pending:  # read one call late: the device is at work on the next meanwhile
            progress = _tally(config, progress, pending, directory)
        pending = call
        watch.step(progress.step - progress.began)

        asked = processes.asked(stop, progress.step, call.count)  # once: what comes after waits
        late = 0 < config["checkpoint"]["seconds"] <= time.monotonic() - saved
        over = "steps" if progress.step - progress.began >= phase.spec["steps"] else ""
        due = {
            "log": over or progress.step % config["log_every"] == 0,
            "validate": config["evaluate_every"] and progress.step % config["evaluate_every"] == 0,
            "save": late or asked or progress.step % config["checkpoint"]["every"] == 0,
        }
        if not over and not any(due.values()):
            continue
        progress, pending = _tally(config, progress, pending, directory), None

        numbers = means(progress.sums)
        if due["log"]:
            progress = _logged(progress, phase, directory, record, watch)
        if due["validate"]:
            progress = _looked(progress, phase, validate(phase, state), record, watch)
            over = ending(progress, phase.spec)
        if over:
            if progress.sums:  # a look has ended it between two lines
                progress = _logged(progress, phase, directory, record, watch)
            state = end(directory, phase.spec, progress, state, numbers, over)
            state = parallel.replicate(state, devices)
            watch.end()
        if due["save"] or over or is_best(phase.spec, progress):
            if not is_finite(state):
                raise diverged(config, directory, "the state", progress, call)
            record.sync()
            checkpoint.save(directory, state, progress, config["checkpoint"]["keep"])
            saved = time.monotonic()
        if asked:
            raise Interrupted(f"saved step {progress.step} after {stop.name}", stop.code)


def _call(
    phase: build.Phase, state: TrainState, batch: Callable, resident: Any, progress: Progress
) -> tuple[TrainState, Call]:
    """The state after the next call of the device, which takes one step or several, and the call.

    It is under way when this returns.
    """
    left = phase.spec["steps"] - (progress.step - progress.began)
    count = phase.turns(progress.step, left)
    given = batch(progress.step, count)
    state, metrics = phase.calls[count](state, given, resident)
    return state, Call(progress.step, count, metrics, given)


def _logged(
    progress: Progress, phase: build.Phase, directory: Path, record: Record, watch: Watch
) -> Progress:
    """The progress after a line of metrics.jsonl, with its sums emptied."""
    numbers = means(progress.sums)
    record.write({"step": progress.step, "phase": phase.spec["name"], **numbers})
    rate = round(watch.rate, 3)
    write_status(directory, "running", progress.step, total=watch.total, rate=rate)
    watch.show(numbers)
    return replace(progress, sums={}, alarms=alarms.sound(progress, numbers))


def _looked(
    progress: Progress,
    phase: build.Phase,
    numbers: dict[str, float],
    record: Record,
    watch: Watch,
) -> Progress:
    """The progress after a look at the validation set."""
    record.write({"step": progress.step, "phase": phase.spec["name"], **numbers})
    watch.show(numbers)
    progress = replace(progress, alarms=alarms.looked(progress, numbers))
    return advance(progress, numbers["validation/loss"])


def _load(
    feeder: Feeder, phase: build.Phase, state: TrainState, devices: int
) -> tuple[Callable[[int, int], Any], Any]:
    """((step, count) -> sharded batch, what lies on the devices) for the streams of a phase.

    The batches of several steps lie beside each other, [d, b/d, count, …].
    """
    feed = feeder(phase, state)
    resident = parallel.replicate(feed.resident, devices)

    def batch(step: int, count: int) -> Any:
        found = [feed.batch(step + i) for i in range(count)]
        whole = jax.tree.map(lambda *x: np.stack(x, 1), *found) if count > 1 else found[0]
        return parallel.shard(whole, devices)

    return batch, resident


def _anew(config: Mapping[str, Any], old: TrainState, number: int, devices: int) -> TrainState:
    """The state at the start of phase `number` with new first weights, on the devices."""
    return parallel.replicate(build.anew(config, old, number), devices)


def _tally(config: Mapping[str, Any], progress: Progress, call: Call, directory: Path) -> Progress:
    """The progress with a call's metrics in its sums, step by step.

    Raises Diverged where a number is not finite, or where more steps were skipped than may be.
    """
    for number, found in enumerate(call.each()):
        if not all(np.isfinite(total).all() for total, _ in found.values()):
            raise diverged(config, directory, "loss", progress, call, number, found)
        skipped = progress.skipped + int(found[SKIPPED][0] if SKIPPED in found else 0)
        progress = replace(progress, sums=add(progress.sums, found), skipped=skipped)
        if skipped > config.get("skip_bad_steps", 0):
            said = TOO_MANY.format(skipped - 1)
            raise diverged(config, directory, said, progress, call, number)
    return progress


def total_steps(config: Mapping[str, Any]) -> int:
    """The most steps that a run can take, over all phases."""
    return sum(spec["steps"] for spec in config["phases"])


def describe(config: Mapping[str, Any]) -> str:
    """The length of a run in words."""
    parts = [f"{spec['name']} {spec['steps']}" for spec in config["phases"]]
    return (
        f"{total_steps(config)} steps ({', '.join(parts)})"
        if len(parts) > 1
        else (f"{total_steps(config)} steps")
    )
