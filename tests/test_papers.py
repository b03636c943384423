"""Every method against tests/papers.py, its paper written down again in plain float64.

Two devices, masks partly open, what is remembered well away from where it begins: the value, the
gradient by the network's scale (targets held still), what is remembered afterwards. Shares, orders
and directions are those that the objective has drawn.
"""

from unittest import mock

import jax.numpy as jnp
import numpy as np
import pytest

from lowlabel_jax.objectives import alignment
from tests import papers
from tests.linear import (
    LABELLED,
    SCALE,
    UNLABELLED,
    B,
    K,
    M,
    call,
    centred,
    flat,
    given_views,
    images,
    softmax,
    turning_head,
)
from tests.tiny import CLASSIFYING

TEACHER = (0.4, 1.1, 0.9, 1.6)
STEPS = (0, 2, 5, 10)  # of 10: where ramps begin, climb and have ended
FIXED = 1e-6  # of the difference quotient, in float64


def agree(name, paper, as_papers=None, *, aux=(), step=0, views=None, shown=None, **options):
    """Assert that an objective is `paper(views, draws, common) -> (loss, memory)`.

    as_papers: from what ours remembers to what theirs does. shown: the views as the paper is to
    see them, where its names are others.
    """
    views = given_views() if views is None else views
    found = call(
        name, views, scale=SCALE, teacher=TEACHER, step=step, aux=aux, devices=2, **options
    )
    shown = shown(flat(views)) if shown else flat(views)
    memory = as_papers(aux) if as_papers else None

    def theirs(scale):
        common = {"student": scale, "held": np.array(SCALE), "memory": memory, "step": step}
        return paper(shown, found.draws, {**common, "total_steps": 10})

    loss, after = theirs(np.array(SCALE))
    np.testing.assert_allclose(found.loss, loss, rtol=1e-5)
    np.testing.assert_allclose(found.gradient, quotient(theirs), rtol=2e-4, atol=2e-6)
    if as_papers:
        mine = as_papers(found.aux)
        assert set(mine) == set(after)
        for part in after:
            np.testing.assert_allclose(mine[part], after[part], rtol=1e-5, atol=1e-7, err_msg=part)
    if "mask_rate" in found.metrics:
        assert 0.05 < found.metrics["mask_rate"] < 0.95
    return found


def quotient(loss_of):
    """[K]: how the loss changes with each entry of the scale."""
    steps = FIXED * np.eye(K)
    ends = [[loss_of(np.array(SCALE) + sign * s)[0] for s in steps] for sign in (1, -1)]
    return (np.array(ends[0]) - np.array(ends[1])) / (2 * FIXED)


def with_teacher(common):
    """What a paper with a teacher network is given."""
    return {**common, "teacher": np.array(TEACHER)}


def marginals(seed, *shape):
    """Probabilities to remember, unlike each other."""
    drawn = np.random.default_rng(seed).normal(size=(*shape, K))
    return jnp.asarray(softmax(drawn), jnp.float32)


# --- labels alone ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        ({}, {}),
        ({"strong": True}, {"view": "labelled_strong"}),
        ({"label_smoothing": 0.1}, {"smoothing": 0.1}),
        ({"class_weights": (1.0, 2.0, 0.5, 4.0)}, {"class_weights": (1.0, 2.0, 0.5, 4.0)}),
    ],
)
def test_supervised(options, theirs):
    agree("supervised", lambda v, draws, c: papers.supervised(v, **theirs, **c), **options)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_supervised_with_mixup(smoothing):
    def paper(views, draws, common):
        drawn = {"share": draws["beta"][0], "order": draws["permutation"][0]}
        return papers.supervised(views, smoothing=smoothing, **drawn, **common)

    agree("supervised", paper, mixup=0.8, label_smoothing=smoothing)


# --- consistency of two predictions ------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_pseudo_label(step):
    def paper(views, draws, common):
        return papers.pseudo_label(views, threshold=0.8, weight=0.7, ramp=0.4, **common)

    agree("pseudo_label", paper, step=step, threshold=0.8, weight=0.7)


@pytest.mark.parametrize("step", STEPS)
def test_pi_model(step):
    agree("pi_model", lambda v, draws, c: papers.pi_model(v, **c), step=step)


