"""What has to be set before JAX is imported, and the small worlds that tests share."""

import os
from pathlib import Path

# Eight virtual CPU devices. NPROC sizes XLA's thread pool: with two cores and several forced host
# devices jax 0.10 deadlocks without it when the host runs ahead.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("NPROC", "16")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
).strip()
# Compiled programs are kept, for each process apart: JAX does not write them whole or not at all.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
CACHE = Path(__file__).parent.parent / ".pytest_cache" / "xla" / WORKER
os.environ.setdefault("LOWLABEL_CACHE", str(CACHE))

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", os.environ["LOWLABEL_CACHE"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Let go of compiled programs: with hundreds in one process jaxlib 0.10.2 has crashed."""
    yield
    jax.clear_caches()
