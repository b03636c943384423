"""What an objective is shown: from a batch of uint8 images to named views in [-1, 1]."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lowlabel_jax.augment.recipe import Augment, over
from lowlabel_jax.core import parallel

# view -> (stream, recipe). A view's number in this table is part of its random keys: a new view
# goes to the end, so that the ones before it stay as they were.
VIEWS = {
    "labelled": ("labelled", "weak"),
    "labelled_strong": ("labelled", "strong"),
    "weak": ("unlabelled", "weak"),
    "weak_2": ("unlabelled", "weak"),
    "strong": ("unlabelled", "strong"),
    "strong_2": ("unlabelled", "strong"),
    **{f"strong_{i}": ("unlabelled", "strong") for i in range(3, 9)},
}
COLUMNS = {  # wanted like views, but no images: column -> its stream
    "teacher": "unlabelled",
    "teacher_weight": "unlabelled",
}


def make_views(
    names: Iterable[str],
    batch: Mapping[str, Mapping[str, Any]],
    recipes: Mapping[str, Augment],
    key: jax.Array,
    memory: Mapping[str, Any] | None = None,
) -> dict[str, jax.Array]:
    """The views of a batch by name, float32 [b, h, w, c] or [m, h, w, c], and what comes with them.

    batch: "labelled" -> image uint8 [b, h, w, c], label int32 [b], index int32 [b] in the labelled
    set; "unlabelled" (absent where no view needs it) -> image [m, h, w, c], index [m] in the
    unlabelled set, label int32 [m], and "teacher" [m, k] and "teacher_weight" [m] where views
    of these names are wanted.
    Adds "label" [b], "labelled_index" [b]; "index" [m], and "truth" [m] (-1 unknown), which no loss
    may look at.
    memory: what recipes that learn have learnt, by their name in `recipes`; none has without it.
    A view is a function of the key, its name and each image's global place in the batch: the same
    on any number of devices, and whatever other views are made beside it.
    """
    views = {name: _view(name, batch, recipes, key, memory) for name in names}
    views["label"] = batch["labelled"]["label"]
    views["labelled_index"] = batch["labelled"]["index"]
    if "unlabelled" in batch:
        views["index"] = batch["unlabelled"]["index"]
        views["truth"] = batch["unlabelled"]["label"]
    return views


def streams(names: Iterable[str]) -> set[str]:
    """The streams that these views are made of."""
    return {VIEWS[name][0] if name in VIEWS else COLUMNS[name] for name in names}


def normalise(image: jax.Array) -> jax.Array:
    """uint8 [..., h, w, c] -> float32 of the same shape in [-1, 1]: what every model is shown."""
    # Not x / 127.5 - 1: jit turns a division by a constant into a product, and 255 into 1.0000001.
    return (image.astype(jnp.float32) - 127.5) * (1 / 127.5)


def shown(images: jax.Array) -> jax.Array:
    """What a network is shown of uint8 images as they are, or of features float32."""
    return images if images.dtype == jnp.float32 else normalise(images)


def _view(
    name: str,
    batch: Mapping[str, Mapping[str, Any]],
    recipes: Mapping[str, Augment],
    key: jax.Array,
    memory: Mapping[str, Any] | None,
) -> jax.Array:
    if name in COLUMNS:
        return batch[COLUMNS[name]][name]
    if name not in VIEWS:
        raise ValueError(f"no view called {name!r}. There are: {', '.join((*VIEWS, *COLUMNS))}.")
    stream, recipe = VIEWS[name]
    images = batch[stream]["image"]
    if images.dtype == jnp.float32:
        return images  # features, which nothing is done to
    key_view = jax.random.fold_in(key, list(VIEWS).index(name))
    keys = parallel.example_keys(key_view, parallel.positions(len(images)))
    # vmap, on the CPU too. us per image on one core, vmap | lax.map, the same images from both:
    #   8x8x1, 360 images    flip_shift 0.2 | 1.9   moved 0.3 | 1.4   all but noise  0.6 |  2.9
    #   32x32x3, 64 images   flip_shift 1.6 | 3.4   moved 3.9 | 4.9   all but noise 13.2 | 18.2
    # (noise 32 more.) lax.map wins where an augmentation branches with lax.switch: vmap runs all.
    #   32x32x3, 448 images  fixmatch_ra 374 | 13
    return normalise(over(recipes[recipe], keys, images, (memory or {}).get(recipe)))
