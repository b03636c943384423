"""Train from a config file. `python launch.py --help` shows how.

The config is read and checked before JAX is imported: a mistake costs a second, not a minute.
"""

import argparse
import sys
from pathlib import Path

from lowlabel_jax.configuration import check, load
from lowlabel_jax.core.errors import UserError, guarded

EXAMPLES = """\
examples:
  python launch.py --config=configs/digits_fixmatch.py --workdir=runs/d1
  python launch.py --config=configs/digits_fixmatch.py --workdir=runs/d2 --config.seed=1 \\
      --config.objective.threshold=0.9
  python launch.py --config=configs/digits_compare.py --workdir=runs/cmp --sweep --workers=2

Any setting of the config can be given as --config.section.key=VALUE; `lowlabel configs NAME`
lists them with the reason for each. The same command again resumes a run that was stopped.
A config file is Python code: run only files that you trust.

exit codes: 0 ok, 1 a bug, 2 a mistake in the command, the config or the data, 3 directory busy,
4 diverged, 130 interrupted (saved), 143 terminated (saved); 0 too where --max_seconds are spent or
a scheduler has sent SIGUSR1 (saved)
"""


def arguments() -> tuple[argparse.Namespace, list[str]]:
    """The command's own options, and what is left: overrides of the config."""
    parser = argparse.ArgumentParser(
        description="Train an image classifier from a config file.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--config", required=True, metavar="FILE[:ARG]", help="the config file, with its argument")
    add("--workdir", metavar="DIR", help="the run's directory; nothing is written outside it")
    add("--dry_run", action="store_true", help="show what would run, and stop")
    add("--sweep", action="store_true", help="run all of the config's sweep(), then compare")
    add("--workers", type=int, default=1, metavar="N", help="runs of a sweep side by side (1)")
    add("--resume", choices=("auto", "never", "must"), default="auto", help="go on with a run")
    add("--force_resume", action="store_true", help="go on although the config has changed")
    add("--overwrite", action="store_true", help="move an old run to DIR/trash/ and start again")
    add(
        "--max_seconds",
        type=float,
        default=0,
        metavar="N",
        help="save and stop after N seconds; the same command goes on (0: no limit)",
    )
    add("--traceback", action="store_true", help="show the traceback of a mistake, too")
    return parser.parse_known_args()


def main() -> int:
    """Check everything that needs no JAX, then go on with what was asked for."""
    options, overrides = arguments()
    return guarded(lambda: run(options, overrides), options.traceback)


def run(options: argparse.Namespace, overrides: list[str]) -> int:
    """Dry run, sweep or one run."""
    config = load.load(options.config, overrides)
    check.check(config)
    if not options.workdir and not options.dry_run:
        raise UserError("--workdir is missing.", "add --workdir=runs/NAME: all output goes there.")
    if options.max_seconds < 0 or (options.sweep and options.max_seconds):
        raise UserError(
            f"--max_seconds={options.max_seconds:g} must be 0 or more, and is of one run.",
            "give the seconds that the run may take, without --sweep.",
        )
    if options.sweep:
        from lowlabel_jax.runs.sweep import sweep

        return sweep(options.config, overrides, Path(options.workdir), options.workers)

    from lowlabel_jax import start  # imports JAX, with its environment set

    start.jax_ready()
    if options.dry_run:
        from lowlabel_jax.runs.dry_run import dry_run

        dry_run(config)
        return 0
    if config.tune.budget != "off":
        from lowlabel_jax.runs.auto.auto import auto

        auto(
            config,
            Path(options.workdir),
            command=["python", "launch.py", *sys.argv[1:]],
            resume=options.resume,
            overwrite=options.overwrite,
            max_seconds=options.max_seconds,
        )
        return 0
    from lowlabel_jax.runs.train import train

    train(
        config,
        Path(options.workdir),
        command=["python", "launch.py", *sys.argv[1:]],
        resume=options.resume,
        force_resume=options.force_resume,
        overwrite=options.overwrite,
        max_seconds=options.max_seconds,
    )
    return 0


if __name__ == "__main__":
    status = main()
    sys.exit(status)
