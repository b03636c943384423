"""One run from its config to its numbers: prepare, train or resume, evaluate, say what came out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lowlabel_jax.configuration.check import check
from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.configuration.resolve import as_dict, resolve, seeds
from lowlabel_jax.core import files, log, signals
from lowlabel_jax.core.errors import Diverged, Interrupted
from lowlabel_jax.data import feed, source, split_table, splits
from lowlabel_jax.data.opened import images_of, open_data
from lowlabel_jax.evaluation import evaluate as evaluation
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs import evaluate, results, teacher
from lowlabel_jax.state import TrainState
from lowlabel_jax.training import build, checkpoint, loop, record, watch
from lowlabel_jax.training.phases import Progress


class Plan(NamedTuple):
    """A run before its first step: nothing is left to decide and nothing is written yet."""

    config: dict[str, Any]
    source: source.Source
    split: splits.Split


def prepare(config: Config, directory: Path) -> Plan:
    """Check the config, open the data, divide it. Raises UserError with all that is wrong."""
    check(config)
    data = open_data(config.to_dict())
    kept = None
    if rundir.holds_run(directory):
        rundir.check_data(directory, as_dict(config), data)
        kept = evaluate.kept_split(directory)
    split = splits.split_of(data, config.split.to_dict(), seeds(config)["split"], kept)
    plan = Plan(resolve(config, splits.info_of(data, split), data.fingerprint), data, split)
    teacher.check(plan.config, directory, data, split)
    return plan


def train(
    config: Config,
    directory: Path,
    *,
    command: Sequence[str] = (),
    resume: str = "auto",
    force_resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Train, or go on with, the run that belongs in a directory; its test numbers.

    The same call on a finished run says so and touches nothing. Raises UserError for what the user
    can mend, Busy where another process is at it, Diverged, and Interrupted after saving.
    """
    check(config)
    rundir.usable(directory)
    if overwrite and rundir.holds_run(directory):
        with files.locked(directory):
            rundir.overwrite(directory)
    rundir.check_resume(directory, resume)
    plan = prepare(config, directory)
    if rundir.holds_run(directory):
        rundir.check_same(directory, plan.config, force_resume)
        if rundir.status(directory).get("state") == "finished" and _nothing_left(directory, plan):
            return results.say_complete(directory)
    with files.locked(directory):
        return _run(plan, directory, command)


def _nothing_left(directory: Path, plan: Plan) -> bool:
    """Whether a finished run has all the steps that its config now asks for."""
    return rundir.status(directory)["step"] >= loop.total_steps(plan.config) or any(
        spec["patience"] for spec in plan.config["phases"]
    )


def _run(plan: Plan, directory: Path, command: Sequence[str]) -> dict[str, Any]:
    config = plan.config
    build.check(config)
    checkpoint.clean(directory)
    progress = checkpoint.newest(directory) or Progress()
    if progress.step:
        rundir.warn_of_other_bits(directory, config)
        log.say(f"resuming {directory} at step {progress.step}")
    splits.write(evaluate.kept_split(directory), plan.split, plan.source)
    rundir.begin(directory, config, command or rundir.command_line())
    if plan.source.names:  # files: what became of them is news
        log.say(split_table.describe(plan.source, plan.split))
    log.say(results.introduction(config, directory))
    columns = teacher.columns(config, directory, plan.source, plan.split)
    total = loop.total_steps(config)
    try:
        with (
            _feeding(plan, columns) as feeder,
            signals.stop_request() as stop,
            record.recording(directory, progress.step) as rows,
            watch.watching(total, progress.step) as line,
        ):
            record.write_status(directory, "running", progress.step, total=total)
            state = loop.train(
                config, directory, progress, feeder, _validator(plan), rows, line, stop
            )
    except Interrupted as stopped:
        return _interrupted(directory, stopped)
    except BaseException as error:
        name = "diverged" if isinstance(error, Diverged) else "failed"
        step = rundir.status(directory).get("step", 0)
        record.write_status(directory, name, step, reason=str(error).splitlines()[:1])
        raise
    return finish(plan, directory, state)


def finish(plan: Plan, directory: Path, state: TrainState) -> dict[str, Any]:
    """Read the test set, once; write the numbers and the guesses; say what came out."""
    numbers = {}
    for name in ("validation", "test"):
        images, label = images_of(plan.source, plan.split, name)
        if len(label):
            given = (plan.config, state, images, label)
            numbers[name] = results.score(*given, name, directory)
            if name == "test" and plan.config["median_of"] > 1:
                numbers[name] = results.add_median(*given, numbers[name], directory)
    headline = {name: found["accuracy"] for name, found in numbers.items()}
    record.write_status(directory, "finished", int(state.step), accuracy=headline)
    results.say_finished(directory, plan.config, numbers)
    return numbers


def feed_of(plan: Plan, sizes: dict[str, int], columns: feed.Columns | None) -> feed.Feed:
    """The feed that a plan's config asks for. sizes: stream -> batch size."""
    how = {**plan.config["feed"], "balanced": plan.config["batch"]["balanced"]}
    seed = plan.config["seeds"]["order"]
    return feed.open_feed(plan.source, plan.split, sizes, seed, columns, **how)


@contextmanager
def _feeding(plan: Plan, columns: teacher.Columns) -> Iterator[loop.Feeder]:
    """sizes -> feed, and every feed that was opened is closed at the end."""
    with ExitStack() as opened:

        def feeder(sizes: dict[str, int]) -> feed.Feed:
            made = feed_of(plan, sizes, columns)
            opened.callback(made.close)
            return made

        yield feeder


def _validator(plan: Plan) -> Callable[[TrainState], dict[str, float]]:
    """validate(state) -> numbers, compiled at its first call."""
    images, label = images_of(plan.source, plan.split, "validation")
    made: dict[str, evaluation.Predict] = {}

    def validate(state: TrainState) -> dict[str, float]:
        if not made:
            made["predict"] = results.predictor(plan.config, state.apply_fn)
        return evaluation.validation_numbers(evaluation.both(made["predict"], state, images), label)

    return validate


def _interrupted(directory: Path, stopped: Interrupted) -> dict[str, Any]:
    step = rundir.status(directory)["step"]
    newest = checkpoint.steps(directory)[-1]
    record.write_status(directory, "interrupted", max(step, newest))
    command = (directory / "command.sh").read_text(encoding="utf-8").splitlines()[-1]
    raise Interrupted(f"{stopped}. To go on: {log.typed(command)}", stopped.code)
