"""Alarms about pseudo-labels: when they sound, that they do so once, and that a restart keeps them.

With them, what they look at: vectors among the metrics, and the distance to the average.
"""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import entropy

from lowlabel_jax.objectives.base import Mean, pseudo_label_metrics
from lowlabel_jax.training import alarms, phases
from lowlabel_jax.training.phases import Progress
from tests.tiny import AT_WORK, World, leaves

EVEN = [0.25] * 4
HEALTHY = {"mask_rate": 0.5, "pseudo_label/histogram": EVEN}


def lines(numbers, count, progress=None, each=100):
    """The progress after so many log lines, all alike, each over so many steps."""
    progress = progress or Progress()
    for _ in range(count):
        progress = dataclasses.replace(
            progress, step=progress.step + each, sums={"rate": [0.1 * each, float(each)]}
        )
        progress = dataclasses.replace(progress, alarms=alarms.sound(progress, numbers), sums={})
    return progress


def said(capsys):
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("sick", "hint"),
    [
        ({"mask_rate": 0.0009}, "Lower objective.threshold"),
        ({"mask_rate": 0.9991}, "Raise objective.threshold"),
        ({"pseudo_label/histogram": [0.98, 0.02, 0.0, 0.0]}, "one class swallows"),
    ],
)
def test_a_sign_is_said_once_it_has_held_for_500_steps_and_once_only(capsys, sick, hint):
    progress = lines({**HEALTHY, **sick}, 4)
    assert not said(capsys)  # 400 steps
    progress = lines({**HEALTHY, **sick}, 1, progress)
    (line,) = said(capsys)
    assert line.startswith("warning: step 500: for 500 steps ") and hint in line
    progress = lines(HEALTHY, 1, lines({**HEALTHY, **sick}, 10, progress))
    lines({**HEALTHY, **sick}, 10, progress)
    assert not said(capsys)


@pytest.mark.parametrize(
    "fine",
    [
        {"mask_rate": 0.001, "pseudo_label/histogram": EVEN},
        {"mask_rate": 0.999, "pseudo_label/histogram": EVEN},
        {"mask_rate": 0.5, "pseudo_label/histogram": [0.95, 0.05, 0.0, 0.0]},
        {"mask_rate": None, "pseudo_label/histogram": None},  # nothing was counted
        {"loss": 0.3},  # supervised
        {"loss": 0.3, "pseudo_label/histogram": EVEN},  # keeps all by design
    ],
)
def test_what_is_within_bounds_is_never_said(capsys, fine):
    assert set(lines(fine, 20).alarms.values()) == {0} and not said(capsys)


def test_a_sign_that_goes_away_begins_again(capsys):
    shut = {"mask_rate": 0.0}
    progress = lines(shut, 4, lines({"mask_rate": 0.2}, 1, lines(shut, 4)))
    assert not said(capsys)
    lines(shut, 1, progress)
    assert said(capsys)[0].startswith("warning: step 1000: for 500 steps ")


def test_log_lines_of_any_length_count_their_steps(capsys):
    shut = {"mask_rate": 0.0}
    progress = lines(shut, 1, lines(shut, 24, each=20), each=19)
    assert not said(capsys) and progress.alarms["mask shut"] == 499
    lines(shut, 1, progress, each=1)
    assert len(said(capsys)) == 1


def test_every_phase_is_watched_anew(capsys):
    shut = {"mask_rate": 0.0}
    progress = phases.next_phase(lines(shut, 6))
    assert len(said(capsys)) == 1
    progress = lines(shut, 4, progress)
    assert not said(capsys)
    lines(shut, 1, progress)
    assert said(capsys)[0].startswith("warning: step 1100: for 500 steps ")


def test_a_restart_neither_forgets_nor_repeats(capsys):
    def restarted(progress):
        return Progress(**json.loads(json.dumps(progress.to_json())))

    shut = {"mask_rate": 0.0}
    progress = lines(shut, 1, restarted(lines(shut, 4)))
    assert len(said(capsys)) == 1
    lines(shut, 10, restarted(progress))
    assert not said(capsys)


