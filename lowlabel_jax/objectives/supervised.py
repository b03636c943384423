"""Supervised learning on the labelled images alone: the baseline every method is held against.

Run it with the same steps and with either augmentation, or gains look larger than they are
(Oliver et al. 2018, arXiv:1804.09170).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lowlabel_jax.core import parallel
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.core.ranges import Fraction, Natural, NonNegative, on
from lowlabel_jax.objectives import mixing
from lowlabel_jax.objectives.base import Objective, Out, labelled_metrics, mean
from lowlabel_jax.objectives.forward import joint
from lowlabel_jax.objectives.losses import cross_entropy, weighted


def supervised(
    *,
    info: Any,
    strong: bool = False,
    mixup: NonNegative = 0.0,
    mixup_from: Natural = 0,
    cutmix: NonNegative = 0.0,
    label_smoothing: Fraction = 0.0,
    class_weights: tuple = (),
    balanced: bool = False,
    logit_adjustment: NonNegative = 0.0,
) -> Objective:
    """Cross-entropy on the weak view of the labelled images, or on the strong one.

    mixup, cutmix: the alpha of arXiv:1710.09412 and arXiv:1905.04899, 0 for none; with both, each
    image meets either. mixup_from: none where there are fewer labels (BiT-HyperRule,
    arXiv:1912.11370: 0.1 from 20,000 on).
    label_smoothing: so much of the target is spread evenly over all classes.
    class_weights: one number a class; balanced: they are n / (k · images of the class). The loss
    is then the weighted mean. Accuracy is counted against an image's own label, mixed or not.
    logit_adjustment: tau of arXiv:2007.07314, equation 10. The loss alone sees logits plus tau ·
    log of the classes' shares of the labels; accuracy and predictions have the logits as they are.
    """
    view = "labelled_strong" if strong else "labelled"
    weights = balanced_weights(info) if balanced else class_weights
    shift = logit_adjustment * log_prior(info)
    mixup = mixup if info.sizes["labelled"] >= mixup_from else 0.0
    if class_weights and (balanced or len(class_weights) != info.num_classes):
        raise UserError(
            f"objective.class_weights has {len(class_weights)} numbers for {info.num_classes} "
            f"classes and balanced={balanced}.",
            "give one number a class, or balanced=True alone.",
        )

    def each(logits, label):
        """(loss [b], weight [b]) of taking logits [b, k] for label [b]."""
        logits = logits + shift[None] if on(logit_adjustment) else logits
        known = cross_entropy(logits, label)
        if on(label_smoothing):
            spread = -jax.nn.log_softmax(logits).mean(-1)
            known = (1 - label_smoothing) * known + label_smoothing * spread
        weight = jnp.array(weights, jnp.float32)[label] if weights else jnp.ones(len(label))
        return known * weight, weight

    def loss(params, state, views, key):
        images, label = views[view], views["label"]
        if on(mixup) or on(cutmix):
            images, other, left = mixed(jax.random.fold_in(key, 1), images, label, mixup, cutmix)
        (logits,), stats = joint(params, state, images, key=key)
        known, weight = each(logits, label)
        if on(mixup) or on(cutmix):
            pairs = zip((known, weight), each(logits, other), strict=True)
            known, weight = (left * mine + (1 - left) * its for mine, its in pairs)
        if weights:
            known = weighted(known, weight)
        metrics = {"loss": mean(known), **labelled_metrics(logits, label, known)}
        return known.mean(), Out(stats, state.aux, metrics)

    return Objective((view,), loss)


def mixed(
    key: jax.Array, images: jax.Array, label: jax.Array, mixup: float, cutmix: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(images mixed with their partners, the partners' labels [b], the images' own shares [b])."""
    key_order, key_choice, key_mixup, key_cutmix, key_box = jax.random.split(key, 5)
    (partner,), (other,) = (mixing.shuffled(key_order, x) for x in (images, label))
    (places,) = mixing.addresses(images)
    made = []
    if on(mixup):
        left = mixing.beta(key_mixup, mixup, places)
        made.append((mixing.mix(images, partner, left), left))
    if on(cutmix):
        left = mixing.beta(key_cutmix, cutmix, places)
        made.append(mixing.paste(key_box, images, partner, left, places))
    if len(made) == 1:
        return made[0][0], other, made[0][1]
    keys = parallel.example_keys(key_choice, places)
    first = jax.vmap(jax.random.bernoulli)(keys) | (cutmix == 0)  # either may be a traced 0
    first &= mixup != 0
    picked = [
        jnp.where(first.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(*made, strict=True)
    ]
    return picked[0], other, picked[1]


def balanced_weights(info: Any) -> tuple[float, ...]:
    """n / (k · images of the class) for each class: every class weighs alike."""
    counts = info.label_counts
    return tuple(sum(counts) / (len(counts) * max(n, 1)) for n in counts)


def log_prior(info: Any) -> np.ndarray:
    """float32 [k]: the log of each class's share of the labels, one without any taken for one."""
    counts = np.maximum(info.label_counts, 1)
    return np.log(counts / counts.sum()).astype(np.float32)
