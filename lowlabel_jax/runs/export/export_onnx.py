"""The network as ONNX, through jax2onnx: an extra, for runtimes that know no StableHLO.

XLA's own operations come first. Of its maximum over windows jax2onnx (0.13.0, 0.17.1) makes one
that ONNX Runtime refuses; then the CPU's form is written, which has none.
"""

import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.ops.convolution import written_for
from lowlabel_jax.runs.export import export_program

INPUT = "images"
FORMS = ("native", "cpu")  # of our operations, in the order tried
FATAL = 4  # of ONNX Runtime's levels: below it, it logs what it raises, too


def check() -> None:
    """Raise UserError where what ONNX takes is not installed."""
    try:
        importlib.import_module("jax2onnx")
        importlib.import_module("onnxruntime")
    except ImportError as error:
        raise UserError(
            f"format onnx needs {error.name}, which is not installed.",
            "pip install 'lowlabel_jax[onnx]'",
        ) from None


def onnx(network: Any) -> bytes:
    """A run's network (export.Network) as ONNX: uint8 [b, h, w, c] named "images" -> its outputs.

    Raises UserError for a network that jax2onnx cannot turn into what ONNX Runtime runs.
    """
    why = ""
    for impl in FORMS:
        try:
            data = _written(network, impl)
            run(data, np.zeros((1, *network.shape), np.uint8))
            return data
        except Exception as error:  # whatever two libraries raise about a graph
            why = str(error).splitlines()[0]
    raise UserError(
        f"jax2onnx cannot write {network.config['model']['name']} as ONNX: {why}",
        "--format stablehlo,safetensors needs no such translation.",
    )


def _written(network: Any, impl: str) -> bytes:
    """The network in one form of our operations."""
    to_onnx = importlib.import_module("jax2onnx").to_onnx

    (b,) = export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((b, *network.shape), jnp.uint8)
    names = sorted(jax.eval_shape(lambda x: _outputs(network, x), images))

    def flat(images: jax.Array) -> tuple[jax.Array, ...]:
        with written_for(impl):
            found = _outputs(network, images)
        return tuple(found[name] for name in names)

    made = to_onnx(flat, [images], input_names=[INPUT], output_names=names)
    return made.SerializeToString(deterministic=True)


def run(data: bytes, images: np.ndarray) -> export_program.Outputs:
    """What ONNX Runtime makes of images uint8 [n, h, w, c], on the CPU."""
    onnxruntime = importlib.import_module("onnxruntime")

    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {INPUT: images}), strict=True))


def _outputs(network: Any, images: jax.Array) -> export_program.Outputs:
    return export_program.outputs(network.apply, network.task, network.variables, images)
