"""Pooling whose gradient is fast on the CPU.

XLA:CPU's own (select-and-scatter) takes 33 ms forward and back for 64x32x32x32 and 2x2 windows;
maxima of shifted slices take 1.0 (one core, jaxlib 0.10.2).
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from lowlabel_jax.ops.convolution import Padding, explicit_pads, implementation


def max_pool(
    x: jax.Array,
    window: tuple[int, int] = (2, 2),
    strides: tuple[int, int] | None = None,
    padding: Padding = "VALID",
    impl: str = "auto",
) -> jax.Array:
    """x [b, h, w, c] -> [b, h', w', c], the largest of each window; strides None: the window's.

    NaN in a window makes its maximum NaN. Where the largest value occurs more than once, "native"
    gives the whole gradient to the first, "cpu" divides it among them.
    """
    steps = strides or window
    pads = explicit_pads(padding, x.shape[1:3], window, steps)
    if implementation(impl) == "native":
        sides = ((0, 0), *pads, (0, 0))
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *steps, 1), sides)
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    for axis in (1, 2):  # 3x3 windows at stride 1: 1.1 ms; width first 3.1
        x = _shifted_maxima(x, axis, window[axis - 1], steps[axis - 1])
    return x


def _shifted_maxima(x: jax.Array, axis: int, window: int, stride: int) -> jax.Array:
    """The largest of each `window` neighbours along one axis."""
    count = (x.shape[axis] - window) // stride + 1
    last = stride * (count - 1) + 1
    shifted = [lax.slice_in_dim(x, start, start + last, stride, axis) for start in range(window)]
    return functools.reduce(jnp.maximum, shifted)
