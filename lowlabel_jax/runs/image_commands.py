"""The commands of `lowlabel` that are given images: predict, explain, autolabel, label-next,
data-check.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lowlabel_jax.core import log
from lowlabel_jax.core.errors import UserError

Command = Callable[[Any], argparse.ArgumentParser]  # a function of this file -> its command line
IMAGES = "IMAGE|DIR|GLOB|-"


def add_to(command: Command) -> None:
    """Make the command lines of this file's commands."""
    _add_predict(command(predict).add_argument)
    _add_explain(command(explain).add_argument)
    _add_autolabel(command(autolabel).add_argument)
    _add_label_next(command(label_next).add_argument)
    _add_data_check(command(data_check).add_argument)


def _add_predict(add: Callable) -> None:
    add("run_directory", metavar="RUN", type=Path)
    add("images", metavar=IMAGES, nargs="+", help="what to label; -: a list on stdin")
    add("--topk", type=int, default=3, metavar="K", help="classes shown for each image (3)")
    add("--format", choices=("table", "csv", "json", "jsonl"), default="table")
    add("--out", type=Path, metavar="FILE", help="write there instead of printing")
    add("--embeddings", type=Path, metavar="FILE.npz", help="write what the head sees of each")
    add("--restored", type=Path, metavar="DIR", help="write what an autoencoder makes of each")
    add("--exported", action="store_true", help="RUN is a folder that lowlabel export wrote")


def predict(options: argparse.Namespace) -> int:
    """Label images with a finished run: the likeliest classes of each file; 2 if one is broken."""
    from lowlabel_jax import start

    start.jax_ready()
    from lowlabel_jax.runs.predict import predict_rows

    given = (options.run_directory, options.images, options.topk, options.format)
    more = (options.exported, options.restored)
    return predict_rows.label(*given, options.out, options.embeddings, *more)


def _add_explain(add: Callable) -> None:
    add("run_directory", metavar="RUN", type=Path)
    add("images", metavar=IMAGES, nargs="*", help="what to explain (the run's own test images)")
    add("--out", type=Path, metavar="DIR", help="where to write (RUN/explain)")
    add("--layer", default="last_conv", metavar="NAME", help="whose map is looked at (last_conv)")
    add("--class", dest="class_name", default="", metavar="NAME", help="whose heat (the guess's)")
    add("--map", default="tsne", metavar="WAY", help="tsne or pca (tsne)")
    add("--map_of", default="features", metavar="NAME", help="the endpoint mapped (features)")
    add("--count", type=int, default=0, metavar="N", help="images at most (12; of those named 100)")


def explain(options: argparse.Namespace) -> int:
    """Show where a finished run looks, its nearest labelled images, what it confuses; as pictures.

    2 if a file is broken.
    """
    from lowlabel_jax import start

    start.jax_ready()
    from lowlabel_jax.runs.explain import explain as run_explain

    more = (options.map, options.map_of, options.count)
    asked = run_explain.Asked(options.layer, options.class_name, *more)
    return run_explain.explain(options.run_directory, options.images, options.out, asked)


def _add_autolabel(add: Callable) -> None:
    add("run_directory", metavar="RUN", type=Path)
    add("images", metavar=IMAGES, nargs="+", help="what to label; -: a list on stdin")
    add("--min_confidence", type=float, default=0.9, metavar="P", help="keep guesses from P (0.9)")
    add("--per_class", type=int, default=0, metavar="N", help="of each class only the N surest")
    add("--out", type=Path, metavar="FILE", default=Path("autolabel.csv"), help="(autolabel.csv)")
    add("--probabilities", action="store_true", help="a column for each class, too")
    add("--calibrated", action="store_true", help="by the temperature of the validation set")


def autolabel(options: argparse.Namespace) -> int:
    """Write a finished run's surest guesses as a weighted CSV: labels for the next training."""
    from lowlabel_jax import start

    start.jax_ready()
    from lowlabel_jax.runs.predict import autolabel as run_autolabel

    given = (options.run_directory, options.images, options.out, options.min_confidence)
    more = (options.per_class, options.probabilities, options.calibrated)
    return run_autolabel.autolabel(*given, *more)


def _add_label_next(add: Callable) -> None:
    add("run_directory", metavar="RUN", type=Path)
    add("images", metavar=IMAGES, nargs="*", help="what to choose from; -: a list on stdin")
    add("--unlabelled", action="store_true", help="choose from the run's own unlabelled images")
    add("--count", type=int, default=20, metavar="N", help="how many (20)")
    add("--by", default="mixed", metavar="RULE", help="entropy, margin, kcentre or mixed (mixed)")
    add("--out", type=Path, metavar="DIR", default=Path("label-next"), help="(label-next)")


def label_next(options: argparse.Namespace) -> int:
    """Choose the images that a person should label next: a list, and a picture of them."""
    from lowlabel_jax import start

    start.jax_ready()
    from lowlabel_jax.runs.predict import label_next as run_label_next

    given = (options.run_directory, options.images, options.count, options.by)
    return run_label_next.label_next(*given, options.out, options.unlabelled)


def _add_data_check(add: Callable) -> None:
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


def data_check(options: argparse.Namespace) -> int:
    """Look at data before training: counts, broken files, copies, leaks; 2 if anything is wrong."""
    from lowlabel_jax.runs.data_check import data_check as check
    from lowlabel_jax.runs.data_check import data_files, data_given, data_page

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
        from lowlabel_jax.runs.data_check import preview

        written = [preview.preview(data, data.source, count)]
    written += data_files.write(data, found, written) if writes else []
    if written or not options.json:
        said = data_page.where(data, written)
        print(f"\n{said}", file=sys.stderr if options.json else sys.stdout)
    return 2 if check.is_wrong(found.report) else 0
