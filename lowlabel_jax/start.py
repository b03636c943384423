"""What a front door does before the first array: environment, then JAX's persistent cache."""

import os
import sys
from pathlib import Path

from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def jax_ready() -> None:
    """Set what must be set before JAX is imported, import it, keep compiled programs."""
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        # Several forced host devices on few cores deadlock (jax 0.10) when the host runs ahead,
        # unless XLA's thread pool, which it sizes by NPROC, is larger than the number of cores.
        os.environ.setdefault("NPROC", "16")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    from lowlabel_jax.ops.compiling import use_cache

    use_cache(cache_directory())


def deterministic() -> None:
    """Ask XLA for the same bits in every run on a GPU, which costs speed; the CPU gives them.

    Raises UserError where JAX is imported already: XLA reads its flags when it starts.
    """
    if "jax" in sys.modules:
        raise UserError(
            "--deterministic comes too late: JAX is imported already.",
            f"set XLA_FLAGS={DETERMINISTIC} before Python starts.",
        )
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()


def cache_directory() -> Path:
    """Where compiled programs are kept between runs."""
    return files.cache_directory() / "xla"
