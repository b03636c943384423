"""Convolution, pooling and layers with a fast path per backend; first weights; compile options."""