@pytest.mark.parametrize("step", STEPS)
def test_mean_teacher(step):
    """Ours shows the student the first weak view and the teacher the second, theirs the reverse."""

    def swapped(views):
        return {**views, "weak": views["weak_2"], "weak_2": views["weak"]}

    def paper(views, draws, common):
        return papers.mean_teacher(views, **with_teacher(common))

    agree("mean_teacher", paper, step=step, shown=swapped)


def a_store():
    """Averages and visits of the unlabelled images; some were never seen."""
    visits = jnp.asarray(np.arange(UNLABELLED) % 4, jnp.int32)
    return {"average": marginals(5, UNLABELLED) * (visits > 0)[:, None], "visits": visits}


@pytest.mark.parametrize("step", STEPS)
def test_temporal_ensembling(step):
    def paper(views, draws, common):
        return papers.temporal_ensembling(views, ramp=0.27, **common)

    def as_papers(aux):
        return {"Z": np.float64(aux["average"]), "visits": np.asarray(aux["visits"])}

    agree("temporal_ensembling", paper, as_papers, aux=a_store(), step=step)


@pytest.mark.parametrize("step", STEPS)
def test_vat(step):
    """The loss with the direction that was found; the direction has a test of its own.

    With a large difference, for the direction itself must not be lost in rounding here.
    """
    views = {**given_views(), "weak": images(1, M, 0.5)}

    def paper(views, draws, common):
        away = draws["adversary"][0].reshape(M, K)
        with mock.patch.object(papers, "adversarial", lambda x, scale, d, size: size * d):
            return papers.vat(views, direction=away, **common)

    agree("vat", paper, step=step, views=views, difference=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_vats_direction_is_that_of_the_hessian(seed):
    """With the default difference, in float32: every image's, and not the noise it began with."""
    views = {**given_views(), "weak": images(seed, M, 0.5)}
    found = call("vat", views, scale=SCALE, key=seed, devices=2)
    noise, away = (found.draws[name][0].reshape(M, K) for name in ("unit", "adversary"))
    exact = papers.adversarial(flat(views)["weak"], SCALE, noise, 1.0)
    assert ((away * exact).sum(1) > 0.999).all()
    assert ((papers.unit(noise) * exact).sum(1) < 0.99).all()


# --- mixing images -----------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_ict(step):
    def paper(views, draws, common):
        drawn = {"share": draws["beta"][0], "order": draws["permutation"][0]}
        return papers.ict(views, **drawn, **with_teacher(common))

    agree("ict", paper, step=step)


@pytest.mark.parametrize("step", STEPS)
def test_mixmatch(step):
    def paper(views, draws, common):
        drawn = {"share": np.concatenate(draws["beta"]), "order": draws["permutation"][0]}
        return papers.mixmatch(views, ramp=0.4, **drawn, **common)

    agree("mixmatch", paper, step=step, ramp=0.4)


def newest_last(window):
    """A window of ours, the newest row first, as theirs."""
    return np.float64(window)[::-1]


@pytest.mark.parametrize("step", STEPS)
def test_remixmatch(step):
    heads, views = turning_head(), given_views()
    layer = heads["rotation"]["head"]

    def paper(shown, draws, common):
        (turns,) = draws["turned_by"]
        turned = [np.rot90(x[..., 0], n) for x, n in zip(views["strong"], turns, strict=True)]
        told = np.reshape(turned, (M, K)) @ np.float64(layer["kernel"]) + np.float64(layer["bias"])
        drawn = {"share": np.concatenate(draws["beta"]), "order": draws["permutation"][0]}
        turning = {"rotation_logits": told, "rotation_class": turns}
        return papers.remixmatch(shown, ramp=0.4, update_first=True, **turning, **drawn, **common)

    def as_papers(aux):
        return {"data": newest_last(aux["labels"]), "model": newest_last(aux["guesses"])}

    aux = {"labels": marginals(1, 128), "guesses": marginals(2, 128)}
    found = agree("remixmatch", paper, as_papers, aux=aux, step=step, heads=heads, ramp=0.4)
    assert (found.heads["rotation"]["head"]["kernel"] != 0).all()


# --- a weak view teaches a strong one ----------------------------------------------------------


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("threshold", [0.6, 0.9])
def test_fixmatch(threshold, split):
    def paper(views, draws, common):
        return papers.fixmatch(views, threshold=threshold, weight=0.7, **common)

    agree("fixmatch", paper, threshold=threshold, weight=0.7, split=split)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("tsa", ["none", "linear", "exp", "log"])
def test_uda(tsa, step):
    def paper(views, draws, common):
        return papers.uda(views, schedule=None if tsa == "none" else tsa, **common)

    agree("uda", paper, step=step, tsa=tsa)


def test_defixmatch():
    def paper(views, draws, common):
        return papers.defixmatch(views, threshold=0.8, weight=0.7, **common)

    found = agree("defixmatch", paper, threshold=0.8, weight=0.7)
    assert found.metrics["loss/debias"] > 0


LEARNT = jnp.array([0, 0, 0, 1, 1, 1, 2, 2, -1, -1, -1, -1])  # more not yet than of any class


@pytest.mark.parametrize("warm_up", [True, False])
@pytest.mark.parametrize("threshold", [0.95, 0.97])
def test_flexmatch(threshold, warm_up):
    def paper(views, draws, common):
        return papers.flexmatch(views, threshold=threshold, warm_up=warm_up, **common)

    def as_papers(aux):
        return {"guess": np.asarray(aux["learnt"])}

    options = {"threshold": threshold, "warm_up": warm_up}
    agree("flexmatch", paper, as_papers, aux={"learnt": LEARNT}, **options)


@pytest.mark.parametrize(("lowest", "highest"), [(0.0, 1.0), (0.9, 0.95), (0.0, 0.6)])
@pytest.mark.parametrize("unseen", [False, True])
def test_freematch(unseen, lowest, highest):
    def paper(views, draws, common):
        options = {"momentum": 0.9, "fairness_weight": 0.5, "lowest": lowest, "highest": highest}
        return papers.freematch(views, **options, **common)

    def as_papers(aux):
        renamed = {"threshold": "level", "p": "class", "h": "histogram"}
        return {theirs: np.float64(aux[ours]) for theirs, ours in renamed.items()}

    histogram = jnp.float32([0.5, 0.3, 0.2, 0.0]) if unseen else marginals(4)
    aux = {"level": jnp.float32(0.8), "class": marginals(3), "histogram": histogram}
    bounds = {"lowest": lowest, "highest": highest}
    agree("freematch", paper, as_papers, aux=aux, decay=0.9, fairness=0.5, **bounds)


@pytest.mark.parametrize("align", [True, False])
def test_softmatch(align):
    """Theirs has no smoothing in its alignment."""

    def paper(views, draws, common):
        return papers.softmatch(views, momentum=0.9, alignment=align, **common)

    def as_papers(aux):
        kept = {name: np.float64(aux[name]) for name in ("mean", "variance")}
        return kept | ({"model": np.float64(aux["guess"])} if align else {})

    def without_model(views, draws, common):
        if align:
            return paper(views, draws, common)
        common["memory"]["model"] = papers.uniform(K)
        loss, after = paper(views, draws, common)
        common["memory"].pop("model")
        return loss, {name: after[name] for name in ("mean", "variance")}

    aux = {"mean": jnp.float32(0.7), "variance": jnp.float32(0.02)}
    aux |= {"guess": marginals(3)} if align else {}
    with mock.patch.object(alignment, "EPSILON", 0.0):
        agree("softmatch", without_model, as_papers, aux=aux, decay=0.9, align=align)


def adamatchs_memory(aux):
    """Ours as theirs."""
    return {
        "labelled": np.float64(aux["labelled"]),
        "unlabelled": newest_last(aux["unlabelled"]),
    }


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("interpolate", [False, True])
def test_adamatch(interpolate, step):
    """Without BatchNorm both passes say the same: interpolation changes nothing."""

    def paper(views, draws, common):
        return papers.adamatch(views, momentum=0.9, **common)

    aux = {"labelled": marginals(1), "unlabelled": marginals(2, 128)}
    options = {"decay": 0.9, "interpolate": interpolate}
    agree("adamatch", paper, adamatchs_memory, aux=aux, step=step, **options)


def test_adamatchs_interpolation():
    """On a network that takes the batch's mean off, the two passes differ."""
    views = given_views()
    names = ("labelled", "labelled_strong", "weak", "strong")
    alone = np.concatenate([flat(views)[name] for name in names[:2]]).mean(0)
    whole = np.concatenate([flat(views)[name] for name in names]).mean(0)

    def shown(views):
        return {**views, **{name: views[name] - whole for name in names}}

    def paper(views, draws, common):
        passes = [common["student"] * (views[name] + whole - alone) for name in names[:2]]
        (shares,) = draws["between"]
        share = shares.reshape(B, 2, K).transpose(1, 0, 2)
        assert 0 < shares.min() < shares.max() < 1 and len(np.unique(shares)) == shares.size
        drawn = {"first_pass": tuple(passes), "share": tuple(share)}
        return papers.adamatch(views, momentum=0.9, threshold=1.0, **drawn, **common)

    aux = {"labelled": marginals(1), "unlabelled": marginals(2, 128)}
    more = {"decay": 0.9, "threshold": 1.0, "network": centred, "shown": shown, "step": 3}
    agree("adamatch", paper, adamatchs_memory, aux=aux, **more)


def embedding_heads(size):
    """SimMatch's own layers, with numbers of their own."""
    rng = np.random.default_rng(8)

    def layer(outputs):
        drawn = {"kernel": rng.normal(size=(K, outputs)), "bias": rng.normal(size=outputs)}
        return {"head": {name: jnp.float32(x) for name, x in drawn.items()}}

    return {"hidden": layer(K), "embedding": layer(size)}


def embeddings(heads, features):
    """[n, size]: two layers with a ReLU between them."""
    for name in ("hidden", "embedding"):
        layer = {key: np.float64(x) for key, x in heads[name]["head"].items()}
        features = features @ layer["kernel"] + layer["bias"]
        features = np.maximum(features, 0) if name == "hidden" else features
    return features


@pytest.mark.parametrize("instance_weight", [0.0, 0.8])
def test_simmatch(instance_weight):
    """Without a teacher network. Ours takes the labelled images in before the bank is used."""
    size, rng = 3, np.random.default_rng(7)
    heads = embedding_heads(size)
    bank = {"embedding": jnp.float32(papers.unit(rng.normal(size=(LABELLED, size))))}
    bank["label"] = jnp.array([2, 1, 3, 3, 1, 0])
    aux = {"bank": bank, "guesses": marginals(2, 32)}

    def paper(views, draws, common):
        mine = {n: embeddings(heads, views[n]) for n in ("labelled", "weak", "strong")}
        memory = dict(common["memory"])
        rows, new = views["labelled_index"], papers.unit(mine["labelled"])
        old = memory["bank"][rows]
        memory["bank"] = memory["bank"].copy()
        for row, was, now in zip(rows, old, new, strict=True):
            memory["bank"][row] = papers.unit(0.7 * was + 0.3 * now)
        return papers.simmatch(
            views,
            **{**common, "memory": memory, "teacher": common["held"]},
            embedding=mine["strong"],
            teacher_embedding=mine["weak"],
            threshold=0.7,
            instance_weight=instance_weight,
        )

    def as_papers(aux):
        kept = {
            "bank": np.float64(aux["bank"]["embedding"]),
            "label": np.asarray(aux["bank"]["label"]),
        }
        return {**kept, "model": newest_last(aux["guesses"])}

    options = {"threshold": 0.7, "instance_weight": instance_weight, "size": size}
    with mock.patch.object(alignment, "EPSILON", 0.0):
        found = agree("simmatch", paper, as_papers, aux=aux, heads=heads, **options)
    alone = call("supervised", scale=SCALE, devices=2)  # no gradient passes through the bank
    np.testing.assert_allclose(found.by_view["labelled"], alone.by_view["labelled"], atol=1e-6)
    moved = np.abs(found.heads["embedding"]["head"]["kernel"]).max()
    assert (moved > 0) == (instance_weight > 0)


# --- a finished run teaches the next -----------------------------------------------------------


def test_noisy_student():
    views = given_views()
    stored = np.full((UNLABELLED, K), np.nan)
    views = {**views, "teacher": views["teacher"].at[3].set(views["teacher"][0])}
    views["teacher"] = views["teacher"].at[7].set(views["teacher"][0])  # image 3 again, like row 0
    views["teacher"] = views["teacher"].at[6].set(views["teacher"][2])
    stored[np.asarray(views["index"])] = views["teacher"]

    def paper(shown, draws, common):
        return papers.noisy_student(shown, stored=stored, threshold=0.8, weight=0.7, **common)

    agree("noisy_student", paper, views=views, threshold=0.8, weight=0.7)


def test_every_objective_has_its_paper_here():
    """Those that restore images have theirs in tests/test_autoencoders.py."""
    found = {name for name in CLASSIFYING if f"test_{name}" in globals()}
    assert found == set(CLASSIFYING)
