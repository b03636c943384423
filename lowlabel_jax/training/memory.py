"""Whether a step fits into the device's memory: asked before the first one, and said when not."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from lowlabel_jax.core import named, parallel
from lowlabel_jax.core.errors import UserError

FULL = ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory")  # what XLA and CUDA say
SMALLER = 2  # settings that a hint names


def inspector(
    config: Mapping[str, Any], spec: Mapping[str, Any], sizes: Mapping[str, int]
) -> Callable[[Any], None]:
    """look(compiled): raise UserError where the program needs more than a device has.

    Backends that do not say what they have (the CPU) are not asked. sizes: stream -> global batch.
    """

    def look(compiled: Any) -> None:
        there = limit()
        needed = bytes_of(compiled.memory_analysis()) if there else 0
        if needed > there:
            raise UserError(
                f"a step of {_size(config, sizes)} needs {needed / 2**30:.2f} GiB on each device "
                f"(data that stays there included), and {there / 2**30:.2f} GiB are there.",
                _hint(config, spec, sizes),
            )

    return look


def limit() -> int:
    """Bytes that JAX may use on the smallest local device; 0 where the backend does not say."""
    found = [(device.memory_stats() or {}).get("bytes_limit", 0) for device in jax.local_devices()]
    return min(found, default=0)


def bytes_of(planned: Any) -> int:
    """What XLA plans for a program on each device: arguments, results, working memory.

    What is donated is counted once.
    """
    kept = planned.argument_size_in_bytes + planned.output_size_in_bytes
    return kept - planned.alias_size_in_bytes + planned.temp_size_in_bytes


@contextlib.contextmanager
def explained(config: Mapping[str, Any], sizes: Mapping[str, int]) -> Iterator[None]:
    """Turn a device that is out of memory into an error line and settings that need less.

    sizes: stream -> global batch, of the last phase.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not any(said in str(error) for said in FULL):
            raise
        raise UserError(
            f"the device is out of memory at a step of {_size(config, sizes)}: "
            f"{str(error).splitlines()[0][:160]} Checkpoints stay as they are.",
            _hint(config, config["phases"][-1], sizes),
        ) from error


def smaller(
    config: Mapping[str, Any], spec: Mapping[str, Any], sizes: Mapping[str, int]
) -> list[str]:
    """Overrides that need less memory, each by itself and valid on the devices, the best first."""
    devices = parallel.device_total(config["devices"])
    batch, mu = config["batch"]["labelled"], config["batch"]["mu"]
    found = []
    if (half := batch // 2 // devices * devices) > 0:
        found.append(f"--config.batch.labelled={half}")
    if mu > 1 and "unlabelled" in sizes:
        found.append(f"--config.batch.mu={mu // 2}")
    if "image" in named.options("source", config["source"]["name"]):
        found.append(f"--config.image.size={max(config['image']['size'] * 2 // 3, 1)}")
    if config["model"].get("dtype") == "float32":
        found.append("--config.model.dtype=bfloat16")
    if spec["objective"].get("split") is False:
        found.append("--config.objective.split=True")
    return found


def _hint(config: Mapping[str, Any], spec: Mapping[str, Any], sizes: Mapping[str, int]) -> str:
    found = smaller(config, spec, sizes)[:SMALLER]
    return (
        f"try {' or '.join(found)}, in a --workdir of its own."
        if found
        else "use a device that has more."
    )


def _size(config: Mapping[str, Any], sizes: Mapping[str, int]) -> str:
    """What decides it, in words."""
    shape = "x".join(str(n) for n in config["info"]["image_shape"])
    shown = " + ".join(f"{n} {stream}" for stream, n in sizes.items())
    return f"{shown} images of {shape} (batch.labelled and batch.mu)"
