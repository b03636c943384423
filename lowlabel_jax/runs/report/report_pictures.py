"""Images, for a run's report: mistakes, where the network looks, a map, and what training saw."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lowlabel_jax.core import named
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.runs.data_check import data_pictures
from lowlabel_jax.runs.data_check.data_page import shortened
from lowlabel_jax.runs.data_check.data_pictures import LETTERS, Panel
from lowlabel_jax.runs.pages.blocks import Block, Gallery, Picture, Shot, Table, Text
from lowlabel_jax.runs.report.report_read import Found, guessed, percent, write_csv
from lowlabel_jax.runs.report.report_sight import Sight

MISTAKES, LOOKED, POINTS, VIEWED = 24, 6, 1000, 12  # images that are shown; LOOKED: of each kind


def surest(found: Found, right: bool) -> np.ndarray:
    """int [m]: the images that are called rightly, or wrongly, the surest first."""
    guesses = guessed(found)
    places = np.flatnonzero((guesses.guess == guesses.label) == right)
    return places[np.argsort(-guesses.p[places].max(1), kind="stable")]


def list_mistakes(found: Found, sight: Sight, folder: Path) -> list[tuple]:
    """Write mistakes.csv: every image that is named wrongly, the surest first; its rows."""
    places, guesses = surest(found, right=False), guessed(found)
    names = [f"{found.measured}[{i}]" for i in places]
    if not isinstance(sight.data, UserError):
        names = sight.data.image_names(found.measured, places)
    rows = [
        (int(i), name, found.names[guesses.label[i]], found.names[guesses.guess[i]], sure)
        for i, name, sure in zip(places, names, guesses.p[places].max(1).tolist(), strict=True)
    ]
    head = ("place", "image", "true", "guess", "confidence")
    write_csv(folder / "mistakes.csv", head, rows)
    return rows


def mistakes(found: Found, sight: Sight, folder: Path) -> list[Block]:
    """Images that are named wrongly: of each confusion in turn the one with most confidence."""
    places, guesses = surest(found, right=False), guessed(found)
    rows = list_mistakes(found, sight, folder)
    if not len(places):
        return [Text(f"None: all {len(guesses.label):,} images are named correctly.")]
    pair = guesses.label[places] * len(found.names) + guesses.guess[places]
    shown = in_turn(places, pair)[:MISTAKES]
    if isinstance(sight.data, UserError):
        return _without_images(rows, sight.data)
    images = sight.needed_data.images(found.measured, shown)
    shots = [_shot(found, i, [image]) for i, image in zip(shown, images, strict=True)]
    text = (
        f"{len(places):,} of {len(guesses.label):,} images are named wrongly. Here "
        f"{'are all of them' if len(shown) == len(places) else f'are {len(shown)}'}, the surest of "
        "each confusion in turn; mistakes.csv lists every one. A wrong label looks like this, too."
    )
    return [Text(text), gallery(shots, "Mistakes", folder / "mistakes.png")]


def _without_images(rows: Sequence[tuple], why: UserError) -> list[Block]:
    """The surest mistakes as a table."""
    cells = [(*row[1:4], percent(row[4])) for row in rows[:MISTAKES]]
    reason = why.message.rstrip(".")
    return [
        Text(f"Without pictures: {reason}. mistakes.csv lists all {len(rows):,}.", "quiet"),
        Table(("image", "true", "guess", "confidence"), cells, numbers=(3,)),
    ]


def _shot(found: Found, place: int, images: Sequence[np.ndarray]) -> Shot:
    """An image of the measured set with what it is, what it is called, and how surely."""
    guesses = guessed(found)
    true, guess = (found.names[of[place]] for of in (guesses.label, guesses.guess))
    p = guesses.p[place].max()
    sure = "over 99 %" if p > 0.99 else percent(p, 0)
    if true == guess:
        return Shot(images, [f"{shortened(true, LETTERS)}", f"right, {sure} sure"],
                    f"{true}, rightly called so, {sure} sure")  # fmt: skip
    lines = [
        f"called {shortened(guess, LETTERS)}",
        f"is {shortened(true, LETTERS)}",
        f"{sure} sure",
    ]
    return Shot(images, lines, f"{true}, called {guess}, {sure} sure")


def gallery(shots: Sequence[Shot], title: str, sheet: Path) -> Gallery:
    """The shots for the page, and as a PNG file beside it."""
    most = max(len(shot.images) for shot in shots)
    across = max(1, 6 // most)
    panels = [
        [Panel(image, shot.caption if i == 0 else [""]) for i, image in enumerate(shot.images)]
        for shot in shots
    ]
    rows = [sum(panels[i : i + across], []) for i in range(0, len(panels), across)]
    picture = data_pictures.draw(title, [""] * max(map(len, rows)), rows, blocks=1)
    data_pictures.save(picture, sheet)
    return Gallery(shots, sheet)


def heat(found: Found, sight: Sight, folder: Path) -> list[Block]:
    """Grad-CAM (arXiv:1610.02391) of the surest mistakes and of images that are called rightly."""
    guesses, run = guessed(found), sight.needed_run
    data = sight.needed_data
    from lowlabel_jax.runs.explain.explained import heat as heat_of
    from lowlabel_jax.runs.explain.explained import overlay

    wrong, right = (surest(found, right) for right in (False, True))
    pair = guesses.label * len(found.names) + guesses.guess
    wrong, right = (in_turn(places, pair[places])[:LOOKED] for places in (wrong, right))
    shown = np.concatenate([wrong, right])
    images = data.images(found.measured, shown)
    warm = heat_of(run, images, guesses.guess[shown])
    shots = [
        _shot(found, i, [image, overlay(image, warmth)])
        for i, image, warmth in zip(shown, images, warm, strict=True)
    ]
    text = (
        "Warm colours: where the last convolution speaks for the class that was guessed "
        f"(Grad-CAM). First {len(wrong)} mistakes, then {len(right)} images named correctly. The "
        "map is as coarse as the last convolution, and shows where, not why; without a warm place "
        "nothing there spoke for the class."
    )
    return [Text(text), gallery(shots, "Where it looks (Grad-CAM)", folder / "heat.png")]


def in_turn(places: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """int [m]: places [m] of kinds [m], the first of each kind, then the second of each, ..."""
    turn = np.zeros(len(places), int)
    for kind in np.unique(kinds):
        turn[kinds == kind] = np.arange((kinds == kind).sum())
    return places[np.argsort(turn, kind="stable")]


def plane(found: Found, sight: Sight, folder: Path) -> list[Block]:
    """What the head sees of the measured images, in two dimensions by t-SNE."""
    run, data = sight.needed_run, sight.needed_data
    from lowlabel_jax.data.opened import images_of
    from lowlabel_jax.data.source import Images
    from lowlabel_jax.evaluation.maps import embedded, sample
    from lowlabel_jax.runs.explain.explained import draw_map
    from lowlabel_jax.runs.predict.looked import at_images

    name = found.measured or "labelled"
    images, label = images_of(data.source, data.split, name)
    places = sample(len(label), most=POINTS)
    part = Images(images.source, images.name, images.indices[places])
    probs, features = at_images(run, part)
    if len(places) < 5:
        raise UserError(f"{len(places)} images make no map")
    points, guess = embedded(features, "tsne"), probs.argmax(1)
    of_class = [found.names[k] if k >= 0 else "" for k in label[places]]
    rows = [
        (int(i), *point.tolist(), true, found.names[g])
        for i, point, true, g in zip(places, points, of_class, guess, strict=True)
    ]
    write_csv(folder / "map.csv", ("place", "x", "y", "true", "guess"), rows)
    shown = None if found.restores else guess
    title = f"{len(places):,} {name} images by what the head sees"
    draw_map(folder / "map.png", points, label[places], shown, found.names, title)
    caption = (
        "Near images look alike to the network. t-SNE keeps neighbours and says nothing by far "
        "distances or by the size of a cloud. Numbers: map.csv."
    )
    alt = f"Map of {len(places):,} images of {len(found.names)} classes by t-SNE of their features"
    return [Picture(folder / "map.png", alt, caption)]


def views(found: Found, sight: Sight, folder: Path) -> list[Block]:
    """Labelled images, and the views of them that training's objectives were shown."""
    data, config = sight.needed_data, found.config
    wanted = _views_of(config)
    from lowlabel_jax.runs.data_check import preview

    labelled = data.split.labelled
    chosen = preview.choose(data.source.labels["train"][labelled], VIEWED, config["seeds"]["split"])
    images = data.source.read("train", labelled[chosen])
    columns = preview.views(images, config["augment"], config["seeds"]["augment"])
    kept = {name: of for name, of in zip(preview.DRAWN, columns, strict=True) if name in wanted}
    shots = []
    for row, image in enumerate(images):
        whole = [image, *(of[row].image for of in kept.values())]
        name = found.names[data.source.labels["train"][labelled[chosen[row]]]]
        told = {view: of[row].caption for view, of in kept.items()}
        lines = [shortened(name, LETTERS), *_told(told)]
        alt = f"{name}: as it is, then {', '.join(kept)}"
        shots.append(Shot(whole, lines, alt))
    text = f"Labelled images, each as it is and then in the views of training: {', '.join(kept)}."
    return [Text(text), gallery(shots, "What training saw", folder / "views.png")]


def _told(captions: Mapping[str, Sequence[str]]) -> list[str]:
    """What recipes say that they did, where they say more than their names."""
    return [f"{view}: {'; '.join(said)}" for view, said in captions.items() if len(said) > 1]


def _views_of(config: dict) -> set[str]:
    """The views that the phases' objectives ask for, the labelled one being drawn as "weak"."""
    phases = [spec for spec in config["phases"] if spec.get("features", "off") == "off"]
    if not phases:
        raise UserError("training saw features of the images, each in its fixed crop")
    from lowlabel_jax.training import build

    found: set[str] = set()
    for spec in phases:
        known = {"total_steps": spec["steps"], "info": build.info(config)}
        found |= set(named.build("objective", spec["objective"], **known).views)
    alike = {"labelled": "weak", "weak_2": "weak", "labelled_strong": "strong"}
    return {alike.get(name, name) for name in found}
