"""What has to be set before JAX is imported, and the small worlds that tests share."""

import importlib.metadata
import os
import socket
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
CACHE = Path(__file__).parent.parent / ".pytest_cache" / "lowlabel" / WORKER
os.environ.setdefault("LOWLABEL_CACHE", str(CACHE))

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(Path(os.environ["LOWLABEL_CACHE"]) / "xla"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


DEAR = Path(__file__).parent / "dear.txt"  # ids of tests that take 5 s and more, of which others
# like them are in the default suite; from `pytest --durations=400`


def pytest_collection_modifyitems(items):
    """What is dear is slow, so that the default suite stays below 15 minutes."""
    dear = set(DEAR.read_text(encoding="utf-8").splitlines())
    for item in items:
        if item.nodeid in dear:
            item.add_marker(pytest.mark.slow)


def pytest_report_header():
    """What the suite ran on: the lower bounds of pyproject.toml are no older than this."""
    names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pillow")
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def guarded(real):
    """A function of sockets that takes addresses of this machine alone."""

    def only_here(self, address, *more):
        here = str(address[0]).startswith("127.") or address[0] in ("::1", "localhost")
        if self.family in (socket.AF_INET, socket.AF_INET6) and not here:
            pytest.fail(f"a test reaches for the network: {address}")
        return real(self, address, *more)

    return only_here


def only_names_here(real):
    """getaddrinfo for this machine's names alone: looking up others asks a server."""

    def look_up(host, *more, **options):
        if host not in (None, "", "localhost", "127.0.0.1", "::1", socket.gethostname()):
            pytest.fail(f"a test looks up a name: {host}")
        return real(host, *more, **options)

    return look_up


@pytest.fixture(autouse=True)
def programs_apart(request):
    """A test that changes code while it runs neither gets nor leaves other tests' programs."""
    if "monkeypatch" not in request.fixturenames:
        yield
        return
    from lowlabel_jax.training import again

    again.forget()
    yield
    again.forget()


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """Nothing is fetched in tests: Python's sockets reach this machine and no other.

    pytest.fail is no Exception, so code that gives up on errors in silence does not hide it.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
        patch.setattr(socket, "getaddrinfo", only_names_here(socket.getaddrinfo))
        yield


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Let go of compiled programs: with hundreds in one process jaxlib 0.10.2 has crashed."""
    yield
    jax.clear_caches()
