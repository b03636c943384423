"""What XLA is told: options of a compiled program, and where compiled programs are kept."""

import contextlib
import functools
import os
from collections.abc import Iterator

import jax

# On the CPU, XLA hands filter gradients to YNNPACK, which takes 2 to 4 times as long as its own
# kernels (jaxlib 0.10.2: 16x16x64 -> 64, 40 ms against 15). Dots and sums gain from it and stay.
LIBRARY_KINDS = "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE"
CPU_OPTIONS = (("xla_cpu_experimental_ynn_fusion_type", LIBRARY_KINDS),)


def compile_options(backend: str) -> dict[str, str]:
    """compiler_options for a backend: those that this jaxlib knows, for they come and go."""
    return dict(CPU_OPTIONS) if backend == "cpu" and _knows(CPU_OPTIONS) else {}


def use_cache(directory: str | os.PathLike[str]) -> None:
    """Keep compiled programs in `directory`: for front doors, since it changes JAX as a whole.

    A compiled program is code: the directory must be nobody else's to write.
    """
    jax.config.update("jax_compilation_cache_dir", os.fspath(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@contextlib.contextmanager
def without_places() -> Iterator[None]:
    """Programs lowered inside do not name the source files of this machine."""
    before = jax.config.jax_traceback_in_locations_limit  # type: ignore  # jax makes its options at run time
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        jax.config.update("jax_traceback_in_locations_limit", before)


@functools.cache
def _knows(options: tuple[tuple[str, str], ...]) -> bool:
    """Whether the CPU's compiler takes these options. It refuses those that it does not know."""
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        probe = jax.jit(lambda x: x + 1).lower(0.0)
    try:
        probe.compile(compiler_options=dict(options))
    except jax.errors.JaxRuntimeError:
        return False
    return True
