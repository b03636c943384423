"""A run before its first step, and what its steps are given: data, first weights, looks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lowlabel_jax.configuration.check import check
from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.configuration.resolve import as_dict, resolve, seeds
from lowlabel_jax.core import log, processes
from lowlabel_jax.core.errors import Pruned
from lowlabel_jax.data import feed, source, splits
from lowlabel_jax.data.opened import images_of, open_data
from lowlabel_jax.pretrained import bring
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs import evaluate, features, results, teacher
from lowlabel_jax.state import TrainState
from lowlabel_jax.training import build, loop, networks, record

Look = Callable[[int, Mapping[str, float]], None]  # what a search does with (step, its numbers)


class Plan(NamedTuple):
    """A run before its first step: nothing is left to decide and nothing is written yet."""

    config: dict[str, Any]
    source: source.Source
    split: splits.Split
    brought: list[str]  # settings that pretrained weights have decided


def prepare(config: Config, directory: Path) -> Plan:
    """Check the config, open the data, divide it. Raises UserError with all that is wrong."""
    check(config)
    config, brought = bring.travelled(config)
    data = open_data(config.to_dict())
    kept = None
    if rundir.holds_run(directory):
        rundir.check_data(directory, as_dict(config), data)
        kept = evaluate.kept_split(directory)
    split = splits.split_of(data, config.split.to_dict(), seeds(config)["split"], kept)
    resolved = resolve(config, splits.info_of(data, split), data.fingerprint)
    plan = Plan(resolved, data, split, brought)
    teacher.check(plan.config, directory, data, split)
    return plan


def shown(plan: Plan, spec: Mapping[str, Any], state: TrainState) -> source.Source:
    """What a phase is shown: the images, or features of them by the state's backbone."""
    if spec["features"] == "off":
        return plan.source
    return features.features_of(plan.config, plan.source, state)


def feed_of(
    plan: Plan, phase: build.Phase, state: TrainState, columns: feed.Columns | None
) -> feed.Feed:
    """The feed that a phase of a plan asks for."""
    how = {**plan.config["feed"], "balanced": plan.config["batch"]["balanced"]}
    how["part"] = processes.part()
    if phase.spec["features"] != "off":
        how["mode"] = "resident"  # a probe is solved over all of them at once
    data, seed = shown(plan, phase.spec, state), plan.config["seeds"]["order"]
    return feed.open_feed(data, plan.split, phase.batch_sizes, seed, columns, **how)


def starting(
    config: Mapping[str, Any], brought: Sequence[str] = ()
) -> Callable[[TrainState], TrainState]:
    """What is done to the first state of a run: weights that others have trained go into it.

    They are fitted here, before anything is written: weights of another size begin no run.
    """
    spec = config["pretrained"]
    if not spec["weights"]:
        return as_it_is
    variables = {"batch_stats": {}, **build.weights(config, networks.network(config))}
    filled, account = bring.into(spec, config["model"]["name"], variables)
    if brought:
        log.say(f"weights {account}; they bring {', '.join(brought)}")
    return lambda state: state.started_with(filled)


def as_it_is(state: TrainState) -> TrainState:
    """The state, for runs that begin with nobody's weights."""
    return state


@contextmanager
def feeding(plan: Plan, directory: Path, columns: teacher.Columns) -> Iterator[loop.Feeder]:
    """(phase, state) -> feed, and every feed that was opened is closed at the end."""
    with ExitStack() as opened:

        def feeder(phase: build.Phase, state: TrainState) -> feed.Feed:
            beside = columns
            if plan.config["teacher"] == teacher.BEFORE and "teacher" in phase.objective.views:
                number = plan.config["phases"].index(phase.spec)
                images = source.Images(plan.source, "train", plan.split.unlabelled)
                beside = teacher.of_phase(plan.config, directory, number, state, images)
            made = feed_of(plan, phase, state, beside)
            opened.callback(made.close)
            return made

        yield feeder


def validator(plan: Plan) -> loop.Validate:
    """validate(phase, state) -> numbers, compiled at a phase's first call.

    Of several processes the first one looks, and the others are told.
    """
    made: dict[str, Any] = {}  # of the phase that is under way

    def validate(phase: build.Phase, state: TrainState) -> dict[str, float]:
        return processes.from_first(look(phase, state) if processes.first() else None)

    def look(phase: build.Phase, state: TrainState) -> dict[str, float]:
        if made.get("phase") is not phase:
            data = shown(plan, phase.spec, state)
            given = images_of(data, plan.split, "validation")
            made["look"] = results.looker(plan.config, phase, state.apply_fn, *given)
            made["phase"] = phase
        return made["look"](state)

    return validate


def told(validate: loop.Validate, rows: record.Record, look: Look) -> loop.Validate:
    """validate(phase, state), of which `look` is told; the numbers it prunes by are kept too."""

    def looked(phase: build.Phase, state: TrainState) -> dict[str, float]:
        step, numbers = int(state.step), validate(phase, state)
        try:
            look(step, numbers)
        except Pruned:
            rows.write({"step": step, "phase": phase.spec["name"], **numbers})
            raise
        return numbers

    return looked
