"""All runs of a config's sweep(), each a process of its own, then their comparison. No JAX here."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from lowlabel_jax.configuration import check, load
from lowlabel_jax.core import files, log
from lowlabel_jax.core.errors import UserError, problems
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs.several import ending


def sweep(file: str, overrides: Sequence[str], folder: Path, workers: int) -> int:
    """Run what is not finished, `workers` at a time; compare what is. 0 if all runs finished.

    Repeating the command resumes. A run that fails does not stop the others.
    """
    jobs = plan(file, overrides)
    rundir.usable(folder)
    with files.locked(folder):
        files.write_json(folder / "sweep.json", {name: list(args) for name, args in jobs.items()})
        log.say(f"{len(jobs)} runs in {folder}, {workers} at a time; each logs to its train.log")
        with ThreadPoolExecutor(workers) as pool:
            done = pool.map(lambda job: _run(file, job, folder, workers), jobs.items())
            failed = [name for name, status in zip(jobs, done, strict=True) if status]
    compare_and_say(
        [folder / name for name in jobs], folder, load.read_module(file.partition(":")[0])
    )
    problems(
        [f"run {name} did not finish; see {folder / name / 'train.log'}" for name in failed],
        "the same command again goes on with those that are not finished.",
    )
    return 0


def plan(file: str, overrides: Sequence[str]) -> dict[str, list[str]]:
    """{run's name: its overrides} of a config's sweep(), each checked before the first one runs."""
    path, _, argument = file.partition(":")
    module = load.read_module(path)
    if not hasattr(module, "sweep"):
        raise UserError(
            f"{path} defines no sweep().", "leave --sweep out, or add: def sweep(): yield {...}"
        )
    choices = list(module.sweep(argument) if argument else module.sweep())
    jobs = {name_of(choice): [*as_arguments(choice), *overrides] for choice in choices}
    if len(jobs) != len(choices):
        raise UserError(f"{path}: two runs of its sweep() would have the same directory.")
    for arguments in jobs.values():
        check.check(load.load(file, arguments))
    return jobs


def name_of(choice: Mapping[str, Any]) -> str:
    """A run's directory: its method and seed, or else all that it chooses, the seed last."""
    if "method" in choice:
        choice = {path: choice[path] for path in ("method", "seed") if path in choice}
    ordered = sorted(choice, key=lambda path: (path == "seed", not path.endswith("name")))
    return "-".join(_word(path, choice[path]) for path in ordered)


def _word(path: str, value: Any) -> str:
    if path.endswith(".name") or path == "method":
        return str(value).replace("/", "_").replace(" ", "_")
    value = "+".join(map(str, value)) if isinstance(value, tuple) else value
    short = path.rsplit(".", 1)[-1]
    return f"{short}{value}" if short == "seed" else f"{short}={value}"


def as_arguments(choice: Mapping[str, Any]) -> list[str]:
    """{"seed": 3} -> ["--config.seed=3"]."""
    return [f"{load.PREFIX}{path}={value}" for path, value in choice.items()]


def compare_and_say(runs: Iterable[Path], folder: Path, config: ModuleType) -> None:
    """Write the comparison of the runs that are finished; show it, and what to do next."""
    from lowlabel_jax.runs.compare import compare

    finished = [run for run in runs if rundir.status(run).get("state") == "finished"]
    if not finished:
        raise UserError(f"none of the runs in {folder} finished.", "see their train.log.")
    result = compare.compare(finished)
    page, picture = folder / "compare.html", folder / "compare.png"
    compare.write(result, folder)
    log.say()
    compare.show(result)
    log.say(f"\nruns: {folder}   picture: {picture}   page: {page} (also .md, .json, .csv)")
    following = (f"lowlabel report {finished[-1]}", *getattr(config, "NEXT", ()))
    log.say("next: " + "\n      ".join(map(log.typed, following)))


def _run(file: str, job: tuple[str, list[str]], folder: Path, workers: int) -> int:
    name, arguments = job
    run = folder / name
    log.say(f"  {name}: begins" if not rundir.status(run) else f"  {name}: looked at again")
    run.mkdir(exist_ok=True)
    launch = Path(__file__).parent.parent.parent / "launch.py"
    arguments = [argument.replace("{sweep}", str(folder)) for argument in arguments]
    command = [sys.executable, str(launch), f"--config={file}", f"--workdir={run}", *arguments]
    with open(run / "train.log", "a", encoding="utf-8") as out:
        out.write(f"$ {shlex.join(command)}\n")
        out.flush()
        status = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, env=share(workers))
    log.say(f"  {name}: {ending(rundir.status(run), status.returncode)}")
    return status.returncode


def share(workers: int) -> dict[str, str]:
    """The environment of one of several workers: each has its share of the cores."""
    cores = len(os.sched_getaffinity(0))
    if workers > 1 and "xla_force_host_platform_device_count" not in os.environ.get(
        "XLA_FLAGS", ""
    ):
        return {"NPROC": str(max(cores // workers, 1)), **os.environ}
    return dict(os.environ)
