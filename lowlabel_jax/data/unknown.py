"""Classes that a run does not know: their images teach without labels, and measure nothing."""

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from lowlabel_jax.core.errors import nearest, problems
from lowlabel_jax.data.sets import MEASURED, narrowed
from lowlabel_jax.data.source import Source


def without(source: Source, unknown: Sequence[str]) -> Source:
    """The source in which these classes have no name: open-set semi-supervised learning.

    Their training images keep no label and so are unlabelled ones; their validation and test images
    are left out; the other classes are numbered anew, in the same order. Raises UserError for a
    class that the source does not have.
    """
    if not unknown:
        return source
    names = source.class_names
    missing = [name for name in unknown if name not in names]
    problems(f"split.unknown_classes: no class {name!r}.{nearest(name, names)}" for name in missing)
    kept = tuple(name for name in names if name not in unknown)
    number = np.array([kept.index(n) if n in kept else -1 for n in names] + [-1], np.int32)
    labels = {name: number[label] for name, label in source.labels.items()}  # -1 is the last one
    stay = {
        name: np.flatnonzero((label >= 0) | (source.labels[name] < 0))
        for name, label in labels.items()
        if name in MEASURED
    }
    mark = json.dumps([source.fingerprint, sorted(set(unknown))])
    numbered = source._replace(
        class_names=kept, labels=labels, fingerprint=hashlib.sha256(mark.encode()).hexdigest()
    )
    return narrowed(numbered, stay)
