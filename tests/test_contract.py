"""What every objective promises, for all that lie in the folder, each with its loss at work.

An objective is compiled twice, for one device and for eight: several tests share each program.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowlabel_jax.augment.views import COLUMNS, VIEWS
from lowlabel_jax.core import named, parallel
from lowlabel_jax.objectives.base import Mean, Objective
from lowlabel_jax.training import build, checkpoint
from lowlabel_jax.training.phases import Progress
from tests.linear import INFO
from tests.tiny import AT_WORK, OBJECTIVES, World, assert_same, leaves
from tests.tiny_config import RESTORING

every_objective = pytest.mark.parametrize("name", OBJECTIVES)
STEPS = 3
MU = {"temporal_ensembling": 60}  # more than an epoch in STEPS: it learns from images seen again
DROPOUT = ("pi_model",)  # forwards apart; by default that one alone


def world(name, *overrides, devices=1):
    """A world whose unlabelled term is at work, of the golden numbers' length."""
    options, mu = AT_WORK.get(name, {}), f"--config.batch.mu={MU.get(name, 3)}"
    return World(name, "--config.length.steps=20", mu, *overrides, devices=devices, **options)


# By default of each kind one: a mask, a memory, thresholds that learn, statistics over devices, a
# teacher. A method that is not named here is tested in full by default; `make test-slow` has all.
DEAR = (
    *("defixmatch", "denoising", "ict", "mean_teacher", "mixmatch", "pi_model", "reconstruction"),
    *("remixmatch", "simmatch", "softmatch", "uda", "vat"),
)
# What eight devices show of these, two devices show in tests/test_papers.py.
ON_TWO = (*("flexmatch", "noisy_student", "pseudo_label", "temporal_ensembling"),)


def by_cost(names, dear):
    """The names as parameters, the dear ones slow."""
    return [pytest.param(n, marks=pytest.mark.slow) if n in dear else n for n in names]


@pytest.fixture(scope="module", params=by_cost(OBJECTIVES, DEAR))
def one_device(request):
    """(name, a world of it, states, metrics): where STEPS steps lead in it, from its start.

    Of the whole module, so that the tests of one objective follow each other.
    """
    w = world(request.param)
    states, metrics = [w.start()], []
    for _ in range(STEPS):
        spent = jax.tree.map(jnp.copy, states[-1])  # a step takes the buffers of its state
        state, found = w.run(spent, 1)
        states, metrics = [*states, state], [*metrics, found]
    return request.param, w, states, metrics


@every_objective
def test_an_objective_is_views_a_loss_and_a_memory(name):
    made = named.build("objective", {"name": name}, total_steps=9, info=INFO)
    assert isinstance(made, Objective) and set(made.views) <= {*VIEWS, *COLUMNS}


def test_a_step_moves_every_weight_and_reports_finite_means(one_device):
    name, w, states, metrics = one_device
    begun, after, found = dict(w.start().params), dict(states[2].params), metrics[1]
    reported, images = {"loss/labelled", "accuracy/labelled"}, 8
    if name in RESTORING:  # of the unlabelled images alone; it has no use for the head
        reported, images = {"loss/reconstruction", "psnr"}, 24
        del begun["head"], after["head"]
    assert all((a != b).any() for a, b in zip(leaves(begun), leaves(after), strict=True))
    assert {"loss", "rate", "gradient_norm", *reported} <= set(found)
    assert all(isinstance(m, Mean) and np.isfinite(m.total).all() for m in found.values())
    assert int(states[2].step) == 2
    assert all(float(found[metric].count) == images for metric in reported)


def test_the_unlabelled_loss_is_at_work_in_these_tests(one_device):
    name, w, _, metrics = one_device
    last = {key: float(m.total.sum() / m.count) for key, m in metrics[-1].items()}
    if name in RESTORING:
        assert last["loss/reconstruction"] > 0
    elif name != "supervised":
        seen = w.phase.batch_sizes["unlabelled"] * (2 if name == "mixmatch" else 1)  # both views
        assert last["loss/unlabelled"] > 0 and metrics[-1]["loss/unlabelled"].count == seen
    if "mask_rate" in last:
        assert 0.05 < last["mask_rate"] < 0.95


def test_the_same_config_gives_the_same_bits(one_device):
    _, w, states, metrics = one_device
    assert_same(w.run(w.start(), STEPS), (states[-1], metrics[-1]))


def test_no_loss_looks_at_the_true_labels_of_the_unlabelled(one_device):
    name, w, states, _ = one_device
    shown = w.resident
    if "unlabelled" in shown:
        hidden = np.full_like(shown["unlabelled"]["label"], -1)
        w.resident = {**shown, "unlabelled": {**shown["unlabelled"], "label": hidden}}
    try:
        assert_same(w.run(w.start(), 2)[0], states[2])
    finally:
        w.resident = shown


@pytest.mark.parametrize("seed", ["split", "order", "init", "augment"])
def test_every_seed_decides_something(one_device, seed):
    name, w, states, _ = one_device
    other = world(name, f"--config.seeds.{seed}=1")
    other.phase = w.phase  # the same program
    ends = [leaves(state.params) for state in (states[1], other.run(other.start(), 1)[0])]
    without_labels = name in RESTORING and seed == "split"  # which images have one is all the same
    assert any((a != b).any() for a, b in zip(*ends, strict=True)) != without_labels


def test_a_state_from_disk_goes_on_as_the_live_one(one_device, tmp_path):
    """In a world made anew: what is not in the state is not remembered."""
    name, _, states, _ = one_device
    checkpoint.save(tmp_path, states[1], Progress(1), keep=1)
    again = world(name)
    restored = checkpoint.read(tmp_path, 1, build.new_state(again.config, again.phase))
    assert_same(again.run(restored, STEPS - 1)[0], states[-1])


@pytest.mark.parametrize("one_device", by_cost(OBJECTIVES, {*DEAR, *ON_TWO}), indirect=True)
def test_eight_devices_train_as_one_and_agree(one_device):
    """On all that a step returns: out_axes=None would take one device's value unseen.

    Sums over devices round differently, hence not bit by bit.
    """
    name, _, states, _ = one_device
    w = world(name, devices=8)
    every = parallel.Mapped(w.phase.step.fn, 8, sharded_out=True, options=w.phase.step.options)
    state = w.start()
    for step in range(STEPS):
        found = every(state, parallel.shard(w.feed.batch(step), 8), w.resident)
        for leaf in leaves(found):
            np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))
        state = parallel.replicate(jax.tree.map(lambda x: x[0], found[0]), 8)
    assert_alike(states[-1], state)


@pytest.mark.slow
def test_two_devices_train_as_one(one_device):
    name, _, states, _ = one_device
    w = world(name, devices=2)
    assert_alike(states[-1], w.run(w.start(), STEPS)[0])


def assert_alike(one, other):
    """The same trajectory, up to the order of summation."""
    for part in ("params", "batch_stats", "ema", "aux"):
        assert_same(getattr(one, part), getattr(other, part), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", by_cost(OBJECTIVES, set(OBJECTIVES) - set(DROPOUT)))
def test_dropout_is_allowed_and_the_same_on_two_devices(name):
    options = ("--config.model.dropout=0.5", "--config.model.hidden=8")
    one, two = (world(name, *options, devices=devices) for devices in (1, 2))
    ends = [w.run(w.start(), 2)[0].params for w in (one, two)]
    assert_same(*ends, atol=1e-6)
