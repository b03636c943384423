"""Runs handed to submitit: what a job is, what it asks for, how its signal is called."""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.runs.sweep import cluster_options
from lowlabel_jax.runs.sweep.cluster_job import Job
from lowlabel_jax.runs.sweep.share import share

ROOT = Path(__file__).parent.parent.parent.parent
TURNS = 100  # times that a run may spend a job's time and be queued again
# What share() decides; the rest of this process' environment, secrets too, stays out of the pickle.
SHARED = ("NPROC", "CUDA_VISIBLE_DEVICES", "XLA_PYTHON_CLIENT_MEM_FRACTION")
Commands = Mapping[str, Sequence[str]]  # run's name -> its command, as plan.command makes it


class Cluster(NamedTuple):
    """Where runs go, and whether somebody waits for them."""

    name: str  # slurm, local
    options: dict[str, Any]
    wait: bool = False


def submit(commands: Commands, folder: Path, cluster: Cluster) -> dict[str, str]:
    """{run's name: job id}, of one array where there are several jobs. Raises UserError."""
    jobs = _dealt(commands, folder, cluster)
    try:
        found = executor(folder, cluster).submit_array(list(jobs.values()))
    except Exception as error:  # of submitit and sbatch: a partition that there is not, no quota
        raise UserError(
            f"the jobs could not be submitted: {error}",
            "the options are those of sbatch; see --cluster_option in docs/clusters.md.",
        ) from error
    return {name: job.job_id for hand, job in zip(jobs, found, strict=True) for name in hand}


def _dealt(commands: Commands, folder: Path, cluster: Cluster) -> dict[tuple[str, ...], Job]:
    """{names: the job that trains them}. SLURM gets a job for each run and shares them out itself;
    this machine has no queue, so as many jobs as may run at once have the runs in turn."""
    names, here = list(commands), Path.cwd()
    local = cluster.name == "local"
    many = min(cluster.options.get("array_parallelism", 1), len(names)) if local else len(names)
    hands = [tuple(names[first::many]) for first in range(many)]
    jobs = {}
    for number, hand in enumerate(hands):
        mine = share(many, number)
        environment = {key: mine[key] for key in SHARED if key in mine}
        runs = [(folder / name, commands[name]) for name in hand]
        jobs[hand] = Job(runs, here, folder / "jobs", environment if local else None)
    return jobs


def executor(folder: Path, cluster: Cluster) -> Any:
    """submitit's executor, whose files lie in FOLDER/jobs/ and whose signal is SIGUSR1."""
    os.environ["SUBMITIT_PREEMPT_SIGNAL"] = "USR1"  # what launch.py knows; read at its import
    import submitit

    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    settings = shlex.join(["env", f"PYTHONPATH={path}", "SUBMITIT_PREEMPT_SIGNAL=USR1"])
    how = {"max_num_timeout": TURNS, "python": f"{settings} {shlex.quote(sys.executable)}"}
    made = submitit.AutoExecutor(
        folder / "jobs", cluster.name, **{f"{cluster.name}_{key}": how[key] for key in how}
    )
    name = folder.absolute().name
    made.update_parameters(
        **cluster_options.for_submitit({"name": name, **cluster.options}, cluster.name)
    )
    return made
