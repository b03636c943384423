"""What of the machine each of several worker processes has: GPUs, or cores. Never imports JAX."""

import importlib.metadata
import os
import shutil
import subprocess
from collections.abc import Mapping

FORCED = "xla_force_host_platform_device_count"
OF_A_GPU = 0.9  # of its memory, that processes which share it may have together


def share(workers: int, number: int = 0) -> dict[str, str]:
    """The environment of worker `number` of so many: its own GPUs, or its share of the cores.

    One worker has everything. Of fewer GPUs than workers each is shared, and so is its memory.
    """
    found, environment = gpus(), dict(os.environ)
    if workers > 1 and found:
        each = max(len(found) // workers, 1)
        first = number * each % len(found)
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(found[first : first + each])
        beside = -(-workers // len(found))
        if beside > 1:
            part = f"{OF_A_GPU / beside:.2f}"
            environment.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", part)
    elif workers > 1 and FORCED not in environment.get("XLA_FLAGS", ""):
        cores = len(os.sched_getaffinity(0))
        environment.setdefault("NPROC", str(max(cores // workers, 1)))
    return environment


def default_workers(devices: int = 1) -> int:
    """As many as there are GPUs for runs of so many devices each; 1 on the CPU."""
    return max(len(gpus()) // max(devices, 1), 1)


def gpus() -> list[str]:
    """The names of the GPUs that JAX would use, as CUDA_VISIBLE_DEVICES has them; [] for none."""
    if "cpu" in os.environ.get("JAX_PLATFORMS", "").split(",")[:1] or not _has_cuda_plugin():
        return []
    return listed(os.environ, _nvidia_smi())


def listed(environment: Mapping[str, str], there: str) -> list[str]:
    """The GPUs of CUDA_VISIBLE_DEVICES up to the first that is none, as CUDA reads it; where that
    is not set, all that `nvidia-smi --list-gpus` has printed."""
    if "CUDA_VISIBLE_DEVICES" not in environment:
        return [str(i) for i in range(sum(line.startswith("GPU ") for line in there.splitlines()))]
    names = [name.strip() for name in environment["CUDA_VISIBLE_DEVICES"].split(",")]
    none = [i for i, name in enumerate(names) if not name or name.startswith("-")]
    return names[: none[0]] if none else names


def _has_cuda_plugin() -> bool:
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return any("cuda" in plugin.name for plugin in plugins)


def _nvidia_smi() -> str:
    program = shutil.which("nvidia-smi")
    if not program:
        return ""
    try:
        return subprocess.run(
            [program, "--list-gpus"], capture_output=True, text=True, timeout=20
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
