"""The console script `lowlabel`: everything about configs and finished runs."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lowlabel_jax import __version__
from lowlabel_jax.core import log
from lowlabel_jax.core.errors import guarded
from lowlabel_jax.runs import image_commands
from lowlabel_jax.runs.auto import auto_command
from lowlabel_jax.runs.debug_nan import debug_nan_command
from lowlabel_jax.runs.export import export_command
from lowlabel_jax.runs.report import report_command

EXAMPLES = """\
examples:
  lowlabel configs                      the configs there are
  lowlabel configs digits_fixmatch      one config, with the reason for each setting
  lowlabel data-check photos            what is in a folder of images and what is wrong with it
  lowlabel data-check digits_fixmatch --html --preview 12       a config's data and what it sees
  lowlabel auto photos --labels-per-class 10    learn the settings, train, compare, report
  lowlabel evaluate runs/d1             score a finished run's checkpoint again
  lowlabel predict runs/d1 photos/*.jpg label images with it; --format csv --out labels.csv
  lowlabel report runs/d1               one page about a run: curves, classes, mistakes, images
  lowlabel export runs/d1               runs/d1/export: for use without the run
  lowlabel explain runs/d1 photos/*.jpg where it looks, and what it finds alike, as pictures
  lowlabel autolabel runs/d1 photos     its surest guesses as a CSV for the next training
  lowlabel label-next runs/d1 photos    which images a person should label next
  lowlabel student digits_noisy_student --workdir=runs/ns       rounds of noisy student
  lowlabel summary vit:size=base --draw vit.svg        a network's stages, and a drawing
  lowlabel compare runs/cmp             methods over seeds: means, intervals, exact p
  lowlabel runs runs                    what ran, how it ended
  lowlabel debug-nan runs/d1            where a run that diverged first was not finite

One run is trained by launch.py: python launch.py --help

exit codes: 0 ok, 1 a bug, 2 a mistake in the command or the data, 3 directory busy; student ends as
launch.py does
"""


def main() -> int:
    """The entry point of `lowlabel` and of `python -m lowlabel_jax`."""
    log.take_any_text()
    options = asked(sys.argv[1:])
    if not hasattr(options, "run"):
        parser().print_help()
        return 0
    return guarded(lambda: options.run(options), options.traceback)


def asked(words: Sequence[str]) -> argparse.Namespace:
    """What a command line asks for. Exits with 2 and the reason where it cannot be read."""
    options, others = parser().parse_known_args(words)
    if hasattr(options, "images"):  # argparse overlooks those after an option, where none need be
        options.images += [word for word in others if _is_image(word)]
        others = [word for word in others if not _is_image(word)]
    if others and getattr(options, "run", None) not in TAKE_OVERRIDES:
        parser().error(f"unrecognized arguments: {' '.join(others)}")
    options.overrides = others
    return options


def _is_image(word: str) -> bool:
    return word == "-" or not word.startswith("-")  # "-" alone: a list on stdin


def parser() -> argparse.ArgumentParser:
    """The command line, one sub-command a function below."""
    top = argparse.ArgumentParser(
        prog="lowlabel",
        description="Image classification with few labels: look at configs and finished runs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"lowlabel_jax {__version__}")
    top.add_argument("--traceback", action="store_true", help="show a mistake's traceback, too")
    commands = top.add_subparsers(title="commands", metavar="COMMAND")

    def command(run: Any) -> argparse.ArgumentParser:
        name, about = run.__name__.replace("_", "-"), run.__doc__.splitlines()[0]
        made = commands.add_parser(name, help=about, description=about)
        made.set_defaults(run=run)
        return made

    auto_command.add_to(command)
    add = command(evaluate).add_argument
    add("run_directory", metavar="RUN", type=Path)
    add("--split", default="test", help="test (the default), validation or labelled")
    add("--json", action="store_true", help="the numbers as JSON on stdout")
    image_commands.add_to(command)
    export_command.add_to(command)
    report_command.add_to(command)
    add = command(compare).add_argument
    add("paths", metavar="RUN|DIR", type=Path, nargs="+")
    add("--out", type=Path, help="where the tables and the picture go (the first DIR)")
    add("--json", action="store_true", help="the comparison as JSON on stdout")
    add = command(runs).add_argument
    add("directory", metavar="DIR", type=Path, nargs="?", default=Path("runs"))
    add("--json", action="store_true", help="the list as JSON on stdout")
    command(configs).add_argument("name", metavar="NAME", nargs="?")
    add = command(summary).add_argument
    add(
        "network",
        metavar="CONFIG|MODEL",
        help="a config (name or file; --config.section.key=VALUE overrides), or a model with its "
        "options, as mobilenet_v1:width=0.5",
    )
    add("--image", metavar="SIZE", default="224", help="of a MODEL: 224 (as it is) or 28x28x1")
    add("--classes", metavar="N", type=int, default=1000, help="of a MODEL: how many (1000)")
    add("--draw", metavar="FILE.svg", type=Path, help="write a drawing, too")
    add = command(student).add_argument
    add(
        "config",
        metavar="CONFIG",
        help="name or file; as it is, it trains the teacher. --student.section.key=VALUE and "
        "--teacher.section.key=VALUE override it for these, --config.section.key=VALUE for all",
    )
    add("--workdir", metavar="DIR", type=Path, required=True, help="gets round0, round1, …")
    add("--rounds", metavar="N", type=int, default=3, help="students in turn (3)")
    debug_nan_command.add_to(command)
    command(doctor)
    return top


def evaluate(options: argparse.Namespace) -> int:
    """Score a run's newest checkpoint: raw and EMA weights, per class, confusion, calibration."""
    from lowlabel_jax import start

    start.jax_ready()
    from lowlabel_jax.runs import evaluate as run_evaluate

    numbers = run_evaluate.evaluate(options.run_directory, options.split)
    log.say(json.dumps(numbers, indent=2) if options.json else run_evaluate.page(numbers))
    return 0


def compare(options: argparse.Namespace) -> int:
    """Compare methods over seeds: mean, sd, interval, paired difference, exact p, picture."""
    from lowlabel_jax.runs.compare import compare as run_compare

    result = run_compare.compare(options.paths)
    first = next((p for p in options.paths if not (p / "config.json").exists()), Path("."))
    written = run_compare.write(result, options.out or first)
    if options.json:
        log.say(json.dumps(result, indent=2))
        return 0
    run_compare.show(result)
    log.say("written: " + "  ".join(str(path) for path in written))
    return 0


def runs(options: argparse.Namespace) -> int:
    """List the runs below a directory: state, step, accuracy, age."""
    from lowlabel_jax.runs import listing

    found = listing.listing(options.directory)
    log.say(json.dumps(found, indent=2) if options.json else listing.page(found))
    return 0


def configs(options: argparse.Namespace) -> int:
    """List the configs, or show one with the reason for each of its settings."""
    from lowlabel_jax.runs import listing

    log.say(listing.one_config(options.name) if options.name else listing.all_configs())
    return 0


def summary(options: argparse.Namespace) -> int:
    """Print a network as a table: stages, shapes, parameters, FLOPs, what is frozen; draw it."""
    from lowlabel_jax import start

    start.jax_ready()
    from lowlabel_jax.runs.summary import summary as run_summary

    given = (options.network, options.overrides, options.image, options.classes)
    return run_summary.show(*given, options.draw)


def student(options: argparse.Namespace) -> int:
    """Noisy student in rounds: a teacher, then new networks in turn, each taught by the last."""
    from lowlabel_jax.runs import rounds

    return rounds.student(options.config, options.overrides, options.workdir, options.rounds)


def doctor(options: argparse.Namespace) -> int:
    """Say what this machine offers: versions, devices, memory, disk, optional parts."""
    from lowlabel_jax import start

    start.jax_ready()
    from lowlabel_jax.runs import doctor as run_doctor

    return run_doctor.doctor()


TAKE_OVERRIDES = (auto_command.auto, image_commands.data_check, student, summary)

if __name__ == "__main__":
    sys.exit(main())
