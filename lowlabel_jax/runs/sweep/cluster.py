"""Runs as jobs of a cluster, through submitit: SLURM, or processes of this machine to try it out.

FOLDER/jobs/ has submitit's files and the job ids, so that the same command submits nothing twice.
What a run says is in its train.log.
"""

import importlib.util
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lowlabel_jax.configuration import load
from lowlabel_jax.core import files, log
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs.sweep import cluster_options, cluster_queue, cluster_submit, plan, state
from lowlabel_jax.runs.sweep.cluster_job import noted
from lowlabel_jax.runs.sweep.cluster_submit import Cluster, Commands
from lowlabel_jax.runs.sweep.todo import is_busy, needed

LOOK = {"slurm": 20.0, "local": 0.5}  # seconds between two looks at the queue


def cluster_of(
    name: str, given: Sequence[str], wait: bool = False, processes: bool = False
) -> Cluster:
    """What --cluster, --cluster_option and --wait ask for; processes: whether several train one run
    together. Raises UserError before any work."""
    options = cluster_options.read(given)
    cluster_options.check_together(name, options, processes)
    if importlib.util.find_spec("submitit") is None:
        raise UserError("--cluster needs submitit.", "pip install 'lowlabel_jax[cluster]'")
    if name == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
        raise UserError(
            "--cluster=slurm: there is no sbatch and srun on this machine.",
            "give the command on the cluster's login node; --cluster=local tries it out here.",
        )
    if name == "local" and (idle := cluster_options.without_meaning(given)):
        log.say(f"of SLURM alone, and nothing on this machine: {', '.join(idle)}")
    return Cluster(name, options, wait)


def train_all(commands: Commands, folder: Path, cluster: Cluster) -> dict[str, int]:
    """Submit the runs that no job is at; the exit codes of those that are known to be over.

    Without `wait` these are the ones whose jobs have finished since the last call. A run that needs
    another one, as its teacher, is submitted when that has finished: by a cluster that is waited
    for, or by the same command again. Raises UserError where nothing can be submitted.
    """
    codes = dict.fromkeys(_finished(commands, folder), 0)
    while left := {name: commands[name] for name in commands if name not in codes}:
        ready = [name for name in left if not needed(name, left, folder)]
        if not ready:
            raise UserError(f"the runs {', '.join(left)} need each other.")
        _submit({name: left[name] for name in ready}, folder, cluster)
        if not cluster.wait:
            if later := len(left) - len(ready):
                log.say(f"{later} runs need others first: the same command again submits them.")
            return codes
        codes |= _wait(ready, folder, cluster)
    return codes


def train_one(
    file: str, run: Path, given: Sequence[str], cluster: Cluster, resume: str, overwrite: bool
) -> int:
    """Submit a single run; its exit code, 0 where nobody waits for it.

    given: launch.py's other options and the overrides. Raises UserError, as a run on this machine,
    where the directory and `resume` do not go together, and Busy where it is being trained.
    """
    rundir.usable(run)
    if overwrite and rundir.holds_run(run):
        with files.locked(run):
            rundir.overwrite(run)
    rundir.check_resume(run, resume)
    command = {".": plan.command(file, run, given)}
    if _finished(command, run):
        log.say(f"{run} is finished ({rundir.headline(rundir.status(run))}): nothing to submit.")
        return 0
    return train_all(command, run, cluster).get(".", 0)


def _finished(commands: Commands, folder: Path) -> list[str]:
    """The runs that a job has finished, with the config that they are to have now."""
    kept = {name: job for name, job in _kept(folder).items() if name in commands}
    well = [k for k in kept if not _code(folder, k) and state.is_finished(folder / k)]
    return [name for name in well if kept[name]["config"] == _config(commands[name])]


def _config(command: Sequence[str]) -> str:
    """The fingerprint of what a command trains."""
    file = command[2].removeprefix("--config=")
    return plan.digest(file, [word for word in command if word.startswith(load.PREFIX)])


def _submit(commands: Commands, folder: Path, cluster: Cluster) -> None:
    """Hand in what is not under way, note the ids, and say where to look."""
    kept = _kept(folder)
    at_work = cluster_queue.under_way({k: v for k, v in kept.items() if k in commands}, folder)
    busy = [name for name in commands if name not in at_work and is_busy(folder / name)]
    for name in commands:
        if name in at_work or name in busy:
            by = f"job {at_work[name]}" if name in at_work else "another process"
            log.say(f"  {_shown(folder, name)}: {by} is at it already")
    new = {k: command for k, command in commands.items() if k not in at_work and k not in busy}
    if not new:
        return
    for name in new:
        noted(folder / "jobs", folder / name).unlink(missing_ok=True)
    ids = cluster_submit.submit(new, folder, cluster)
    for name, job in ids.items():
        kept[name] = {"cluster": cluster.name, "job": job, "config": _config(new[name])}
    files.write_json(_place(folder), kept)
    _say(ids, folder, cluster)


def _wait(names: Iterable[str], folder: Path, cluster: Cluster) -> dict[str, int]:
    """Wait until no job is at the runs, saying how each ended: their exit codes."""
    codes: dict[str, int] = {}
    names = list(names)
    while len(codes) < len(names):
        time.sleep(LOOK[cluster.name])
        kept = {name: job for name, job in _kept(folder).items() if name in names}
        try:
            at_work = cluster_queue.under_way(kept, folder)
        except UserError as error:
            log.warn(error.message)
            continue
        for name in names:
            if name in codes or name in at_work or is_busy(folder / name):
                continue
            codes[name] = _code(folder, name)
            log.say(f"  {_shown(folder, name)}: {state.ending(folder / name, codes[name])}")
    return codes


def _say(ids: Mapping[str, str], folder: Path, cluster: Cluster) -> None:
    """The job ids, where they write, how to look and how to stop them."""
    single = list(ids) == ["."]
    logs = folder / ("train.log" if single else "NAME/train.log")
    several = "" if single else f"{len(ids)} runs, "
    log.say(f"submitted to {cluster.name}: {several}{_jobs(ids.values())}")
    log.say(f"  what they say: {logs}   what {cluster.name} says: {folder / 'jobs'}")
    main = sorted({job.partition("_")[0] for job in ids.values()}, key=int)
    look, stop = ("squeue --jobs=" + ",".join(main), f"scancel {' '.join(main)}")
    if cluster.name == "local":
        look, stop = "ps " + " ".join(main), "kill " + " ".join(main)
    log.say(f"  look: {look}   {log.typed(f'lowlabel runs {folder}')}   stop: {stop}")
    log.say("  the same command again submits what is neither finished nor under way.")


def _jobs(ids: Iterable[str]) -> str:
    """ "job 12", "job array 12 (4 jobs)"."""
    ids = sorted(set(ids))
    array = {job.partition("_")[0] for job in ids if "_" in job}
    if array:
        return f"job array {', '.join(sorted(array))} ({len(ids)} jobs)"
    return f"job{'s' * (len(ids) > 1)} {', '.join(ids)}"


def _shown(folder: Path, name: str) -> str:
    return (folder / name).name


def _place(folder: Path) -> Path:
    return folder / "jobs" / "jobs.json"


def _code(folder: Path, name: str) -> int:
    """The exit code that a run's job has noted; 1 where it was killed before it could."""
    note = noted(folder / "jobs", folder / name)
    return int(note.read_text(encoding="utf-8")) if note.exists() else 1


def _kept(folder: Path) -> dict[str, Any]:
    """What was submitted from here: {run's name: {"cluster", "job", "config"}}."""
    return files.read_json(_place(folder)) if _place(folder).exists() else {}
