"""Few-label image classification: supervised, transfer and semi-supervised training in JAX."""

__version__ = "0.1.0"
