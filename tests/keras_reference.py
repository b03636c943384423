"""Keras' own networks, on its JAX backend, as an implementation to compare ours with."""

import os
from unittest import mock

os.environ["KERAS_BACKEND"] = "jax"  # before the first import of keras in this process

import jax
import numpy as np


def application(name, **options):
    """keras.applications.NAME without trained weights; its last layer gives logits.

    Kernels are 0 until `randomise`: Keras compiles a program for the first value of every shape.
    options: input_shape, include_top, classes, pooling, alpha, ..
    """
    import keras

    if options.get("include_top", True):
        options["classifier_activation"] = None
    with (
        jax.numpy_rank_promotion("allow"),
        mock.patch.object(keras.initializers.VarianceScaling, "__call__", _zeros),
    ):
        return getattr(keras.applications, name)(weights=None, **options)


def kernel(layer, channels, seed=0, **options):
    """The first kernel of keras.layers.LAYER over so many channels, as a numpy array."""
    import keras

    keras.utils.set_random_seed(seed)
    with jax.numpy_rank_promotion("allow"):
        made = getattr(keras.layers, layer)(**options)
        made.build((None, channels) if layer == "Dense" else (None, 8, 8, channels))
    return np.asarray(made.kernel.value)


def randomise(model, seed):
    """Give every weight of the model random numbers, those that begin at 0 or 1 too.

    Kernels keep the size of what passes through; variances lie in 0.5..1.5.
    """
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if np.issubdtype(np.dtype(weight.dtype), np.floating):
            weight.assign(_drawn(rng, weight.path.split("/")[-1], tuple(weight.shape)))


def tensors(model):
    """{"layer/variable": float array, ..}: how a Keras file's tensors are named here."""
    named = {}
    for layer in _layers(model):
        for weight in layer.weights:
            named[f"{layer.name}/{weight.path.split('/')[-1]}"] = np.asarray(weight.value)
    return named


def outputs(model, images):
    """What the model says of images [b, h, w, c] when it is not training, as a numpy array."""

    @jax.jit
    def run(trainable, rest, images):
        return model.stateless_call(trainable, rest, images, training=False)[0]

    weights = model.trainable_variables, model.non_trainable_variables
    with jax.numpy_rank_promotion("allow"):
        return np.asarray(run(*([w.value for w in group] for group in weights), images))


def _zeros(self, shape, dtype=None):
    return np.zeros(shape, dtype)


def _drawn(rng, kind, shape):
    """Random numbers for one weight, by what kind of weight it is."""
    if "kernel" in kind:
        depthwise = len(shape) == 4 and shape[-1] == 1
        fan_in = np.prod(shape[:2]) if depthwise else np.prod(shape[:-1])
        return rng.normal(0, np.sqrt(2 / fan_in), shape)
    if kind in ("gamma", "moving_variance", "variance"):
        return rng.uniform(0.5, 1.5, shape)
    return rng.normal(0, 0.2, shape)


def _layers(model):
    """The layers of a model and of the models within it that hold weights of their own."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _layers(layer)
        elif layer.weights:
            yield layer
