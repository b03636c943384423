"""What a phase does when it is over, before its last checkpoint: say why, choose its weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowlabel_jax.core import log
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.state import TrainState
from lowlabel_jax.training import checkpoint, statistics
from lowlabel_jax.training.phases import Progress

EARLY = {  # what ends a phase before its steps are done, in words
    "patience": "for {stale} evaluations the validation loss has not gained",
    "plateau": "over the last {plateau} evaluations the validation loss does not fall",
}


def end(
    directory: Path,
    spec: Mapping[str, Any],
    progress: Progress,
    state: TrainState,
    numbers: Mapping[str, Any],
    why: str,
) -> TrainState:
    """The state that a phase leaves: its last one, or that with the weights of its best look.

    numbers: its last log line. Before the last checkpoint of the phase: a run that is killed
    between the two comes here again. Raises UserError where the best look's checkpoint is broken.
    """
    if why in EARLY:
        said = EARLY[why].format(stale=progress.stale, plateau=spec["plateau"])
        steps = f"after {progress.step - progress.began} of {spec['steps']} steps"
        log.say(f"phase {spec['name']!r} ends {steps}: {said}")
    statistics.judge(spec, numbers)
    return state if spec["keep"] == "last" else _best(directory, spec["name"], progress, state)


def is_best(spec: Mapping[str, Any], progress: Progress) -> bool:
    """Whether the phase may want to come back to the step that is just done."""
    return spec["keep"] == "best" and progress.best_step == progress.step


def _best(directory: Path, name: str, progress: Progress, state: TrainState) -> TrainState:
    """The state with weights, statistics and average of the best look; all else as it is."""
    step = progress.best_step
    if step is None:
        log.warn(f"phase {name!r} had no evaluation to choose by, and keeps its last weights.")
        return state
    log.say(f"phase {name!r} keeps the weights of step {step} (loss {progress.best:.4f})")
    if step == progress.step:
        return state
    if reason := checkpoint.broken(directory, step):
        checkpoint.give_up(directory, step, reason)
        left = checkpoint.steps(directory)
        raise UserError(
            f"checkpoint {step}, the best of phase {name!r}, is not whole: {reason}.",
            f"the same command again goes on from step {left[-1] if left else 0}.",
        )
    best = checkpoint.read(directory, step, state)
    kept = {name: getattr(best, name) for name in ("params", "batch_stats", "ema")}
    return state.replace(**kept)
