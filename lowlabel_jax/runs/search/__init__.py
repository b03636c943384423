"""Hyper-parameter search: trials that are runs, scored on validation images, by Optuna."""
