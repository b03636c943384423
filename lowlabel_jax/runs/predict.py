"""What a finished run says of images that it has never seen: `lowlabel predict`, lowlabel_jax.load.

One image that cannot be read spoils no other: it has a row, and a reason, of its own.
"""

import concurrent.futures
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lowlabel_jax.augment.views import normalise
from lowlabel_jax.core import parallel
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.ops.compiling import compile_options
from lowlabel_jax.runs import evaluate, results
from lowlabel_jax.runs.predict_images import Item, expand, items_of, read, shown_as

AT_ONCE = 64  # images read and labelled together, at most

Row = dict[str, Any]  # {"path" or None, "topk": [{"label", "probability"}, …], "error" or None}
Guess = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]


class Part(NamedTuple):
    """What is found of some images, in order; numbers of one that cannot be read are NaN."""

    items: Sequence[Item]
    errors: list[str | None]
    probs: np.ndarray  # float32 [n, k]
    features: np.ndarray | None  # float32 [n, f], where they were asked for


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
        self._shown = shown_as(self.config)
        self._apply = state.apply_fn
        devices = parallel.device_count(self.config["devices"])
        self._variables = parallel.replicate(state.ema, devices)
        self._made: dict[tuple[int, bool], Guess] = {}

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
        """
        check_topk(topk, "topk=")
        return [row for part in self.parts(items_of(images)) for row in self.rows(part, topk)]

    def probabilities(self, images: Any) -> np.ndarray:
        """float32 [n, k], in the order of class_names. Raises UserError for a file that cannot be
        read.
        """
        found = [_sound(part).probs for part in self.parts(items_of(images))]
        return np.concatenate(found) if found else np.zeros((0, len(self.class_names)), np.float32)

    def embeddings(self, images: Any) -> np.ndarray:
        """float32 [n, f]: what the network's head sees. Raises UserError for a file that cannot be
        read.
        """
        parts = self.parts(items_of(images), features=True)
        found = [part.features for part in map(_sound, parts) if part.features is not None]
        return np.concatenate(found) if found else np.zeros((0, self.feature_size), np.float32)

    @property
    def feature_size(self) -> int:
        """How many numbers an embedding has."""
        image = jax.ShapeDtypeStruct((1, *self._shown.shape), jnp.float32)
        _, ends = jax.eval_shape(lambda x: self._apply(self._variables, x, train=False), image)
        return ends["features"].shape[-1]

    def parts(self, items: Sequence[Item], features: bool = False) -> Iterator[Part]:
        """What is found of images, some at a time; the next are read while these are labelled."""
        size = _size(len(items), self.config["batch"]["evaluation"])
        guess = self.guesser(size, features)
        starts = range(0, len(items), size)
        blocks = [items[start : start + size] for start in starts]
        with concurrent.futures.ThreadPoolExecutor(1) as reader:
            coming = [reader.submit(read, block, self._shown) for block in blocks[:1]]
            for number, block in enumerate(blocks):
                images, errors = coming.pop().result()
                for following in blocks[number + 1 : number + 2]:
                    coming.append(reader.submit(read, following, self._shown))
                yield self._part(block, images, errors, guess, features)

    def rows(self, part: Part, topk: int) -> Iterator[Row]:
        """A row for each image of a part."""
        for item, error, probs in zip(part.items, part.errors, part.probs, strict=True):
            likeliest = [] if error else best(probs, self.class_names, topk)
            path = item if isinstance(item, str) else None
            yield {"path": path, "topk": likeliest, "error": error}

    def _part(
        self, items: Sequence[Item], images: np.ndarray, errors: list, guess: Guess, features: bool
    ) -> Part:
        """What the network says of images [n, h, w, c]; those with an error it is not shown."""
        good = [i for i, error in enumerate(errors) if error is None]
        none = (np.zeros((0, len(self.class_names))), None)
        probs, found = guess(images[good]) if good else none
        if features and found is None:
            found = np.zeros((0, self.feature_size))
        spread = None if found is None else _spread(found, good, len(items))
        return Part(items, errors, _spread(probs, good, len(items)), spread)

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


def check_topk(topk: int, option: str = "--topk ") -> None:
    """Raise UserError for a number of classes that shows none."""
    if not isinstance(topk, int) or topk < 1:
        raise UserError(f"{option}{topk} shows no class.", f"{option}3 shows three.")


def best(probs: np.ndarray, names: Sequence[str], topk: int) -> list[dict[str, Any]]:
    """The likeliest classes of probabilities [k], with theirs."""
    order = np.argsort(-probs, kind="stable")[:topk]
    return [{"label": names[k], "probability": round(float(probs[k]), 6)} for k in order]


def _size(n: int, most: int) -> int:
    """Images a batch for n of them: a power of two, so that few programs are compiled."""
    return min(1 << max(n - 1, 0).bit_length(), AT_ONCE, most)


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
        padded = np.concatenate([images, np.repeat(images[:1], size - len(images), axis=0)])
        found = mapped(variables, parallel.shard({"image": padded}, devices))
        probs, features = (np.asarray(x).reshape(size, -1)[: len(images)] for x in found)
        return probs, features

    return guess


def _spread(found: np.ndarray, places: Sequence[int], n: int) -> np.ndarray:
    """[m, f] at places of [n, f], the rest NaN."""
    whole = np.full((n, found.shape[1]), np.nan, np.float32)
    whole[places] = found
    return whole


def _sound(part: Part) -> Part:
    for item, error in zip(part.items, part.errors, strict=True):
        if error is not None:
            raise UserError(
                f"{item if isinstance(item, str) else 'an array'} cannot be read: {error}.",
                "leave it out; run.predict says which can.",
            )
    return part