def looks(*pairs, progress=None):
    """The progress after looks of (averaged, last) accuracy."""
    progress = progress or Progress(step=50)
    for average, last in pairs:
        numbers = {"validation/accuracy": average, "validation/accuracy_raw": last}
        progress = dataclasses.replace(progress, alarms=alarms.looked(progress, numbers))
    return progress


def test_an_average_that_stays_behind_the_last_weights_is_said_once_a_phase(capsys):
    near, far = (0.5, 0.55), (0.3, 0.5)
    progress = looks(far, far, near, far, far)
    assert not said(capsys)
    progress = lines(
        HEALTHY, 1, looks(far, progress=progress)
    )  # a log line between forgets nothing
    (line,) = said(capsys)
    assert "3 looks" in line and "--config.ema.batch_stats=True" in line
    looks(far, far, far, near, far, far, far, progress=progress)
    assert not said(capsys)
    looks(far, far, far, progress=phases.next_phase(progress))
    assert len(said(capsys)) == 1
    assert alarms.looked(Progress(), {"validation/loss": 0.1}) == {"average behind": 0}  # restores


def test_entropy_is_scipys():
    shares = np.random.default_rng(0).dirichlet(np.full(7, 0.3))
    assert alarms.entropy(shares.tolist()) == pytest.approx(entropy(shares), rel=1e-12)
    assert alarms.entropy([0.0, 1.0, 0.0]) == 0.0


# --- what they look at ----------------------------------------------------------------------------


def test_the_histogram_counts_the_guesses_kept_or_not():
    probs = jnp.array([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.2, 0.3, 0.5]])
    truth = jnp.array([0, 1, -1])
    found = pseudo_label_metrics(probs, jnp.ones(3), truth, probs.max(-1) > 0.8)
    shares = found["pseudo_label/histogram"]
    assert shares.total.tolist() == [2.0, 0.0, 1.0] and float(shares.count) == 3
    assert float(found["mask_rate"].total) == 1
    every = pseudo_label_metrics(probs, jnp.ones(3), truth)
    assert set(found) - set(every) == {"mask_rate", "pseudo_label/accuracy_kept"}
    assert all(str(every[name]) == str(found[name]) for name in every)


def test_vectors_add_up_and_are_divided_class_by_class():
    first, second = Mean(np.float32([3, 1]), np.float32(4)), Mean(np.float32([0, 1]), np.float32(1))
    sums = phases.add(phases.add({}, {"h": first}), {"h": second})
    assert sums == {"h": [[3.0, 2.0], 5.0]} and phases.means(sums) == {"h": [0.6, 0.4]}
    assert json.loads(json.dumps(sums)) == sums
    assert phases.means({"h": [[0.0, 0.0], 0.0]}) == {"h": None}


def test_sums_are_kept_in_double_precision():
    """Numbers and vectors: 2^24 + 1 is the first whole number that float32 does not have."""
    for shape in ((), (1,)):
        big, one = (Mean(np.full(shape, v, np.float32), np.float32(v)) for v in (2**24, 1))
        exact = 2.0**24 + 1
        wanted = {"h": [[exact] if shape else exact, exact]}
        assert phases.add(phases.add({}, {"h": big}), {"h": one}) == wanted


def test_the_shares_of_a_step_are_those_of_the_whole_batch():
    world = World("fixmatch", devices=2, **AT_WORK["fixmatch"])
    _, metrics = world.run(world.start(), 1)
    shares = metrics["pseudo_label/histogram"]
    assert shares.total.shape == (10,) and float(shares.count) == 24
    assert float(shares.total.sum()) == 24 and (np.asarray(shares.total) % 1 == 0).all()


def test_the_distance_to_the_average_is_that_of_the_state_returned():
    world = World("supervised")
    state, metrics = world.run(world.start(), 3)
    gaps = [a - b for a, b in zip(leaves(state.ema["params"]), leaves(state.params), strict=True)]
    norm = np.sqrt(sum((gap.astype(np.float64) ** 2).sum() for gap in gaps))
    assert norm > 0 and float(metrics["ema_distance"].count) == 1
    assert float(metrics["ema_distance"].total) == pytest.approx(norm, rel=1e-5)
