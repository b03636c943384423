"""What a front door does before the first array: environment, then JAX's persistent cache."""

import os
from pathlib import Path


def jax_ready() -> None:
    """Set what must be set before JAX is imported, import it, keep compiled programs.

    Compiled programs lie in LOWLABEL_CACHE, else in the user's own cache directory: they are code,
    so the directory must be nobody else's to write.
    """
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        # Several forced host devices on few cores deadlock (jax 0.10) when the host runs ahead,
        # unless XLA's thread pool, which it sizes by NPROC, is larger than the number of cores.
        os.environ.setdefault("NPROC", "16")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    from lowlabel_jax.ops.compiling import use_cache

    use_cache(cache_directory())


def cache_directory() -> Path:
    """Where compiled programs are kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("LOWLABEL_CACHE") or Path(home) / "lowlabel_jax" / "xla")
