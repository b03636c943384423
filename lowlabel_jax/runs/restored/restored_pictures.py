"""The pictures at the end of a run that restores images, in RUN/pictures: what was shown and what
came out, errors, anomalies and false alarms, what a VAE makes of codes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lowlabel_jax.core import files
from lowlabel_jax.data.sets import Split, rows
from lowlabel_jax.data.source import Source
from lowlabel_jax.evaluation import restoration
from lowlabel_jax.runs.pages import figures
from lowlabel_jax.runs.restored import restored, restored_plots
from lowlabel_jax.state import TrainState
from lowlabel_jax.training import build

SHOWN = 10  # images in a row
REACH, TILES = 3.0, 15  # of a latent plane: from -3 to 3, so many decoded codes each way
POINTS = 3000  # codes drawn on it at most


class Seen(NamedTuple):
    """A set of a finished run: its numbers and rows as they lie on disk, its images on request."""

    config: Mapping[str, Any]
    state: TrainState
    data: Source
    place: tuple[str, np.ndarray]  # the source's set, indices [n] into it
    numbers: Mapping[str, Any]  # eval/NAME.json
    rows: Mapping[str, np.ndarray]  # predictions/NAME.npz
    folder: Path


def write(
    config: Mapping[str, Any], state: TrainState, data: Source, split: Split, directory: Path
) -> list[Path]:
    """Draw what the test set shows, or the validation set where there is none; what was drawn.

    Nothing for a run that does not restore images, or has no set that was evaluated.
    """
    name = next((n for n in ("test", "validation") if len(rows(data, split, n)[1])), "")
    if not name or build.last_objective(config).task != "restoration":
        return []
    numbers = files.read_json(directory / "eval" / f"{name}.json")
    with np.load(directory / "predictions" / f"{name}.npz", allow_pickle=False) as kept:
        values = dict(kept)
    place = rows(data, split, name)[:2]
    seen = Seen(config, state, data, place, numbers, values, directory / "pictures")
    drawn = [_restored(seen), _errors(seen)]
    if numbers["headline"] == "auroc":
        drawn += [_roc(seen)]
    if "anomaly" in numbers:
        drawn += [*_mistakes(seen)]
    if "kl" in values:
        drawn += [_samples(seen)]
        drawn += [_latent(seen)] if values["code"].shape[1] == 2 else []
    return drawn


def pictures_of(seen: Seen, chosen: np.ndarray) -> restoration.Rows:
    """Rows, with pictures, of the images at places [m] of the set; noise as in its evaluation."""
    name, indices = seen.place
    images = seen.data.read(name, indices[chosen])
    objective = build.last_objective(seen.config)
    restore = restored.restorer(small(seen.config), seen.state.apply_fn, objective, pictures=True)
    found = restore(seen.state.ema, images, chosen)
    return {**found, "clean": images / np.float32(255)}


def small(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with as many images a step as a row of pictures has."""
    return {**config, "batch": {**config["batch"], "evaluation": SHOWN}}


def _restored(seen: Seen) -> Path:
    """Ten images, of as many classes as there are: shown, restored, and clean where they differ."""
    chosen = of_each(seen.rows["label"], SHOWN)
    found = pictures_of(seen, chosen)
    noisy = "psnr_shown" in seen.numbers
    lines = [("noisy" if noisy else "shown", found["shown"]), ("restored", found["restored"])]
    lines += [("clean", found["clean"])] if noisy else []
    heads = [f"{value:.1f} dB" for value in found["psnr"]]
    title = f"PSNR {seen.numbers['psnr']:.2f} dB over {seen.numbers['n']:,} images"
    if noisy:
        title += f", {seen.numbers['psnr_gain']:+.2f} dB on the noisy ones"
    return _saved(seen, "restored", restored_plots.grid(lines, heads, title), title)


def of_each(label: np.ndarray, count: int) -> np.ndarray:
    """int [m], sorted by class: the first images of each class in turn, `count` at most."""
    order = np.argsort(label, kind="stable")
    starts = np.searchsorted(label[order], label[order])
    turn = np.empty_like(order)
    turn[order] = np.arange(len(label)) - starts  # how many of its class come before an image
    chosen = np.lexsort((label, turn))[:count]
    return chosen[np.argsort(label[chosen], kind="stable")]


