"""Train from a config file. `python launch.py --help` shows how.

The config is read and checked before JAX is imported: a mistake costs a second, not a minute.
"""

import argparse
import functools
import sys
from pathlib import Path
from typing import Any

from lowlabel_jax import start
from lowlabel_jax.configuration import check, load
from lowlabel_jax.core import log
from lowlabel_jax.core.errors import UserError, guarded

EXAMPLES = """\
examples:
  python launch.py --config=configs/digits_fixmatch.py --workdir=runs/d1
  python launch.py --config=configs/digits_fixmatch.py --workdir=runs/d2 --config.seed=1 \\
      --config.objective.threshold=0.9
  python launch.py --config=configs/digits_compare.py --workdir=runs/cmp --sweep --workers=2
  python launch.py --config=configs/digits_fixmatch.py --workdir=runs/grid --workers=2 \\
      --grid='objective.threshold=0.8,0.95;seed=0:6'
  python launch.py --config=configs/digits_search.py --workdir=runs/search --search=12 --workers=2

Any setting of the config can be given as --config.section.key=VALUE; `lowlabel configs NAME`
lists them with the reason for each. The same command again resumes a run that was stopped.
A config file is Python code: run only files that you trust.

exit codes: 0 ok, 1 a bug, 2 a mistake in the command, the config or the data, 3 directory busy,
4 diverged, 5 another process of the run is lost, 130 interrupted (saved), 143 terminated (saved);
0 too where --max_seconds are spent or a scheduler has sent SIGUSR1 (saved)
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
    add("--grid", default="", metavar="'KEY=V,V;…'", help="run every combination of these values")
    add("--search", type=int, metavar="N", help="N trials of the config's space(), by validation")
    add("--space", default="", metavar="'KEY=LOW..HIGH:log;…'", help="what a search tries instead")
    add("--score", choices=("accuracy", "loss"), default="accuracy", help="what a search goes by")
    add("--prune", choices=("median", "off"), default="median", help="end its poor trials early")
    add(
        "--workers",
        type=int,
        default=0,
        metavar="N",
        help="runs of a sweep side by side (one a GPU; on the CPU 1)",
    )
    clusters(parser)
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
    add("--processes", metavar="N", help="processes that train one run together, or auto (SLURM)")
    add("--process_id", type=int, metavar="I", help="which of them this one is, from 0")
    add("--coordinator", default="", metavar="HOST:PORT", help="where the first of them listens")
    add(
        "--profile",
        type=int,
        nargs="?",
        const=20,
        default=0,
        metavar="STEPS",
        help="trace so many steps (20) into WORKDIR/profile, for TensorBoard and Perfetto",
    )
    add("--deterministic", action="store_true", help="the same bits in every run on a GPU, slower")
    add("--traceback", action="store_true", help="show the traceback of a mistake, too")
    return parser.parse_known_args()


def clusters(parser: argparse.ArgumentParser) -> None:
    """The options that hand runs to a cluster; docs/clusters.md."""
    add = parser.add_argument
    add("--cluster", choices=("slurm", "local"), help="submit the runs as jobs, through submitit")
    add(
        "--cluster_option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="what a job asks for: partition=gpu, gpus_per_node=1, ...; may be repeated",
    )
    add(
        "--wait", action="store_true", help="wait for the jobs of --cluster; compare a sweep's runs"
    )


def main() -> int:
    """Check everything that needs no JAX, then go on with what was asked for."""
    log.take_any_text()
    options, overrides = arguments()
    status = guarded(lambda: run(options, overrides), options.traceback)
    if options.processes and status:
        from lowlabel_jax.core import processes

        return processes.leave(status)
    return status


def go_together(options: argparse.Namespace, tuned: bool) -> None:
    """Raise UserError for options that are not of one command. tuned: settings are to be learnt."""
    many = options.sweep or options.grid
    several = many or options.search is not None or tuned
    if options.profile < 0 or (options.profile and several):
        raise UserError(
            f"--profile={options.profile} must be a number of steps, and is of one run.",
            "give it without --sweep, --grid, --search and tune.budget.",
        )
    if options.max_seconds < 0 or (many and options.max_seconds):
        raise UserError(
            f"--max_seconds={options.max_seconds:g} must be 0 or more, and is of one run.",
            "give the seconds that the run may take, without --sweep.",
        )
    if not options.cluster and (options.cluster_option or options.wait):
        raise UserError("--cluster_option and --wait are of --cluster.", "add --cluster=slurm.")
    if options.cluster and options.search is not None:
        raise UserError(
            "--search runs on the machine that it is given on.",
            "leave --cluster out and give the command in a job: docs/clusters.md, by hand.",
        )
    if options.search is None and options.space:
        raise UserError("--space is of a search.", "add --search=N: so many trials.")
    if options.search is not None and (many or options.processes):
        raise UserError(
            "--search is a command of its own, and its trials are runs of one process.",
            "leave --sweep, --grid and --processes out.",
        )
    if options.processes and tuned:
        raise UserError(
            "settings are learnt by one process, and tune.budget is on.",
            "learn them first; then train with what was learnt, and --config.tune.budget=off.",
        )


def run(options: argparse.Namespace, overrides: list[str]) -> int:
    """Dry run, sweep or one run."""
    config = load.load(options.config, overrides)
    check.check(config)
    if not options.workdir and not options.dry_run:
        raise UserError("--workdir is missing.", "add --workdir=runs/NAME: all output goes there.")
    go_together(options, config.tune.budget != "off")
    if options.deterministic:
        start.deterministic()
    if options.search is not None:
        return search(options, overrides, config)
    if options.sweep or options.grid:
        return sweep(options, overrides, config.devices)
    if options.cluster and not options.dry_run:
        return submit(options)

    start.jax_ready()  # imports JAX, with its environment set
    if options.processes:
        from lowlabel_jax.core import processes

        processes.join(options.processes, options.process_id, options.coordinator)
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
        profile=options.profile,
    )
    return 0


def search(options: argparse.Namespace, overrides: list[str], config: Any) -> int:
    """Trials of a space, or what they would choose from."""
    from lowlabel_jax.runs.search import search as searches
    from lowlabel_jax.runs.sweep import share

    which = {"space": options.space, "score": options.score, "prune": options.prune}
    asked = searches.plan(options.config, overrides, config, options.search, **which)
    if options.dry_run:
        return searches.dry_run(asked)
    return searches.search(
        asked,
        Path(options.workdir),
        options.search,
        workers=options.workers or share.default_workers(config.devices),
        resume=options.resume,
        overwrite=options.overwrite,
        max_seconds=options.max_seconds,
    )


def sweep(options: argparse.Namespace, overrides: list[str], devices: int) -> int:
    """Every run of a sweep, or of a grid, or their list; devices: that one run asks for."""
    if options.workers < 0:
        raise UserError(f"--workers={options.workers} must be 0 or more.", "0: as many as suit.")
    alone = {"--resume": options.resume != "auto", "--processes": options.processes}
    alone |= {"--overwrite": options.overwrite, "--force_resume": options.force_resume}
    if given := [name for name, wanted in alone.items() if wanted]:
        raise UserError(
            f"{', '.join(given)}: this is of one run, not of a sweep.",
            "the same command goes on with a sweep; to begin anew, give another --workdir.",
        )
    from lowlabel_jax.runs.sweep import share, workers
    from lowlabel_jax.runs.sweep import sweep as sweeps

    which = {"grid": options.grid, "listed": options.sweep}
    if options.dry_run:
        return sweeps.dry_run(options.config, overrides, **which)
    if options.cluster:
        from lowlabel_jax.runs.sweep import cluster

        where = cluster.cluster_of(options.cluster, options.cluster_option, options.wait)
        how = functools.partial(cluster.train_all, cluster=where)
    else:
        count = options.workers or share.default_workers(devices)
        how = functools.partial(workers.train_all, workers=count)
    return sweeps.sweep(options.config, overrides, Path(options.workdir), how, **which)


def submit(options: argparse.Namespace) -> int:
    """Hand a single run to a cluster. What begins a run anew is done here, and not in the job: that
    may be queued again, to go on."""
    from lowlabel_jax.runs.sweep import cluster

    once = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    clusters(once)
    for name in ("--config", "--workdir", "--resume"):
        once.add_argument(name)
    once.add_argument("--overwrite", action="store_true")
    asked = (options.cluster, options.cluster_option, options.wait, bool(options.processes))
    where = cluster.cluster_of(*asked)
    given = once.parse_known_args(sys.argv[1:])[1]
    how = {"resume": options.resume, "overwrite": options.overwrite}
    return cluster.train_one(options.config, Path(options.workdir), given, where, **how)


if __name__ == "__main__":
    status = main()
    sys.exit(status)
