"""The self-tuning run, from data to its report."""
