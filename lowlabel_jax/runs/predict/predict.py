"""What a finished run says of images that it has never seen: `lowlabel predict`, lowlabel_jax.load.

One image that cannot be read spoils no other: it has a row, and a reason, of its own.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lowlabel_jax.augment.views import normalise
from lowlabel_jax.core import parallel
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.ops.compiling import compile_options
from lowlabel_jax.runs import evaluate, results
from lowlabel_jax.runs.predict import predict_restored
from lowlabel_jax.runs.predict.labelling import (
    Guess,
    Part,
    Row,
    batch_size,
    check_topk,
    parts,
    rows,
    sound,
)
from lowlabel_jax.runs.predict.predict_images import Item, expand, items_of, shown_as
from lowlabel_jax.runs.restored import detectors
from lowlabel_jax.training import build


class Run:
    """A finished run, ready for images: the averaged weights of its newest checkpoint.

    Images are paths (files, folders, patterns) or uint8 arrays [h, w, c] of any size, one or
    several, or one array [n, h, w, c]; they are cropped and resized as the run's own were.
    """

    def __init__(self, directory: str | os.PathLike[str]):
        """Raises UserError where there is no run, or none that has a checkpoint."""
        if not isinstance(directory, str | os.PathLike):
            kind = type(directory).__name__
            raise UserError(f"a run is a directory; this is {kind}.", 'load("runs/mine")')
        self.directory = Path(directory)
        self.config, state = evaluate.load(self.directory)
        self.class_names: tuple[str, ...] = tuple(self.config["info"]["class_names"])
        self.step = int(state.step)
        self.task = build.last_objective(self.config).task  # "classification" or "restoration"
        self._shown = shown_as(self.config)
        self.shape = self._shown.shape  # (h, w, c) of its images
        self._apply = state.apply_fn
        devices = parallel.device_count(self.config["devices"])
        self._variables = parallel.replicate(state.ema, devices)
        self._made: dict[tuple[int, bool], Guess] = {}
        self._judge: detectors.Judge | None = None

    def __repr__(self) -> str:
        names = ", ".join(self.class_names[:3]) + (", .." if len(self.class_names) > 3 else "")
        shape = "x".join(map(str, self._shown.shape))
        return (
            f"<Run {self.directory}: {self.config['model']['name']} for {len(self.class_names)} "
            f"classes ({names}), images {shape}, step {self.step}>"
        )

    def predict(self, images: Any, topk: int = 3) -> list[Row]:
        """The likeliest classes of each image; path None of an array. A file that cannot be read
        has a row with its error and no classes.

        A run that knows normal images alone says of each whether it is an anomaly. Raises UserError
        for one that restores images and no more: see `restored`.
        """
        check_topk(topk, "topk=")
        if self.judge:
            found = self.restored_parts(items_of(images))
            return [row for part in found for row in predict_restored.rows(part, self.judge)]
        self.must_label()
        return [row for part in self.parts(items_of(images)) for row in self.rows(part, topk)]

    def probabilities(self, images: Any) -> np.ndarray:
        """float32 [n, k], in the order of class_names. Raises UserError for a file that cannot be
        read, and for a run that restores images.
        """
        self.must_label()
        found = [sound(part).probs for part in self.parts(items_of(images))]
        return np.concatenate(found) if found else np.zeros((0, len(self.class_names)), np.float32)

    def embeddings(self, images: Any) -> np.ndarray:
        """float32 [n, f]: what the network's head sees. Raises UserError for a file that cannot be
        read.
        """
        parts = self.parts(items_of(images), features=True)
        found = [part.features for part in map(sound, parts) if part.features is not None]
        return np.concatenate(found) if found else np.zeros((0, self.feature_size), np.float32)

    def restored(self, images: Any) -> np.ndarray:
        """uint8 [n, h, w, c]: what an autoencoder makes of images, of its own size. Raises
        UserError for a file that cannot be read, and for a run that labels images.
        """
        if self.task != "restoration":
            raise UserError(f"{self.directory} labels images and restores none.", "run.predict(…)")
        found = [sound(part).features for part in self.restored_parts(items_of(images))]
        flat = [part.reshape(-1, *self.shape) for part in found if part is not None]
        whole = np.concatenate(flat) if flat else np.zeros((0, *self.shape))
        return predict_restored.as_pixels(whole)

    @property
    def judge(self) -> detectors.Judge | None:
        """What tells anomalies from normals, where the run was trained on normals alone."""
        has_one = self.task == "restoration" and self.config["split"]["normal_classes"]
        if has_one and self._judge is None:
            self._judge = detectors.read(self.config, self.directory, self.step)
        return self._judge

    def must_label(self) -> None:
        """Raise UserError for a run that restores images: its classes mean nothing."""
        if self.task == "restoration":
            raise UserError(
                f"{self.directory} restores images, and has learnt no classes to tell apart.",
                "lowlabel predict RUN IMAGES --restored DIR writes what it makes of images.",
            )

    def restored_parts(self, items: Sequence[Item]) -> Iterator[Part]:
        """As `parts`, of a run that restores images: scores for probabilities, and for features
        the restored images, [n, h · w · c] in [0, 1].
        """
        size = batch_size(len(items), self.config["batch"]["evaluation"])
        config = {**self.config, "batch": {**self.config["batch"], "evaluation": size}}
        guess = predict_restored.guesser(config, self._apply, self._variables, self.judge)
        widths = (len(self.judge.limits) if self.judge else 0, int(np.prod(self.shape)))
        return parts(items, self._shown, guess, size, widths)

    @property
    def feature_size(self) -> int:
        """How many numbers an embedding has."""
        image = jax.ShapeDtypeStruct((1, *self._shown.shape), jnp.float32)
        _, ends = jax.eval_shape(lambda x: self._apply(self._variables, x, train=False), image)
        return ends["features"].shape[-1]

    def parts(self, items: Sequence[Item], features: bool = False) -> Iterator[Part]:
        """What is found of images, some at a time; the next are read while these are labelled."""
        size = batch_size(len(items), self.config["batch"]["evaluation"])
        widths = (len(self.class_names), self.feature_size if features else None)
        return parts(items, self._shown, self.guesser(size, features), size, widths)

    def rows(self, part: Part, topk: int) -> Iterator[Row]:
        """A row for each image of a part."""
        return rows(part, self.class_names, topk)

    def guesser(self, size: int, features: bool) -> Guess:
        """The compiled network for batches of a size; made once."""
        if (size, features) not in self._made:
            config = {**self.config, "batch": {**self.config["batch"], "evaluation": size}}
            made = _with_features if features else _probabilities
            self._made[size, features] = made(config, self._apply, self._variables)
        return self._made[size, features]


def predict(directory: Path, wanted: Sequence[str], topk: int = 3) -> Iterator[Row]:
    """The likeliest classes of each image that `wanted` names (see expand), by a run.

    Raises UserError where there is no run, no such file, or no image.
    """
    check_topk(topk)
    run, paths = Run(directory), expand(wanted)
    for part in run.parts(paths):
        yield from run.rows(part, topk)


def _probabilities(config: Mapping[str, Any], apply: Callable, variables: Any) -> Guess:
    """images uint8 [n, h, w, c] -> (probabilities [n, k], None), by evaluation's own program."""
    predict = results.predictor(config, apply)
    return lambda images: (predict({"ema": variables}, images)["ema"], None)


def _with_features(config: Mapping[str, Any], apply: Callable, variables: Any) -> Guess:
    """images uint8 [n, h, w, c] -> (probabilities [n, k], features [n, f]) in one pass, n at most
    config["batch"]["evaluation"].
    """

    def forward(variables, batch):
        logits, ends = apply(variables, normalise(batch["image"]), train=False)
        probs = jax.nn.softmax(logits.astype(jnp.float32))
        return probs, ends["features"].astype(jnp.float32)

    devices = parallel.device_count(config["devices"])
    size = -(-config["batch"]["evaluation"] // devices) * devices
    options = compile_options(jax.default_backend())
    mapped = parallel.mapped(forward, devices, sharded_out=True, options=options)

    def guess(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        batch = parallel.shard_filled({"image": images}, size, devices)
        return parallel.rows(mapped(variables, batch), len(images))

    return guess
