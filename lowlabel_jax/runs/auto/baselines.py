"""What a self-tuned run is held against: the same labels, network and steps, without its tricks.

    untuned             the settings it began with, labels alone, weak views
    supervised-weak     the batch size and rate that were learnt, labels alone, weak views
    supervised-strong   everything that was learnt about labels, alone
    auto                the run itself

All of them train on all the labels for as many steps as the run took: a baseline needs no
validation set, and where the run spares a tenth of its labels for one, it is the run's loss.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lowlabel_jax.configuration.keys import Config, assign
from lowlabel_jax.configuration.resolve import as_dict
from lowlabel_jax.core import files, log
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs.compare import compare as comparison
from lowlabel_jax.runs.sweep import plan, state, workers
from lowlabel_jax.tuning import budgets
from lowlabel_jax.tuning.findings import applied

AUTO = "auto"
WORKERS = 2  # runs side by side on a CPU
Job = tuple[Path, Path, list[str]]  # the run's directory, its config file, overrides


def compare(asked: Config, learnt: Config, directory: Path, max_seconds: float = 0) -> None:
    """Train what the run is compared with, in DIR/comparison, and write compare.json there.

    A run that is finished is left as it is; past max_seconds what is under way is saved and left.
    """
    if not (count := budgets.of(asked.tune).seeds):
        return
    folder, steps = directory / "comparison", rundir.status(directory)["step"]
    folder.mkdir(exist_ok=True)
    found = distinct(methods(asked, learnt, steps))
    for name, config in found.items():
        files.write_json(folder / f"{name}.json", as_dict(config))
    jobs = list(jobs_of(folder, found, asked.seed, count))
    left = [job for job in jobs if not state.is_finished(job[0])]
    log.say(f"comparing over {count} draws: {len(left)} of {len(jobs)} runs to do")
    commands = {run.name: plan.command(str(file), run, given) for run, file, given in left}
    if any(workers.train_all(commands, folder, WORKERS, max_seconds).values()):
        log.warn("a run of the comparison failed: its train.log says why; the others go on.")
    done = [run for run, _, _ in jobs if state.is_finished(run)]
    comparison.write(comparison.compare([directory, *done]), folder)


def methods(asked: Config, learnt: Config, steps: int) -> dict[str, Config]:
    """name -> its config, all with the learnt network and data."""
    strong = learnt.phases.supervised.objective.to_dict()
    plain = {"name": "supervised"}
    return {
        "untuned": alone(learnt, steps, asked, plain),
        "supervised-weak": alone(learnt, steps, learnt, plain),
        "supervised-strong": alone(learnt, steps, learnt, strong),
        AUTO: learnt,
    }


def distinct(found: dict[str, Config]) -> dict[str, Config]:
    """The methods less those that would be another one again, because nothing was learnt that they
    would have; it is said."""
    kept: dict[str, Config] = {}
    for name, config in found.items():
        twin = next((other for other in kept if as_dict(kept[other]) == as_dict(config)), None)
        if twin:
            log.say(f"{name} would be {twin} again, to the setting: it is left out")
        else:
            kept[name] = config
    return kept


def alone(learnt: Config, steps: int, settings: Config, objective: dict[str, Any]) -> Config:
    """The learnt config as a run of labels alone, with another's batch, rate and views."""
    with (config := applied(learnt, [])).unlocked():
        for path in ("optimizer", "augment.weak", "batch.labelled", "ema"):
            value = settings
            for key in path.split("."):
                value = value[key]
            assign(config, path, value.to_dict() if hasattr(value, "to_dict") else value)
        assign(config, "objective", objective)
        config.phases, config.order, config.length = {}, (), {"steps": steps}
        config.evaluate_every, config.plateau, config.keep = 0, 0, "last"
        config.split.folds = 0
        config.tuned, config.method = {}, ""
    return applied(config, [])


def jobs_of(folder: Path, names: Iterable[str], first: int, count: int) -> Iterator[Job]:
    """Each run: auto's first, the longest, less its first seed, which is the run that this belongs
    to; then the baselines in turn, so that those side by side compile different programs."""
    seeds = range(first, first + count)
    plain = [name for name in names if name != AUTO]
    for seed in seeds[1:]:
        yield _job(folder, AUTO, seed, [])
    for seed in seeds:
        for name in plain:
            yield _job(folder, name, seed, [f"--config.method={name}"])


def _job(folder: Path, name: str, seed: int, more: list[str]) -> Job:
    given = [f"--config.seed={seed}", *more]
    return folder / f"{name}-seed{seed}", folder / f"{name}.json", given
