"""How well a network restores images: errors and codes image by image, and what they come to.

Pixels are in [0, 1]. What an image is shown as (with noise, for a denoiser) is drawn by the image's
own place in its set: the same on any number of devices, in batches of any size.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lowlabel_jax.augment.views import normalise
from lowlabel_jax.core import parallel
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.evaluation.similarity import ssim
from lowlabel_jax.objectives.pixels import pixel_loss, psnr
from lowlabel_jax.objectives.vae import divergence
from lowlabel_jax.ops.compiling import compile_options
from lowlabel_jax.ops.restoring import Sample, as_images, as_pixels

Rows = dict[str, np.ndarray]  # what is known of n images: name -> float32 [n, …]
Restore = Callable[..., Rows]
BEST = 99.9  # dB: equal images have 100, see objectives.pixels.psnr


@functools.lru_cache(maxsize=4)  # a run asks for the same one at each look and of each set
def restorer(
    apply_fn: Callable,
    corrupt: Callable,
    seed: int,
    batch_size: int,
    devices: int,
    pictures: bool = False,
    variational: bool = False,
) -> Restore:
    """restore(variables, images[, places]) -> rows of uint8 [n, h, w, c] (an array or Images).

    corrupt, seed: what an image is shown as, Objective.corrupt, and the root of its draws.
    places int [n]: of the images in their set, by which noise is drawn; 0 to n - 1 if not given.
    Rows: "psnr", "ssim", "mse", "bce" of the restored image against the clean one, "psnr_shown" of
    what the network was shown, "square", the clean values' mean square, "code" [n, f]; if it is
    variational "kl", in nats; with pictures "shown" and "restored" float32 [n, h, w, c].
    """
    size = -(-batch_size // devices) * devices
    options = compile_options(jax.default_backend())
    forward = _forward(apply_fn, corrupt, seed, pictures, variational)
    mapped = parallel.mapped(forward, devices, sharded_out=True, options=options)

    def restore(variables: Any, images: Any, places: np.ndarray | None = None) -> Rows:
        variables = parallel.replicate(variables, devices)
        places = np.arange(len(images)) if places is None else places
        found: list[Rows] = []
        for start in range(0, len(images), size):
            part = images[start : start + size]
            here = np.asarray(places[start : start + size], np.int32)
            given = {"image": part, "place": here}
            batch = parallel.shard_filled(given, size, devices)
            found.append(parallel.rows(mapped(variables, batch), len(part)))
        return {name: np.concatenate([one[name] for one in found]) for name in found[0]}

    return restore


def _forward(
    apply_fn: Callable, corrupt: Callable, seed: int, pictures: bool, variational: bool
) -> Callable:
    """(variables, batch) -> the rows of a batch of image [b, h, w, c] and place [b]."""

    def forward(variables: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        clean = as_pixels(normalise(batch["image"]))
        keys = parallel.example_keys(jax.random.key(seed), batch["place"])
        shown = jax.vmap(corrupt)(keys, clean)
        _, ends = apply_fn(variables, as_images(shown), train=False)
        restored = jax.nn.sigmoid(ends["restored"])
        rows = {
            "psnr": psnr(restored, clean),
            "psnr_shown": psnr(shown, clean),
            "ssim": ssim(restored, clean),
            "mse": pixel_loss("mse", ends["restored"], clean).mean((1, 2, 3)),
            "bce": pixel_loss("bce", ends["restored"], clean).mean((1, 2, 3)),
            "square": jnp.square(clean).mean((1, 2, 3)),
            "code": ends["features"].astype(jnp.float32),
        }
        if variational:
            rows["kl"] = divergence(ends["mean"], ends["log_variance"]).sum(1)
        return {**rows, "shown": shown, "restored": restored} if pictures else rows

    return forward


def numbers(rows: Rows) -> dict[str, float]:
    """Means over images, ready for JSON: psnr (of each image, in dB), ssim, mse, bce.

    With the objective's noise also the PSNR of what was shown, and what was gained on it; of a VAE
    kl, in nats an image. Raises UserError where a restored image is not finite.
    """
    if len(bad := np.flatnonzero(~np.isfinite(rows["bce"]))):
        raise UserError(
            f"{len(bad)} of {len(rows['bce'])} restored images are not finite (first: {bad[0]}).",
            "the weights are not finite, or the inputs are not; look at the loss of the run.",
        )
    kept = ("psnr", "psnr_shown", "ssim", "mse", "bce", "kl")
    found = {name: float(rows[name].mean(dtype=np.float64)) for name in kept if name in rows}
    if (rows["psnr_shown"] >= BEST).all():  # nothing was done to the images
        found.pop("psnr_shown")
        return found
    return {**found, "psnr_gain": found["psnr"] - found["psnr_shown"]}


def loss(rows: Rows, objective: Mapping[str, Any], values: int) -> float:
    """What an objective (its spec) would call its loss on these rows; values: of an image.

    Of a VAE without its free bits, at the code's mean.
    """
    each = rows[objective["loss"]]
    if "beta" in objective:
        each = each * values + objective["beta"] * rows["kl"]
    return float(each.mean(dtype=np.float64))


def decoded(
    apply_fn: Callable, variables: Any, codes: np.ndarray, image_shape: tuple[int, ...]
) -> np.ndarray:
    """What a VAE's decoder makes of codes [n, f]: float32 [n, h, w, c] in [0, 1].

    The network runs on blank images, and its code is replaced where it would be drawn.
    """

    def replace(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, Sample) and context.method_name == "__call__":
            return jnp.asarray(codes, jnp.float32)
        return call(*args, **kwargs)

    def run(variables: Any) -> jax.Array:
        blank = jnp.zeros((len(codes), *image_shape), jnp.float32)
        with nn.intercept_methods(replace):
            _, ends = apply_fn(variables, blank, train=False)
        return jax.nn.sigmoid(ends["restored"])

    return np.asarray(jax.jit(run)(variables))
