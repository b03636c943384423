"""What the tests of MobileNets and EfficientNets share: counting, photos, and files' tensors."""

import functools
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowlabel_jax.core import named
from lowlabel_jax.images import crops, decoding
from lowlabel_jax.ops.initialise import initialise
from lowlabel_jax.pretrained import fitting, pixels
from lowlabel_jax.pretrained.layout import layout_of

ROOT = Path(__file__).parent.parent
REAL = Path(os.environ.get("LOWLABEL_TEST_DATA", ROOT.parent / "shared" / "data"))
WEIGHTS = REAL / "weights"
needs_weights = pytest.mark.skipif(not WEIGHTS.is_dir(), reason=f"no real weights in {WEIGHTS}")
NORM = {  # PyTorch's names of what BatchNorm holds, and Keras'
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def count(tree):
    """How many numbers a tree holds."""
    return sum(x.size for x in jax.tree.leaves(tree))


def shapes_of(model, shape=(64, 64, 3)):
    """The shapes of a model's variables."""
    image = jnp.zeros((1, *shape))
    return jax.eval_shape(lambda: model.init(jax.random.key(0), image, False))


def images(*shape):
    """float32 noise in -1..1, the same each time."""
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def filled(name, tensors, side=32, num_classes=7, **options):
    """(our network of this name, its variables with a file's tensors, the account)."""
    layout = layout_of(name, list(tensors))
    spec = {"name": name, **layout.options, **options}
    model = named.build("model", spec, num_classes=num_classes)
    variables, account = fitting.fitted(initialise(model, (side, side, 3), 0), tensors, layout)
    return model, variables, account


def ours(name, tensors, batch, **options):
    """(logits, account) of our network with a file's tensors, for images [b, h, w, 3]."""
    model, variables, account = filled(name, tensors, **options)
    look = jax.jit(functools.partial(model.apply, train=False))
    return np.asarray(look(variables, batch)[0]), account


def equal(mine, other):
    """Raise where two trees differ in a path or in a number."""
    jax.tree.map(np.testing.assert_array_equal, mine, other)


def close(logits, expected):
    """Equal to 1e-4, of each number or of the largest."""
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def photos(folder=REAL / "imagenet20", size=224):
    """(uint8 [20, size, size, 3], the central squares of ImageNet photos, their labels)."""
    how = crops.Fit(size, "centre", 0, 0.0, "area", 3)
    paths = sorted(folder.glob("*.jpg"))
    squares = [crops.fit(decoding.decode(path), how) for path in paths]
    return np.stack(squares), np.array([int(path.stem.split("_")[-1]) for path in paths])


def scenes(size=224):
    """{name: uint8 [size, size, 3]}: photos of everyday things from installed packages."""
    datasets = pytest.importorskip("sklearn.datasets")
    found = {"china": datasets.load_sample_image("china.jpg")}
    try:
        from skimage import data
    except ImportError:
        pass
    else:
        found |= {name: getattr(data, name)() for name in ("chelsea", "coffee", "astronaut")}
    how = crops.Fit(size, "centre", 0, 0.0, "bilinear", 3)
    return {name: crops.fit(photo, how) for name, photo in found.items()}


def shown(squares, name):
    """uint8 images as a network wants them whose pixels have this name."""
    scale, shift = pixels.affine(pixels.find(name))
    return (squares.astype(np.float32) / 127.5 - 1) * scale + shift
