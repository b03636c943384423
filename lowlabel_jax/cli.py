"""The console script `lowlabel`: everything about configs and finished runs."""

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from lowlabel_jax import __version__
from lowlabel_jax.core import log
from lowlabel_jax.core.errors import UserError, guarded

EXAMPLES = """\
examples:
  lowlabel configs                      the configs there are
  lowlabel configs digits_fixmatch      one config, with the reason for each setting
  lowlabel data-check photos            what is in a folder of images and what is wrong with it
  lowlabel data-check digits_fixmatch --html --preview 12       a config's data and what it sees
  lowlabel evaluate runs/d1             score a finished run's checkpoint again
  lowlabel predict runs/d1 photos/*.jpg label images with it; --format csv --out labels.csv
  lowlabel summary vit:size=base --draw vit.svg        a network's stages, and a drawing
  lowlabel compare runs/cmp             methods over seeds: means, intervals, exact p
  lowlabel runs runs                    what ran, how it ended

Training is done by launch.py: python launch.py --help

exit codes: 0 ok, 1 a bug, 2 a mistake in the command or the data, 3 directory busy
"""


def main() -> int:
    """The entry point of `lowlabel` and of `python -m lowlabel_jax`."""
    options, others = parser().parse_known_args()
    if others and getattr(options, "run", None) not in (data_check, summary):
        parser().error(f"unrecognized arguments: {' '.join(others)}")
    options.overrides = others
    if not hasattr(options, "run"):
        parser().print_help()
        return 0
    return guarded(lambda: options.run(options), options.traceback)


def parser() -> argparse.ArgumentParser:
    """The command line, one sub-command a function below."""
    top = argparse.ArgumentParser(
        prog="lowlabel",
        description="Image classification with few labels: look at configs and finished runs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"lowlabel_jax {__version__}")
    top.add_argument(
        "--traceback", action="store_true", help="show the traceback of a mistake, too"
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND")

    def command(run: Any) -> argparse.ArgumentParser:
        name, about = run.__name__.replace("_", "-"), run.__doc__.splitlines()[0]
        made = commands.add_parser(name, help=about, description=about)
        made.set_defaults(run=run)
        return made

    add = command(evaluate).add_argument
    add("run_directory", metavar="RUN", type=Path)
    add("--split", default="test", help="test (the default), validation or labelled")
    add("--json", action="store_true", help="the numbers as JSON on stdout")
    add = command(predict).add_argument
    add("run_directory", metavar="RUN", type=Path)
    add("images", metavar="IMAGE|DIR|GLOB|-", nargs="+", help="what to label; -: a list on stdin")
    add("--topk", type=int, default=3, metavar="K", help="classes shown for each image (3)")
    add("--format", choices=("table", "csv", "json", "jsonl"), default="table")
    add("--out", type=Path, metavar="FILE", help="write there instead of printing")
    add("--embeddings", type=Path, metavar="FILE.npz", help="write what the head sees of each")
    add = command(compare).add_argument
    add("paths", metavar="RUN|DIR", type=Path, nargs="+")
    add("--out", type=Path, help="where the tables and the picture go (the first DIR)")
    add("--json", action="store_true", help="the comparison as JSON on stdout")
    add = command(runs).add_argument
    add("directory", metavar="DIR", type=Path, nargs="?", default=Path("runs"))
    add("--json", action="store_true", help="the list as JSON on stdout")
    add = command(configs).add_argument
    add("name", metavar="NAME", nargs="?")
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
    add = command(data_check).add_argument
    add(
        "data",
        metavar="DATA",
        help="a folder of images, a table (labels.csv), an .npz file, a config (name or file) or "
        "a source; options follow as arrays:path=F,test=9; --config.section.key=VALUE overrides",
    )
    add("--html", action="store_true", help="write report.html, report.json and pictures")
    add("--preview", metavar="N", type=int, help="draw N training images and their views as a PNG")
    add("--out", metavar="DIR", type=Path, help="where to write, and to write (data-check/NAME)")
    add("--json", action="store_true", help="what was found as JSON on stdout")
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


def predict(options: argparse.Namespace) -> int:
    """Label images with a finished run: the likeliest classes of each file; 2 if one is broken."""
    from lowlabel_jax import start

    start.jax_ready()
    from lowlabel_jax.runs import predict_rows

    given = (options.run_directory, options.images, options.topk, options.format)
    return predict_rows.label(*given, options.out, options.embeddings)


def compare(options: argparse.Namespace) -> int:
    """Compare methods over seeds: mean, sd, interval, paired difference, exact p, picture."""
    from lowlabel_jax.runs import compare as run_compare

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
    from lowlabel_jax.runs import summary as run_summary

    given = (options.network, options.overrides, options.image, options.classes)
    return run_summary.show(*given, options.draw)


def data_check(options: argparse.Namespace) -> int:
    """Look at data before training: counts, broken files, copies, leaks; 2 if anything is wrong."""
    from lowlabel_jax.runs import data_check as check
    from lowlabel_jax.runs import data_files, data_given, data_page

    count, writes = options.preview, bool(options.html or options.out)
    if count is not None and count < 1:
        raise UserError(f"--preview {count} draws no image.", "--preview 12 draws twelve.")
    with contextlib.redirect_stdout(sys.stderr if options.json else sys.stdout):
        given = (options.data, options.overrides, options.out, writes or bool(count))
        data = data_given.opened_data(*given)
        found = check.found_in(data)
    page = data_page.page(data, found)
    log.say(json.dumps(found.report, indent=2) if options.json else page)
    written = []
    if count and data.source:
        from lowlabel_jax import start

        start.jax_ready()
        from lowlabel_jax.runs import preview

        written = [preview.preview(data, data.source, count)]
    written += data_files.write(data, found, written) if writes else []
    if written or not options.json:
        said = data_page.where(data, written)
        print(f"\n{said}", file=sys.stderr if options.json else sys.stdout)
    return 2 if check.is_wrong(found.report) else 0


def doctor(options: argparse.Namespace) -> int:
    """Say what this machine offers: versions, devices, memory, disk, optional parts."""
    from lowlabel_jax import start

    start.jax_ready()
    from lowlabel_jax.runs import doctor as run_doctor

    return run_doctor.doctor()


if __name__ == "__main__":
    sys.exit(main())
