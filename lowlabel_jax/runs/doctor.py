"""What this machine offers, so that a question about a failure starts with facts."""

import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from lowlabel_jax import __version__, start
from lowlabel_jax.core import log
from lowlabel_jax.ops.compiling import compile_options
from lowlabel_jax.runs import directory as rundir

OPTIONAL = {"tensorboard": "look at tb/", "array_record": "read TensorFlow Datasets"}


def doctor() -> int:
    """Print one line a fact; 2 where something that a run needs is missing."""
    import jax

    log.say(f"lowlabel_jax {__version__}")
    for name in rundir.PACKAGES:
        log.say(f"{name:<20} {importlib.metadata.version(name)}")
    shown = ", ".join(sorted({f"{d.platform} {d.device_kind}" for d in jax.devices()}))
    log.say(f"{'devices':<20} {jax.local_device_count()} x {shown}")
    log.say(f"{'cpu cores':<20} {len(os.sched_getaffinity(0))} of {os.cpu_count()}")
    log.say(f"{'memory':<20} {_memory() / 2**30:.1f} GiB")
    log.say(f"{'disk here':<20} {shutil.disk_usage('.').free / 2**30:.1f} GiB free")
    log.say(f"{'compile options':<20} {compile_options(jax.default_backend()) or 'none needed'}")
    log.say(f"{'compiled programs':<20} {start.cache_directory()}")
    for name, use in OPTIONAL.items():
        there = "there" if importlib.util.find_spec(name) else f"not installed ({use})"
        log.say(f"{name:<20} {there}")
    writable = _writable(Path("."))
    log.say(f"{'this folder':<20} {'can be written' if writable else 'CANNOT BE WRITTEN'}")
    return 0 if writable else 2


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _writable(place: Path) -> bool:
    try:
        with tempfile.NamedTemporaryFile(dir=place):
            return True
    except OSError:
        return False
