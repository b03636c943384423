"""The structural similarity of two images (SSIM; Wang et al. 2004, equation 13)."""

import jax
from jax import lax

WINDOW = 7  # pixels, a side of the square that means and variances are of
C1, C2 = 0.01**2, 0.03**2  # (K1 L)² and (K2 L)² of the paper, for pixels in [0, 1]


def ssim(a: jax.Array, b: jax.Array) -> jax.Array:
    """a, b [b, h, w, c] in [0, 1] -> [b] in [-1, 1], 1 where they are equal.

    Uniform windows of 7x7 pixels (of the side, where images are smaller) that lie wholly inside,
    sample covariances, and the mean over windows and channels, as scikit-image has it by default.
    """
    side = min(WINDOW, *a.shape[1:3])
    n = side * side
    mean_a, mean_b = _means(a, side), _means(b, side)
    unbiased = n / max(n - 1, 1)
    var_a = unbiased * (_means(a * a, side) - mean_a * mean_a)
    var_b = unbiased * (_means(b * b, side) - mean_b * mean_b)
    both = unbiased * (_means(a * b, side) - mean_a * mean_b)
    found = (2 * mean_a * mean_b + C1) * (2 * both + C2)
    found /= (mean_a * mean_a + mean_b * mean_b + C1) * (var_a + var_b + C2)
    return found.mean((1, 2, 3))


def _means(x: jax.Array, side: int) -> jax.Array:
    """[b, h, w, c] -> the means of all windows, [b, h - side + 1, w - side + 1, c]."""
    window = (1, side, side, 1)
    return lax.reduce_window(x, 0.0, lax.add, window, (1, 1, 1, 1), "VALID") / (side * side)
