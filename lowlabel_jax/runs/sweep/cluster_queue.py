"""Which jobs a cluster still has, asked of SLURM or of this machine. No submitit here."""

import getpass
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from lowlabel_jax.core.errors import UserError

SQUEUE = ("squeue", "--noheader", "--array", "--format=%i")  # one line for each job of an array


def under_way(jobs: Mapping[str, Mapping[str, str]], folder: Path) -> dict[str, str]:
    """{run's name: job id} of those that wait or run. jobs: {name: {"cluster": ..., "job": ...}}.

    Raises UserError where squeue does not answer: nothing is submitted twice.
    """
    there = set[str]()
    for cluster in {job["cluster"] for job in jobs.values()}:
        ids = {job["job"] for job in jobs.values() if job["cluster"] == cluster}
        there |= _queued() if cluster == "slurm" else _alive(ids, folder)
    return {name: job["job"] for name, job in jobs.items() if job["job"] in there}


def _queued() -> set[str]:
    """The ids of this user's jobs that SLURM has not ended: "12", "13_0"."""
    command = [*SQUEUE, "--user", getpass.getuser()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or error
        raise UserError(
            f"SLURM could not be asked which jobs are under way: {str(said).strip()}",
            "try again where squeue answers: a job is not submitted while another may be at it.",
        ) from None
    return set(done.stdout.split())


def _alive(ids: Iterable[str], folder: Path) -> set[str]:
    """Those of the process ids that are still submitit's, of this folder, and not another's."""
    return {pid for pid in ids if str(folder.absolute()).encode() in _command(pid)}


def _command(pid: str) -> bytes:
    try:
        return Path("/proc", pid, "cmdline").read_bytes()
    except OSError:
        return b""
