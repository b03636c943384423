"""Weights of a vision transformer for another image size or patch size than they were trained at.

Letters: h w a grid's or a kernel's height and width, c i o channels.
"""

import math

import numpy as np

CUBIC = -0.5  # of the cubic kernel: PyTorch's, where it averages (antialias=True), and Pillow's
REACH = 2.0  # pixels of the smaller of both images


def resizer(old: int, new: int) -> np.ndarray:
    """float64 [new, old]: bicubic interpolation along one axis, averaging where it shrinks."""
    scale = max(old / new, 1.0)
    centres = (np.arange(new)[:, None] + 0.5) * old / new
    weights = _cubic(np.abs(np.arange(old)[None] + 0.5 - centres) / scale)
    return weights / weights.sum(1, keepdims=True)


def _cubic(x: np.ndarray) -> np.ndarray:
    """The cubic convolution kernel at distances x >= 0 (Keys, 1981)."""
    near = (CUBIC + 2) * x**3 - (CUBIC + 3) * x**2 + 1
    far = CUBIC * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x < 1, near, np.where(x < REACH, far, 0.0))


def positions(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A position embedding [1, t, c] or [t, c] for another square grid: shape (t', c).

    The class token's row, where there is one, comes first and stays as it is; whether there is one
    is known from t, for a square and a square + 1 are never both.
    Raises ValueError where one of both has a row of the class token and the other none.
    """
    rows = array.reshape(-1, array.shape[-1])
    if len(rows) == shape[0]:
        return rows
    first, old = _grid(len(rows))
    also_first, new = _grid(shape[0])
    if first != also_first:
        raise ValueError("one has a row of the class token, the other none")
    turn = resizer(old, new)
    grid = rows[first:].reshape(old, old, -1).astype(np.float64)
    grid = np.einsum("ih,jw,hwc->ijc", turn, turn, grid)
    return np.concatenate([rows[:first], grid.reshape(new * new, -1)])


def _grid(count: int) -> tuple[int, int]:
    """(1 with a row of the class token, else 0; the grid's side) of so many rows."""
    for first in (0, 1):
        side = math.isqrt(count - first)
        if side * side == count - first:
            return first, side
    raise ValueError(f"{count} rows are no square grid")


def patches(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """PyTorch's patch embedding [o, i, h, w] for patches of another size: shape (h', w', i, o).

    By the pseudo-inverse of resizing (arXiv:2212.08013, section 3.4): enlarged patches give with
    the new kernel what they gave before with the old one.
    """
    kernel = array.transpose(2, 3, 1, 0)
    if kernel.shape[:2] == shape[:2]:
        return kernel
    down, across = (
        np.linalg.pinv(resizer(old, new).T)
        for old, new in zip(kernel.shape[:2], shape[:2], strict=True)
    )
    return np.einsum("ah,bw,hwio->abio", down, across, kernel.astype(np.float64))
