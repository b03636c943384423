"""The pieces of the training line against closed forms: rates, decay, averages, phases, metrics."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lowlabel_jax import optimizers, schedules
from lowlabel_jax.core import named, parallel
from lowlabel_jax.objectives.base import mean
from lowlabel_jax.state import Average, create
from lowlabel_jax.training import again, phases
from lowlabel_jax.training.phases import Progress
from tests.tiny import World, leaves


def rates(name, steps, **options):
    schedule = named.build("rate", {"name": name, **options}, total_steps=steps)
    return [float(schedule(step)) for step in range(steps + 1)]


def test_fixmatch_rate_ends_at_a_fifth():
    found = rates("cosine_7_16", 100, peak=0.03)
    by_hand = [0.03 * np.cos(7 * np.pi * k / (16 * 100)) for k in range(101)]
    np.testing.assert_allclose(found, by_hand, rtol=1e-5)
    assert found[-1] / found[0] == pytest.approx(0.195, abs=1e-3)


def test_the_other_rates_against_optax():
    for found, expected in (
        (rates("cosine", 50, peak=0.2, end=0.05), optax.cosine_decay_schedule(0.2, 50, 0.25)),
        (
            rates("polynomial", 50, peak=1e-3, end=1e-7, power=2.0),
            optax.polynomial_schedule(1e-3, 1e-7, 2.0, 50),
        ),
        (rates("constant", 50, peak=0.3), optax.constant_schedule(0.3)),
    ):
        np.testing.assert_allclose(found, [float(expected(k)) for k in range(51)], rtol=1e-5)


def test_warm_up_climbs_in_a_line_and_never_wastes_a_step():
    found = rates("cosine", 20, peak=0.1, warmup=5)
    np.testing.assert_allclose(found[:6], [0.02, 0.04, 0.06, 0.08, 0.1, 0.1], rtol=1e-5)
    assert found[-1] == pytest.approx(0, abs=1e-8)


PARAMS = {
    "conv": {"kernel": jnp.array([2.0, -1.0]), "bias": jnp.array([4.0])},
    "bn": {"scale": jnp.array([3.0])},
}
GRADS = jax.tree.map(lambda x: 0.1 * jnp.ones_like(x), PARAMS)


def stepped(tx, steps=2):
    params, memory = PARAMS, tx.init(PARAMS)
    for _ in range(steps):
        updates, memory = tx.update(GRADS, memory, params)
        params = optax.apply_updates(params, updates)
    return params


def test_sgd_is_nesterov_with_l2_on_kernels_by_hand():
    found = stepped(optimizers.sgd(rate=lambda _: 0.5, weight_decay=0.01))
    for name, start, decay in (
        ("kernel", np.array([2.0, -1.0]), 0.01),
        ("bias", np.array([4.0]), 0),
    ):
        p, v = start, 0.0
        for _ in range(2):
            g = 0.1 + decay * p
            v = 0.9 * v + g
            p = p - 0.5 * (g + 0.9 * v)
        np.testing.assert_allclose(found["conv"][name], p, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("adam", optax.adam(0.5)),
        ("rmsprop", optax.rmsprop(0.5, 0.9, 1e-7)),
        ("adamw", optax.adamw(0.5, weight_decay=0.01, mask=optimizers.decays)),
    ],
)
def test_the_other_optimisers_against_optax(name, reference):
    decay = {"weight_decay": 0.01} if name == "adamw" else {}
    tx = named.build("optimizer", {"name": name, **decay}, rate=optax.constant_schedule(0.5))
    for a, b in zip(leaves(stepped(tx)), leaves(stepped(reference)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(named.parts("optimizer")))
def test_weight_decay_and_clipping_act_where_they_should(name):
    def make(**options):
        spec = {"name": name, "weight_decay": 0.0, **options}
        return stepped(named.build("optimizer", spec, rate=optax.constant_schedule(0.1)), 1)

    plain, decayed = make(), make(weight_decay=0.5)
    assert (plain["conv"]["kernel"] != decayed["conv"]["kernel"]).any()
    np.testing.assert_array_equal(plain["bn"]["scale"], decayed["bn"]["scale"])
    np.testing.assert_array_equal(plain["conv"]["bias"], decayed["conv"]["bias"])


def test_clipping_bounds_the_norm_of_the_gradient():
    found = stepped(
        optimizers.sgd(rate=lambda _: 1.0, momentum=0.0, weight_decay=0.0, clip_norm=0.05), 1
    )
    moved = np.concatenate([a - b for a, b in zip(leaves(PARAMS), leaves(found), strict=True)])
    assert np.linalg.norm(moved) == pytest.approx(0.05, rel=1e-5)


def test_a_leaf_without_a_rule_is_named():
    with pytest.raises(ValueError, match="no rule covers 'conv/gate'"):
        optimizers.decays({"conv": {"gate": jnp.ones(1)}})


def test_the_average_in_closed_form():
    """0.9^t·w0 + 0.1·Σ 0.9^(t-1-i)·w(i+1): after the optimiser step, from the initial weights."""
    ema, weights = Average(decay=0.9, warmup=False, batch_stats=False), [1.0, 2.0, 4.0, 8.0]
    average = {"params": {"w": jnp.float32(weights[0])}, "batch_stats": jnp.float32(0)}
    for step, w in enumerate(weights[1:]):
        average = ema.update(average, {"w": jnp.float32(w)}, jnp.float32(step), jnp.int32(step))
    expected = 0.9**3 * 1 + 0.1 * (0.9**2 * 2 + 0.9 * 4 + 8)
    assert float(average["params"]["w"]) == pytest.approx(expected, rel=1e-6)
    assert float(average["batch_stats"]) == 2  # FixMatch: the running statistics as they are


def test_statistics_are_averaged_when_asked():
    ema = Average(decay=0.5, warmup=False, batch_stats=True)
    old = {"params": {}, "batch_stats": jnp.float32(2)}
    found = ema.update(old, {}, jnp.float32(4), jnp.int32(0))
    assert float(found["batch_stats"]) == 3


def test_a_warm_average_forgets_its_first_weights():
    ema = Average(decay=0.999, warmup=True, batch_stats=False)
    found = [float(ema.decay_at(jnp.int32(t))) for t in (0, 10, 100_000)]
    assert found == pytest.approx([0.1, 11 / 20, 0.999])


def test_the_average_in_a_state_follows_the_updated_weights():
    w = World("supervised", "--config.ema.decay=0.5", "--config.ema.warmup=False")
    start = w.start()
    before = leaves(start.params)
    state, _ = w.run(start, 1)
    for old, new, average in zip(
        before, leaves(state.params), leaves(state.ema["params"]), strict=True
    ):
        np.testing.assert_allclose(average, 0.5 * old + 0.5 * new, rtol=1e-6)


def test_a_new_state_shares_no_buffer():
    variables = {"params": {"head": {"kernel": np.ones((2, 2), np.float32)}}, "batch_stats": {}}
    state = create(variables, lambda: None, optax.sgd(0.1), (), 0)
    pointers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves((state.params, state.ema))]
    assert len(set(pointers)) == len(pointers)


@pytest.mark.parametrize("objective", ["supervised", "fixmatch"])
def test_a_phase_and_its_programs_serve_every_draw(objective):
    """What decides about a program decides which phase is used again; a seed does not."""
    draws = [World(objective, f"--config.seed={seed}") for seed in (0, 1)]
    texts = []
    for world in draws:
        given = world.start(), parallel.shard(world.feed.batch(0), 1), world.resident
        texts.append(world.phase.step._over_devices(1).lower(*given).as_text())
    assert texts[0] == texts[1]
    one, other = (again.phase(world.config, 0) for world in draws)
    assert one is other
    changed = World(objective, "--config.ema.decay=0.5").config
    assert again.phase(changed, 0) is not one


def test_entering_a_phase_keeps_the_weights_and_renews_the_rest():
    w = World("fixmatch", align=True)
    state, _ = w.run(w.start(), 3)
    entered = state.enter_phase(optax.sgd(0.1), jnp.zeros(2))
    assert int(entered.began) == int(entered.step) == 3 and int(entered.phase_step) == 0
    for a, b in zip(leaves(state.params), leaves(entered.params), strict=True):
        np.testing.assert_array_equal(a, b)


# --- progress -----------------------------------------------------------------------------------


def test_patience_counts_looks_without_gain():
    progress = Progress(step=4)
    for step, loss in ((4, 1.0), (8, 0.5), (12, 0.5), (16, 0.7)):
        progress = phases.advance(phases.replace(progress, step=step), loss)
    assert (progress.best, progress.best_step, progress.stale) == (0.5, 8, 2)
    for patience, steps, said in ((2, 99, "patience"), (3, 99, ""), (0, 99, ""), (0, 16, "steps")):
        spec = {"patience": patience, "plateau": 0, "steps": steps}
        assert phases.ending(progress, spec) == said


def test_the_next_phase_starts_with_a_clean_slate():
    progress = Progress(step=16, phase=0, best=0.5, best_step=8, stale=2, sums={"loss": [1, 2]})
    assert phases.next_phase(progress) == Progress(step=16, phase=1, began=16)


def test_progress_survives_json():
    import json

    progress = Progress(12, 1, 4, 0.1 + 0.2, 8, 2, {"loss": [1 / 3, 3.0]})
    assert Progress(**json.loads(json.dumps(progress.to_json()))) == progress


def test_means_are_sums_and_counts_until_they_are_printed():
    """A batch with one kept image must not weigh as much as one with three."""
    few = mean(jnp.array([1.0, 9.0, 9.0, 9.0]), jnp.array([True, False, False, False]))
    many = mean(jnp.array([0.0, 0.0, 0.0, 9.0]), jnp.array([True, True, True, False]))
    none = mean(jnp.ones(2), jnp.zeros(2, bool))
    sums = phases.add(phases.add({}, {"a": few, "b": none}), {"a": many, "b": none})
    assert phases.means(sums) == {"a": 0.25, "b": None}


def test_a_log_line_is_the_mean_over_its_steps():
    w = World("supervised")
    sums, each = {}, []
    state = w.start()
    for _ in range(3):
        state, metrics = w.run(state, 1)
        each.append(float(metrics["loss"].total) / float(metrics["loss"].count))
        sums = phases.add(sums, jax.device_get(metrics))
    assert phases.means(sums)["loss"] == pytest.approx(np.mean(each), rel=1e-6)


def test_the_logged_rate_is_the_schedule_of_the_phase():
    w = World(
        "supervised",
        "--config.optimizer.rate.name=polynomial",
        "--config.optimizer.rate.peak=0.1",
        "--config.optimizer.rate.end=0",
    )
    _, metrics = w.run(w.start(), 4)
    assert float(metrics["rate"].total) == pytest.approx(0.1 * (1 - 3 / 12), rel=1e-5)
    assert schedules.polynomial(total_steps=12, peak=0.1, end=0.0)(3) == pytest.approx(0.075)