def _errors(seen: Seen) -> Path:
    """How the deciding score, or the squared error, is spread."""
    about = seen.numbers.get("anomaly")
    if not about:
        groups, limit, name = [("images", seen.rows["mse"])], None, "squared error of an image"
    else:
        score, odd = about["score"], _odd(seen)
        values, limit = seen.rows[f"score_{score}"], seen.numbers["threshold"]
        pairs = ((restored_plots.NORMAL, values[~odd]), (restored_plots.ODD, values[odd]))
        groups = [(kind, of) for kind, of in pairs if len(of)]
        name = f"score ({score}): higher is odder"
    title = "Errors of the restored images" if not about else "Scores of normals and anomalies"
    figure = restored_plots.histogram(groups, limit, name, title)
    said = "; ".join(f"{kind}: median {np.median(of):.4g}" for kind, of in groups)
    return _saved(seen, "errors", figure, f"{title}: {said}")


def _roc(seen: Seen) -> Path:
    about, odd = seen.numbers["anomaly"], _odd(seen)
    score, limit = about["score"], seen.numbers["threshold"]
    title = f"AUROC {seen.numbers['auroc']:.4f} by {score}; normal: {named(about)}"
    return _saved(
        seen, "roc", restored_plots.roc(odd, seen.rows[f"score_{score}"], limit, title), title
    )


def _mistakes(seen: Seen) -> list[Path]:
    """The oddest of the normals that are called anomalies, and the least odd of the missed ones."""
    about, odd = seen.numbers["anomaly"], _odd(seen)
    score, above = seen.rows[f"score_{about['score']}"], seen.rows["anomaly"]
    kinds = (
        ("false_alarms", "Worst false alarms", ~odd & above, -score, ~odd),
        ("missed", "Anomalies least noticed", odd & ~above, score, odd),
    )
    drawn = []
    for name, said, mask, order, of in kinds:
        chosen = np.flatnonzero(mask)
        if not len(chosen):
            (seen.folder / f"{name}.png").unlink(missing_ok=True)  # of an evaluation before
            continue
        worst = chosen[np.argsort(order[chosen], kind="stable")][:SHOWN]
        found = pictures_of(seen, worst)
        names = [seen.config["info"]["class_names"][k] for k in seen.rows["label"][worst]]
        heads = [f"{_short(n)}: {score[i]:.3g}" for n, i in zip(names, worst, strict=True)]
        lines = [("image", found["clean"]), ("restored", found["restored"])]
        counted = f"{len(chosen):,} of {int(of.sum()):,}"
        title = f"{said}: {counted}, threshold {seen.numbers['threshold']:.3g}"
        drawn.append(_saved(seen, name, restored_plots.grid(lines, heads, title), title))
    return drawn


def _samples(seen: Seen) -> Path:
    """What the decoder makes of codes drawn from N(0, 1)."""
    width = seen.rows["code"].shape[1]
    codes = np.random.default_rng(0).normal(size=(5 * SHOWN, width))
    images = _decoded(seen, codes)
    lines = [("", images[start : start + SHOWN]) for start in range(0, len(images), SHOWN)]
    title = f"Images of random codes, {width} numbers from N(0, 1) each"
    return _saved(seen, "samples", restored_plots.grid(lines, title=title), title)


def _latent(seen: Seen) -> Path:
    """The plane of a code of two numbers, and the codes of images on it."""
    ends = np.linspace(-REACH, REACH, TILES)
    codes = np.stack(np.meshgrid(ends, ends[::-1]), -1).reshape(-1, 2)
    tiles = _decoded(seen, codes).reshape(TILES, TILES, *seen.data.image_shape)
    found, label = seen.rows["code"], seen.rows["label"]
    some = np.sort(np.random.default_rng(0).permutation(len(found))[:POINTS])
    names = seen.config["info"]["class_names"]
    figure = restored_plots.plane(tiles, REACH, found[some], label[some], names)
    words = f"A plane of codes from -{REACH:g} to {REACH:g}, and {len(some):,} images on it"
    return _saved(seen, "latent", figure, words)


def _decoded(seen: Seen, codes: np.ndarray) -> np.ndarray:
    shape = tuple(seen.config["info"]["image_shape"])
    return restoration.decoded(seen.state.apply_fn, seen.state.ema, codes, shape)


def _odd(seen: Seen) -> np.ndarray:
    """bool [n]: which images are of no normal class."""
    names, normals = seen.config["info"]["class_names"], seen.numbers["anomaly"]["normal_classes"]
    return ~np.isin(seen.rows["label"], [names.index(name) for name in normals])


def named(about: Mapping[str, Any]) -> str:
    """The normal classes, few of them by name."""
    names = about["normal_classes"]
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} classes"


def _short(name: str) -> str:
    return name if len(name) <= 9 else f"{name[:8]}…"


def _saved(seen: Seen, name: str, figure: Any, words: str) -> Path:
    place = seen.folder / f"{name}.png"
    figures.save(figure, place, words.split(":")[0], words)
    return place
