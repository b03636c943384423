"""The network of a run as one program, from its uint8 images on, for the CPU and for CUDA.

jax.export writes it as StableHLO with the weights inside and the batch left open. Both ways of our
operations are in it, with one set of weights: the CPU's (ops/), and XLA's own for CUDA;
which of them runs is decided where it runs.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax

from lowlabel_jax.augment.views import normalise
from lowlabel_jax.ops.compiling import compile_options, without_places
from lowlabel_jax.ops.convolution import written_for

PLATFORMS = ("cpu", "cuda")
Outputs = dict[str, Any]
Program = Callable[[Any], Outputs]


def outputs(apply: Callable, task: str, variables: Any, images: jax.Array) -> Outputs:
    """images uint8 [b, h, w, c] -> {"probabilities" [b, k], "features" [b, f]}, float32.

    Where the task is restoration, "restored" [b, h, w, c] in [0, 1] stands for probabilities: no
    label has taught them.
    """
    logits, ends = apply(variables, normalise(images), train=False)
    features = ends["features"].astype(jnp.float32)
    if task == "restoration":
        return {"restored": jax.nn.sigmoid(ends["restored"]), "features": features}
    return {"probabilities": jax.nn.softmax(logits.astype(jnp.float32)), "features": features}


def program(apply: Callable, task: str, variables: Any) -> Program:
    """images uint8 [b, h, w, c] -> outputs, written for every platform, the weights inside.

    The network is traced for one image and mapped over them, so that it may ask for the size of its
    batch, which is open here; the programs are equally fast.
    """

    def written(impl: str) -> Callable[[Any, Any], Outputs]:
        def of_one(variables: Any, image: jax.Array) -> Outputs:
            with written_for(impl):
                found = outputs(apply, task, variables, image[None])
            return {name: value[0] for name, value in found.items()}

        return jax.vmap(of_one, in_axes=(None, 0))

    ways = {"cpu": written("cpu"), "cuda": written("native")}
    kept = jax.tree.map(np.asarray, variables)
    return lambda images: lax.platform_dependent(kept, images, **ways)


def stablehlo(made: Program, shape: tuple[int, ...]) -> export.Exported:
    """The program for images [b, *shape], of any b from 1 on."""
    (b,) = export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((b, *shape), jnp.uint8)
    with without_places():
        return export.export(jax.jit(made), platforms=PLATFORMS)(images)


def loaded(data: bytes) -> Program:
    """The program that `stablehlo` has made, read from its serialised bytes."""
    options = compile_options(jax.default_backend())
    return jax.jit(export.deserialize(bytearray(data)).call, compiler_options=options)


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float]:
    """The largest difference of each output."""
    pairs = {name: (np.asarray(one[name]), np.asarray(other[name])) for name in one}
    return {name: float(np.abs(a - b).max()) for name, (a, b) in pairs.items()}
