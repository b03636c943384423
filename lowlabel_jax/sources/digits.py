"""scikit-learn's handwritten digits: 1,797 grey images of 8x8, ten classes, no download."""

import numpy as np

from lowlabel_jax.core.ranges import Count
from lowlabel_jax.data.source import Source, from_arrays


def digits(*, test: Count = 500) -> Source:
    """Digits with a test set of `test` images, the same for every seed, classes in proportion.

    The set has no published split, so this one is fixed once: it never depends on a run's seed.
    """
    from sklearn.datasets import load_digits  # half a second to import: only who uses it pays
    from sklearn.model_selection import train_test_split

    images, label = map(np.asarray, load_digits(return_X_y=True))
    pixels = np.round(images * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    rows = np.arange(len(label))
    parts = train_test_split(rows, test_size=test, stratify=label, random_state=0)
    train, tested = (np.asarray(part) for part in parts)
    names = [str(digit) for digit in range(10)]
    sets = {name: (pixels[r], label[r]) for name, r in (("train", train), ("test", tested))}
    return from_arrays(names, sets)
