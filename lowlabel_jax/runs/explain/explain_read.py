"""What `lowlabel explain` looks at: images to be explained, and the run's own beside them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data import sets
from lowlabel_jax.data.source import Images, Source, image_name
from lowlabel_jax.data.splits import Split
from lowlabel_jax.evaluation import maps, neighbours
from lowlabel_jax.runs.explain import inside
from lowlabel_jax.runs.predict import looked
from lowlabel_jax.runs.predict.predict import Run
from lowlabel_jax.runs.predict.predict_images import read, shown_as

NEAR = 3  # labelled neighbours of an image
MISTAKES = 2 / 3  # of the run's own images that are chosen, where there are so many
UNKNOWN = -1


class Subjects(NamedTuple):
    """The images that are explained."""

    said: str  # which they are
    names: list[str]
    images: np.ndarray  # uint8 [n, h, w, c], as the run's own
    truth: np.ndarray  # int [n], UNKNOWN where it is not known
    probs: np.ndarray  # float32 [n, k]
    features: np.ndarray  # float32 [n, f]
    errors: dict[str, str]  # path -> why it could not be read
    places: np.ndarray  # int [n] in the measured set, or [0] of files

    @property
    def order(self) -> np.ndarray:
        """int [n, k]: classes, the likeliest first."""
        return np.argsort(-self.probs, axis=1, kind="stable")


class Own(NamedTuple):
    """The run's own data: a set that it is measured on, and what it learnt from."""

    source: Source
    split: Split
    name: str  # of the set: test or validation
    place: str  # the source's set that it lies in
    indices: np.ndarray  # int [m] in there
    label: np.ndarray  # int [m]
    probs: np.ndarray  # float32 [m, k]

    @property
    def guess(self) -> np.ndarray:
        """int [m]: the likeliest class of each image of the set."""
        return self.probs.argmax(1)

    def images(self, places: np.ndarray) -> Images:
        """The images at places int [n] of the set."""
        return Images(self.source, self.place, self.indices[places])

    def called(self, i: int) -> str:
        """What people call the image at a place of the set."""
        return image_name(self.source, self.place, int(self.indices[i]))


class Near(NamedTuple):
    """The labelled images that are most alike to each of n subjects."""

    names: list[list[str]]
    images: np.ndarray  # uint8 [n, m, h, w, c]
    labels: np.ndarray  # int [n, m]
    cosines: np.ndarray  # float32 [n, m]


def own_of(run: Run, guesses: bool) -> Own:
    """A run's own data; all probabilities are 0 where guesses mean nothing.

    Raises UserError where it is not what it was, or nothing is measured.
    """
    source, split = looked.data_of(run)
    for name in ("test", "validation"):
        place, indices, label = sets.rows(source, split, name)
        if len(label):
            probs = np.zeros((len(label), len(run.class_names)), np.float32)
            if guesses:
                probs = _probs(run, Images(source, place, indices), name, label)
            return Own(source, split, name, place, indices, label, probs)
    raise UserError(f"{run.directory} has neither test nor validation images.", "name files.")


def _probs(run: Run, images: Images, name: str, label: np.ndarray) -> np.ndarray:
    """float32 [n, k] of a run's set: as they were kept, else computed."""
    place = run.directory / "predictions" / f"{name}.npz"
    if place.exists():
        with np.load(place, allow_pickle=False) as kept:
            newest = "step" in kept and int(kept["step"]) == run.step
            if newest and "ema" in kept and np.array_equal(kept["label"], label):
                return kept["ema"]
    return looked.at_images(run, images)[0]


def own_subjects(run: Run, own: Own, count: int, guesses: bool) -> Subjects:
    """`count` images of the measured set: its surest mistakes and some that are right, or, where
    guesses mean nothing, any.
    """
    n = len(own.label)
    drawn = np.random.default_rng([0, n]).permutation(n)
    wrong = np.flatnonzero((own.guess != own.label) & (own.label >= 0) & guesses)
    right = drawn[~np.isin(drawn, wrong)]
    few = min(len(wrong), max(round(MISTAKES * count), count - len(right)))
    surest = wrong[np.argsort(-own.probs[wrong].max(1), kind="stable")][:few]
    places = np.concatenate([surest, np.sort(right[: count - few])])
    images = own.images(places)[:]
    probs, features = looked.at_images(run, images)
    said = f"{len(places)} of {n} {own.name} images"
    if guesses:
        said += f": the {few} surest of {len(wrong)} mistakes, {len(places) - few} right ones"
    names = [own.called(i) for i in places.tolist()]
    return Subjects(said, names, images, own.label[places], probs, features, {}, places)


def file_subjects(run: Run, paths: Sequence[str]) -> Subjects:
    """Files, and why some of them cannot be read. Raises UserError where none can."""
    images, why = read(paths, shown_as(run.config))
    good = [i for i, error in enumerate(why) if error is None]
    if not good:
        raise UserError(
            f"none of {len(paths)} files can be read as an image (first: {paths[0]}: {why[0]}).",
            "give images: .jpg, .png and the like.",
        )
    probs, features = looked.at_images(run, images[good])
    errors = {path: error for path, error in zip(paths, why, strict=True) if error is not None}
    said, none = f"{len(good)} of {len(paths)} files", np.zeros(0, int)
    truth, names = np.full(len(good), UNKNOWN), [paths[i] for i in good]
    return Subjects(said, names, images[good], truth, probs, features, errors, none)


def near(run: Run, own: Own, subjects: Subjects) -> Near:
    """The nearest labelled images of the training set; an image is not its own neighbour, for no
    measured image is labelled.
    """
    rows = own.split.labelled
    known = looked.at_images(run, Images(own.source, "train", rows))[1]
    places, cosines = neighbours.nearest(subjects.features, known, NEAR)
    found = rows[places]
    names = [[image_name(own.source, "train", i) for i in each] for each in found.tolist()]
    wanted, back = np.unique(found, return_inverse=True)
    images = own.source.read("train", wanted)[back.reshape(found.shape)]
    return Near(names, images, own.source.labels["train"][found], cosines)


class Spread(NamedTuple):
    """A set of images and the subjects, in two dimensions; the subjects are the last ones."""

    points: np.ndarray  # float32 [n, 2]
    label: np.ndarray  # int [n]
    guess: np.ndarray  # int [n]


def spread(run: Run, own: Own, subjects: Subjects, by: str, end: str) -> Spread:
    """The map of an endpoint: at most 2,000 of the measured set and the subjects."""
    places = np.setdiff1d(maps.sample(len(own.label)), subjects.places)
    parts: list[Images | np.ndarray] = [subjects.images]
    if len(places):
        parts.insert(0, own.images(places))
    if end == "features":
        found = [looked.at_images(run, images)[1] for images in parts[:-1]]
        found.append(subjects.features)
    else:
        found = [inside.vectors(run, images, end) for images in parts]
    return Spread(
        maps.embedded(np.concatenate(found), by),
        np.concatenate([own.label[places], subjects.truth]),
        np.concatenate([own.guess[places], subjects.probs.argmax(1)]),
    )
