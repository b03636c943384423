"""All runs of a sweep, then their comparison: from what is planned to the table. No JAX."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from lowlabel_jax.configuration import load
from lowlabel_jax.core import files, log
from lowlabel_jax.core.errors import problems
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs.sweep import plan as plans
from lowlabel_jax.runs.sweep import state

Commands = dict[str, list[str]]  # run's name -> the command of launch.py that trains it
TrainAll = Callable[[Commands, Path], dict[str, int]]  # (commands, sweep's folder) -> exit codes


def sweep(file: str, overrides: Sequence[str], folder: Path, how: TrainAll, **which: Any) -> int:
    """Train what is not finished; compare what is. 0 if all runs finished.

    how: workers.train_all on this machine, cluster.train_all on others. which: of plan: `grid` and
    `listed`. Repeating the command resumes. A run that fails does not stop the others; at the end
    UserError names it. Raises Interrupted where the sweep was asked to stop.
    """
    runs = plans.plan(file, overrides, **which)
    rundir.usable(folder)
    with files.locked(folder):
        left = state.begin(folder, runs)
        log.say(f"{len(runs)} runs in {folder}, {len(runs) - len(left)} of them finished before")
        codes = how(plans.commands(file, left, folder), folder) if left else {}
        state.end(folder, left, codes)
    failed = {name: code for name, code in codes.items() if code}
    if finished := [folder / name for name in runs if state.is_finished(folder / name)]:
        config = None if file.endswith(".json") else load.read_module(file.partition(":")[0])
        compare_and_say(finished, folder, config)
    problems(
        [f"run {name} did not finish: {state.why(folder / name, failed[name])}" for name in failed],
        "the same command again goes on with those that are not finished.",
    )
    return 0


def dry_run(file: str, overrides: Sequence[str], **which: Any) -> int:
    """List the runs that there would be, each with its overrides; 0."""
    for line in plans.show(plans.plan(file, overrides, **which)):
        log.say(line)
    return 0


def compare_and_say(finished: Sequence[Path], folder: Path, config: ModuleType | None) -> None:
    """Write the comparison of the runs that are finished; show it, and what to do next."""
    from lowlabel_jax.runs.compare import compare

    result = compare.compare(finished)
    page, picture = folder / "compare.html", folder / "compare.png"
    compare.write(result, folder)
    log.say()
    compare.show(result)
    log.say(f"\nruns: {folder}   picture: {picture}   page: {page} (also .md, .json, .csv)")
    following = (f"lowlabel report {finished[-1]}", *getattr(config, "NEXT", ()))
    log.say("next: " + "\n      ".join(map(log.typed, following)))
