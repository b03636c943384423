"""The command `lowlabel report`: one page about a run."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lowlabel_jax.core import log


def add_to(command: Callable[[Any], argparse.ArgumentParser]) -> None:
    """Make the command line of `report`."""
    add = command(report).add_argument
    add("run_directory", metavar="RUN", type=Path)
    add("--out", metavar="DIR", type=Path, help="where the page and its files go (RUN/report)")


def report(options: argparse.Namespace) -> int:
    """Write a run's report: one page for any browser, with figures as PNG and numbers as CSV."""
    from lowlabel_jax.runs.report import report_read

    found = report_read.read(options.run_directory)
    report_read.check_place(options.out)
    from lowlabel_jax import start

    start.jax_ready()
    from lowlabel_jax.runs.report import report as run_report

    page, *others = run_report.report(found, options.out)
    log.say(f"written: {page}, and beside it {len(others)} files (.png, .csv)")
    log.say("next: open it in a browser; it needs no network.")
    return 0
