"""Weights that others have trained: read from files, fitted to our models, with what must travel
with them (preprocessing, epsilon, padding, source, licence)."""
