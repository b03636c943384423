"""Supervised learning on the labelled images alone: the baseline every method is held against.

Run it with the same steps and with either augmentation, or gains look larger than they are
(Oliver et al. 2018, arXiv:1804.09170).
"""

from lowlabel_jax.objectives.base import Objective, Out, joint, labelled_metrics, mean
from lowlabel_jax.objectives.losses import cross_entropy


def supervised(*, strong: bool = False) -> Objective:
    """Cross-entropy on the weak view of the labelled images, or on the strong one."""
    view = "labelled_strong" if strong else "labelled"

    def loss(params, state, views, key):
        (logits,), stats = joint(params, state, views[view], key=key)
        known = cross_entropy(logits, views["label"])
        metrics = {"loss": mean(known), **labelled_metrics(logits, views["label"], known)}
        return known.mean(), Out(stats, state.aux, metrics)

    return Objective((view,), loss)
