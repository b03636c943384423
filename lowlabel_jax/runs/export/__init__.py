"""A finished run as files that need neither the run nor this package."""
