"""The command `lowlabel auto`: the trainer that tunes itself, on a user's own data."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add_to(command: Callable[[Any], argparse.ArgumentParser]) -> None:
    """Make the command line of `auto`."""
    add = command(auto).add_argument
    add("data", metavar="DATA", help="a folder, a table (.csv), an .npz, or a config's name")
    add("--labels-per-class", metavar="N", type=int, default=0, help="labels to use; 0: all")
    add("--workdir", metavar="DIR", type=Path, help="where all of it goes (runs/auto-NAME)")
    add("--budget", choices=("smoke", "laptop", "short", "paper"), default="laptop")
    add("--weights", metavar="FILE", default="", help="pretrained weights of EfficientNet-Lite0")
    add("--seeds", metavar="N", type=int, help="draws of the labels compared on; 0: none")
    add("--max_seconds", metavar="N", type=float, default=0, help="save and stop after N seconds")
    add("--overwrite", action="store_true", help="move what is there to DIR/trash/, start again")


def auto(options: argparse.Namespace) -> int:
    """Look at data, learn the settings on its labels, train, compare with baselines, report."""
    from lowlabel_jax.runs.auto import auto_data

    given = (options.data, options.overrides, options.labels_per_class, options.budget)
    name, config = auto_data.config_for(*given, options.seeds, options.weights)
    from lowlabel_jax import start

    start.jax_ready()
    from lowlabel_jax.runs.auto import auto as run_auto

    run_auto.auto(
        config,
        options.workdir or Path("runs") / f"auto-{name}",
        command=["lowlabel", *sys.argv[1:]],
        overwrite=options.overwrite,
        max_seconds=options.max_seconds,
    )
    return 0
