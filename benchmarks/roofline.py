"""What the core can do at most: products of matrices, and copies, measured in the same run."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import interleaved
from benchmarks.interleaved import Options

SIZE, COPIED = 1024, 2**26  # of the matrices; bytes, more than caches hold


def measured(options: Options, ask: Callable | None) -> dict[str, float]:
    """{what: GFLOP/s, or GB/s}, the best of the rounds."""
    size, copied = (64, 2**16) if options.quick else (SIZE, COPIED)
    source, target = np.ones(copied, np.uint8), np.zeros(copied, np.uint8)
    clocks = {
        "JAX float32": interleaved.clock(product(size, "float32")),
        "JAX bfloat16": interleaved.clock(product(size, "bfloat16")),
        "copy": interleaved.clock(lambda: np.copyto(target, source)),
    }
    if ask:
        for kind in ("float32", "bfloat16"):
            clocks[f"PyTorch {kind}"] = lambda turns, kind=kind: ask(str(size), kind, turns)
    work = {who: 2e-9 * size**3 for who in clocks} | {"copy": 2e-9 * copied}
    found = interleaved.rounds(clocks, options)
    return {who: work[who] / min(cpu for cpu, _ in times) for who, times in found.items()}


def product(size: int, kind: str) -> Callable[[], Any]:
    """A product of two square matrices by XLA."""
    import jax

    from lowlabel_jax.ops.compiling import compile_options

    a = jax.numpy.ones((size, size), kind)
    how = compile_options("cpu")
    compiled = jax.jit(jax.numpy.matmul).lower(a, a).compile(compiler_options=how)
    return lambda: jax.block_until_ready(compiled(a, a))


def written(roof: dict[str, float]) -> str:
    """The roof in a sentence."""
    products = [f"{name} {rate:,.0f}" for name, rate in roof.items() if name != "copy"]
    return (
        f"\nThe core itself, GFLOP/s in products of {SIZE} x {SIZE} matrices: "
        f"{', '.join(products)}; copies {roof['copy']:.1f} GB/s, read and written.\n"
    )
