"""`--cluster_option KEY=VALUE`: what may be asked of a cluster, by its type. No submitit here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lowlabel_jax.core.errors import UserError, nearest, problems

OWN = "sbatch."  # what follows goes to sbatch as it is: sbatch.reservation=night
KNOWN: dict[str, Callable[[str], Any]] = {
    "name": str,
    "timeout_min": int,
    "nodes": int,
    "tasks_per_node": int,
    "cpus_per_task": int,
    "gpus_per_node": int,
    "mem_gb": float,
    "array_parallelism": int,
    "signal_delay_s": int,
    "partition": str,
    "account": str,
    "qos": str,
    "constraint": str,
    "gres": str,
    "nodelist": str,
    "exclude": str,
    "dependency": str,
    "comment": str,
    "mail_type": str,
    "mail_user": str,
    "setup": list,
    "srun_args": list,
}
FOR_ALL = tuple(KNOWN)[:7]  # submitit's words for them are the same on every cluster
DEFAULTS = {"timeout_min": 240, "signal_delay_s": 120}  # minutes a turn, seconds to save in


def read(given: Sequence[str]) -> dict[str, Any]:
    """["gpus_per_node=1", "sbatch.reservation=x"] -> {"gpus_per_node": 1, "additional_parameters":
    {"reservation": "x", ...}}, with what we ask of every cluster. Of `setup` and `srun_args` each
    VALUE is one more line or word. Raises UserError that lists all that is wrong."""
    found: dict[str, Any] = dict(DEFAULTS)
    own: dict[str, Any] = {"requeue": True}  # pre-empted jobs return to the queue
    wrong = []
    for text in given:
        key, _, value = text.partition("=")
        if complaint := _complaint(key, value):
            wrong.append(complaint)
        elif key.startswith(OWN):
            own[key.removeprefix(OWN)] = True if value == "true" else value
        elif KNOWN[key] is list:
            found.setdefault(key, []).append(value)
        else:
            found[key] = KNOWN[key](value)
    problems(wrong, f"KEY is one of {', '.join(KNOWN)}; {OWN}KEY=VALUE is any option of sbatch.")
    return {**found, "additional_parameters": own}


def _complaint(key: str, value: str) -> str:
    """What is wrong with a key and its value; nothing, if nothing is."""
    shown = f"--cluster_option {key}={value}"
    if not value or key == OWN:
        return f"{shown} is not KEY=VALUE."
    if key.startswith(OWN):
        return ""
    if key not in KNOWN:
        return f"{shown}: there is no option {key!r}.{nearest(key, KNOWN)}"
    try:
        enough = KNOWN[key] in (str, list) or KNOWN[key](value) > 0
    except ValueError:
        enough = False
    kind = "whole number" if KNOWN[key] is int else "number"
    return "" if enough else f"{shown}: {key} is a {kind} above 0."


def for_submitit(options: Mapping[str, Any], cluster: str) -> dict[str, Any]:
    """The options as submitit's AutoExecutor takes them: those of SLURM alone by a prefix."""
    if cluster == "local":
        return {key: value for key, value in options.items() if key in FOR_ALL}
    return {key if key in FOR_ALL else f"slurm_{key}": value for key, value in options.items()}


def without_meaning(given: Sequence[str]) -> list[str]:
    """The options given that a single machine knows nothing of."""
    keys = {text.partition("=")[0] for text in given}
    return sorted(keys - {"timeout_min", "tasks_per_node", "nodes", "array_parallelism"})


def check_together(cluster: str, options: Mapping[str, Any], processes: bool) -> None:
    """Raise UserError where the processes asked for are not of one run, or not of one machine.

    processes: whether the command says that several train together.
    """
    tasks = options.get("nodes", 1) * options.get("tasks_per_node", 1)
    if tasks > 1 and not processes:
        raise UserError(
            f"a job of {tasks} processes (nodes, tasks_per_node) would train its run as often.",
            "add --processes=auto to a single run, so that they train it together.",
        )
    if cluster == "local" and options.get("nodes", 1) > 1:
        raise UserError("--cluster=local is one machine: nodes=1.", "leave nodes out.")
