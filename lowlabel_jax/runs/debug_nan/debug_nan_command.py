"""The command line of `lowlabel debug-nan`."""

import argparse
from collections.abc import Callable
from pathlib import Path


def add_to(command: Callable[[Callable], argparse.ArgumentParser]) -> None:
    """The sub-command and its option; command(function) makes a parser for one."""
    add = command(debug_nan).add_argument
    add("run_directory", metavar="RUN", type=Path, help="a run that has diverged")


def debug_nan(options: argparse.Namespace) -> int:
    """Repeat the step at which a run diverged: the first operation and layer not finite."""
    from lowlabel_jax import start

    start.jax_ready()
    from lowlabel_jax.runs.debug_nan import debug_nan as repeat

    return repeat.debug_nan(options.run_directory)
