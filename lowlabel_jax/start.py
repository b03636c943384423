"""What a front door does before the first array: environment, then JAX's persistent cache."""

import os
from pathlib import Path

from lowlabel_jax.core import files


def jax_ready() -> None:
    """Set what must be set before JAX is imported, import it, keep compiled programs."""
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        # Several forced host devices on few cores deadlock (jax 0.10) when the host runs ahead,
        # unless XLA's thread pool, which it sizes by NPROC, is larger than the number of cores.
        os.environ.setdefault("NPROC", "16")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    from lowlabel_jax.ops.compiling import use_cache

    use_cache(cache_directory())


def cache_directory() -> Path:
    """Where compiled programs are kept between runs."""
    return files.cache_directory() / "xla"
