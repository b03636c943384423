"""What has to be set before JAX is imported, and the small worlds that tests share."""

import os
import tempfile

# Eight virtual CPU devices. NPROC sizes XLA's thread pool: with two cores and several forced host
# devices jax 0.10 deadlocks without it when the host runs ahead.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("NPROC", "16")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
).strip()
os.environ.setdefault("LOWLABEL_CACHE", os.path.join(tempfile.gettempdir(), "lowlabel-test-cache"))

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", os.environ["LOWLABEL_CACHE"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Let go of compiled programs: with hundreds in one process jaxlib 0.10.2 has crashed."""
    yield
    jax.clear_caches()
