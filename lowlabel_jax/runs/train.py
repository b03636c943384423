"""One run from its config to its numbers: prepare, train or resume, evaluate, say what came out."""

import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lowlabel_jax.configuration.check import check
from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.core import files, log, processes, signals
from lowlabel_jax.core.errors import Diverged, Interrupted, Lost, Pruned
from lowlabel_jax.data import split_table, splits
from lowlabel_jax.data.opened import images_of
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs import evaluate, results, teacher
from lowlabel_jax.runs.plan import (
    Look,
    Plan,
    as_it_is,
    feeding,
    prepare,
    shown,
    starting,
    told,
    validator,
)
from lowlabel_jax.runs.restored import restored, restored_pictures
from lowlabel_jax.state import TrainState
from lowlabel_jax.training import build, checkpoint, loop, memory, record, watch
from lowlabel_jax.training.phases import Progress

NO_STEP = -1  # what the first process says to the others where there is nothing left to train
# how a run has ended; all else: failed
ENDINGS = {Diverged: "diverged", Lost: "interrupted", Pruned: "pruned"}


def train(
    config: Config,
    directory: Path,
    *,
    command: Sequence[str] = (),
    resume: str = "auto",
    force_resume: bool = False,
    overwrite: bool = False,
    max_seconds: float = 0,
    profile: int = 0,
    look: Look = lambda step, numbers: None,
    test: bool = True,
) -> dict[str, Any]:
    """Train, or go on with, the run that belongs in a directory; its test numbers.

    The same call on a finished run says so and touches nothing. max_seconds: from this call on,
    after which the run is saved; 0: no limit. look: told of each look at the validation set, and
    may raise Pruned. profile: steps that are traced into its folder profile/. test: whether the
    test set is read at the end. Raises UserError for what the user can mend, Busy where another
    process is at it, Diverged, and Interrupted after saving.
    """
    stop = signals.StopRequest(max_seconds)
    check(config)
    if not processes.first():
        return _follow(config, directory, stop)
    rundir.usable(directory)
    if overwrite and rundir.holds_run(directory):
        with files.locked(directory):
            rundir.overwrite(directory)
    rundir.check_resume(directory, resume)
    plan = prepare(config, directory)
    if rundir.holds_run(directory):
        rundir.check_same(directory, plan.config, force_resume)
        if rundir.status(directory).get("state") == "finished" and _nothing_left(directory, plan):
            processes.from_first(NO_STEP)
            return results.say_complete(directory)
    with files.locked(directory):
        return _run(plan, directory, command, stop, look, test, profile)


def _nothing_left(directory: Path, plan: Plan) -> bool:
    """Whether a finished run has all the steps that its config now asks for."""
    return rundir.status(directory)["step"] >= loop.total_steps(plan.config) or any(
        spec["patience"] or spec["plateau"] for spec in plan.config["phases"]
    )


def _run(
    plan: Plan,
    directory: Path,
    command: Sequence[str],
    stop: signals.StopRequest,
    look: Look,
    test: bool,
    profile: int,
) -> dict[str, Any]:
    config = plan.config
    build.check(config)
    restored.check(config)
    checkpoint.clean(directory)
    progress = checkpoint.newest(directory) or Progress()
    if progress.step:
        rundir.warn_of_other_bits(directory, config)
        log.say(f"resuming {directory} at step {progress.step}")
    start = starting(plan.config, plan.brought) if not progress.step else as_it_is
    splits.write(evaluate.kept_split(directory), plan.split, plan.source)
    rundir.begin(directory, config, command or rundir.command_line())
    if plan.source.names:  # files: what became of them is news
        log.say(split_table.describe(plan.source, plan.split))
    log.say(results.introduction(config, directory))
    columns = teacher.columns(config, directory, plan.source, plan.split)
    total = loop.total_steps(config)
    log.outlast()
    try:
        with (
            signals.stop_request(stop),
            feeding(plan, directory, columns) as feeder,
            record.recording(directory, progress.step) as rows,
            watch.watching(config["phases"], directory / "profile", profile) as line,
            memory.explained(config, build.last_sizes(config)),
        ):
            stop.leave = partial(_leave, directory, stop, line)
            record.write_status(directory, "running", progress.step, total=total)
            validate = told(validator(plan), rows, look)
            given = (config, directory, progress, start, feeder, validate)
            with processes.companions():
                processes.from_first(progress.step)
                state = loop.train(*given, rows, line, stop)
        with signals.stop_request(stop), signals.at_once(stop):
            numbers = finish(plan, directory, state, test)
    except Interrupted as stopped:
        return _interrupted(directory, stopped)
    except BaseException as error:
        name = ENDINGS.get(type(error), "failed")
        step = rundir.status(directory).get("step", 0)
        record.write_status(directory, name, step, reason=str(error).splitlines()[:1])
        raise
    processes.from_first()  # the others wait: JAX's farewell has no patience for a long evaluation
    return numbers


def _follow(config: Config, directory: Path, stop: signals.StopRequest) -> dict[str, Any]:
    """Take part in a run that the first process begins, records and scores. No numbers."""
    with processes.companions():
        step = processes.from_first()
        if step == NO_STEP:
            return {}
        plan = prepare(config, directory)
        columns = teacher.columns(plan.config, directory, plan.source, plan.split)
        progress = checkpoint.progress(directory, step) if step else Progress()
        start = starting(plan.config, plan.brought) if not step else as_it_is
        with (
            feeding(plan, directory, columns) as feeder,
            signals.stop_request(stop),
            record.recording(directory, step) as rows,
        ):
            given = (plan.config, directory, progress, start, feeder, validator(plan))
            try:
                loop.train(*given, rows, watch.Watch(plan.config["phases"], None), stop)
            finally:
                processes.from_first()  # until the first one has saved, or scored
    return {}


def finish(plan: Plan, directory: Path, state: TrainState, test: bool = True) -> dict[str, Any]:
    """Read the test set, once; write the numbers and the guesses; say what came out.

    test: False where a search goes by validation and the test set stays unread.
    """
    numbers, last = {}, plan.config["phases"][-1]
    for name in ("validation", "test")[: 1 + test]:
        data = shown(plan, last, state)
        if len(splits.rows(data, plan.split, name)[1]):
            numbers[name] = results.score(plan.config, state, data, plan.split, name, directory)
            if name == "test" and plan.config["median_of"] > 1:
                given = (plan.config, state, *images_of(data, plan.split, name))
                numbers[name] = results.add_median(*given, numbers[name], directory)
    if test:
        restored_pictures.write(plan.config, state, plan.source, plan.split, directory)
    record.write_status(directory, "finished", int(state.step), **results.headlines(numbers))
    results.say_finished(directory, plan.config, numbers)
    return numbers


def _interrupted(directory: Path, stopped: Interrupted) -> dict[str, Any]:
    step = max(rundir.status(directory).get("step", 0), *checkpoint.steps(directory), 0)
    record.write_status(directory, "interrupted", step)
    processes.from_first()
    command = (directory / "command.sh").read_text(encoding="utf-8").splitlines()[-1]
    raise Interrupted(f"{stopped}. To go on: {log.typed(command)}", stopped.code)


def _leave(
    directory: Path, stop: signals.StopRequest, line: watch.Watch, number: signal.Signals
) -> None:
    """Raise Interrupted, for a process that cannot stop by itself, where no step would be lost.

    Of several processes none leaves so: it could not tell the others.
    """
    if processes.count() == 1 and (line.waits or stop.hurry):
        code = signals.EXIT_CODES[number]
        _interrupted(directory, Interrupted(f"nothing to save after {number.name}", code))
