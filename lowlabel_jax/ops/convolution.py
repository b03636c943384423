"""2-D convolution whose gradients stay fast on the CPU, also inside lax.scan.

XLA:CPU brings convolutions into the form its fast kernels want only in a program's entry, not in
the body of a loop (jax issue 12868): JAX's own gradients, which need that, crawl there. Ours are
written in that form (NHWC, HWIO) to begin with: 64x16x16x64 -> 64 in a scan, forward and back,
19 ms a turn against 2143; outside of loops the two are equal (one core, jaxlib 0.10.2).
"""

import contextlib
import contextvars
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Padding = str | Sequence[tuple[int, int]]  # "SAME", "VALID" or ((top, bottom), (left, right))
LAYOUT = ("NHWC", "HWIO", "NHWC")
IMPLEMENTATIONS = ("native", "cpu")
AUTO = contextvars.ContextVar("implementation", default="auto")  # what "auto" stands for
MOST_TAPS = 49  # a kernel of more is not laid out as slices, one for each of its pixels


class Window(NamedTuple):
    """How a kernel moves over an image: a pair for height and width each."""

    strides: tuple[int, int]
    pads: tuple[tuple[int, int], ...]  # may be negative: then the edge is cropped
    spread: tuple[int, int] = (1, 1)  # distance of neighbouring pixels, zeros between them
    kernel_spread: tuple[int, int] = (1, 1)


def conv2d(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, int] = (1, 1),
    padding: Padding = "SAME",
    impl: str = "auto",
) -> jax.Array:
    """x [b, h, w, c], kernel [i, j, c, o] -> [b, h', w', o].

    impl: "native" leaves gradients to JAX; "cpu" has its own, reverse mode only but of any order
    (the gradient of a convolution is a convolution of the same kind); "auto" takes "cpu" where the
    default backend is the CPU. Forward mode (jax.jvp, jax.linearize) needs "native".
    """
    pads = explicit_pads(padding, x.shape[1:3], kernel.shape[:2], strides)
    window = Window(strides, pads)
    if implementation(impl) == "native":
        return _convolve(x, kernel, window)
    if kernel.shape[:2] == (1, 1) and window == Window((1, 1), ((0, 0), (0, 0))):
        # 41 ms forward and back, 50 as a convolution, 76 as an einsum (32x32x32x64 -> 128).
        return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:3], -1)
    # A kernel larger than its image (dx: than what came out) has naive loops in XLA:CPU: 3x3 on
    # 360x2x2x64 -> 128 takes 49 ms forward and back, 3.7 as a matrix product.
    if math.prod(kernel.shape[:2]) <= MOST_TAPS and _is_larger(kernel, x, window):
        return _product(x, kernel, window)
    return _canonical(x, kernel, window)


def implementation(impl: str) -> str:
    """What runs, "native" or "cpu": "auto" is decided here, when the caller is traced."""
    impl = AUTO.get() if impl == "auto" else impl
    if impl == "auto":
        return "cpu" if jax.default_backend() == "cpu" else "native"
    if impl not in IMPLEMENTATIONS:
        raise ValueError(f"no implementation called {impl!r}. There are: auto, native, cpu.")
    return impl


@contextlib.contextmanager
def written_for(impl: str) -> Iterator[None]:
    """What is traced inside takes `impl` where it is "auto": for a program that runs elsewhere."""
    before = AUTO.set(impl)
    try:
        yield
    finally:
        AUTO.reset(before)


def explicit_pads(
    padding: Padding, size: Sequence[int], kernel: Sequence[int], strides: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """((top, bottom), (left, right)) for a padding that may be given by name."""
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(size, kernel, strides, padding)
    return tuple((low, high) for low, high in padding)


def _is_larger(kernel: jax.Array, x: jax.Array, window: Window) -> bool:
    """Whether the kernel is larger than the image or than what comes out."""
    for taps, size, stride, (low, high) in zip(
        kernel.shape[:2], x.shape[1:3], window.strides, window.pads, strict=True
    ):
        out = (size + low + high - taps) // stride + 1
        if taps > min(size, out):
            return True
    return False


def _product(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """The convolution as one matrix product: all windows, laid out flat, with the kernel."""
    sides = [(low, high, 0) for low, high in window.pads]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *sides, (0, 0, 0)])
    for axis in (1, 2):
        taps, stride = kernel.shape[axis - 1], window.strides[axis - 1]
        last = x.shape[axis] - taps + 1
        shifted = [lax.slice_in_dim(x, t, t + last, stride, axis) for t in range(taps)]
        x = jnp.stack(shifted, -2)
    return jnp.tensordot(x, kernel, 3)  # [b, h', w', i, j, c] with [i, j, c, o]


def _convolve(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    strides, pads, spread, kernel_spread = window
    return lax.conv_general_dilated(x, kernel, strides, pads, spread, kernel_spread, LAYOUT)


_canonical = jax.custom_vjp(_convolve, nondiff_argnums=(2,))


def _forward(x: jax.Array, kernel: jax.Array, window: Window):
    return _canonical(x, kernel, window), (x, kernel)


def _backward(window: Window, kept: tuple[jax.Array, jax.Array], g: jax.Array):
    """g [b, h', w', o] -> (dx [b, h, w, c], dkernel [i, j, c, o]).

    Along one axis, with x and g spread out: y[s·i] = Σ_j kernel[j] x[s·i + r·j - low]. So dx is
    the spread-out g under the turned kernel, and dkernel is x under the spread-out g as a kernel.
    """
    x, kernel = kept
    strides, _, spread, kernel_spread = window
    pads_x, pads_kernel = _gradient_pads(x.shape[1:3], kernel.shape[:2], g.shape[1:3], window)
    turned = lax.rev(kernel, (0, 1)).transpose(0, 1, 3, 2)  # [i, j, o, c]
    dx = _canonical(g, turned, Window(spread, pads_x, strides, kernel_spread))
    # Channels take the place of the batch, and the batch is what is summed over.
    images, filters = x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3)
    dkernel = _canonical(images, filters, Window(kernel_spread, pads_kernel, spread, strides))
    return dx, dkernel.transpose(1, 2, 0, 3)


def _gradient_pads(size: Sequence[int], kernel: Sequence[int], out: Sequence[int], window: Window):
    """The pads with which the gradients come out as large as x and kernel are."""
    pads_x, pads_kernel = [], []
    for axis, (low, _) in enumerate(window.pads):
        x = window.spread[axis] * (size[axis] - 1) + 1  # lengths, spread out
        k = window.kernel_spread[axis] * (kernel[axis] - 1) + 1
        y = window.strides[axis] * (out[axis] - 1) + 1
        pads_x.append((k - 1 - low, x - y + low))
        pads_kernel.append((low, y + k - 1 - x - low))
    return tuple(pads_x), tuple(pads_kernel)


_canonical.defvjp(_forward, _backward)
