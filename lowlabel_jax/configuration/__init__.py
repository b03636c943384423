"""From a config file and overrides to one checked, resolved dict. Needs no JAX: mistakes are quick.

keys (every setting, its default, range and reason) -> load (file + overrides) -> check -> resolve.
"""
