"""Several steps in one call of the device: the same run, bit by bit, however they are taken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowlabel_jax.configuration import resolve
from lowlabel_jax.core import files, parallel
from lowlabel_jax.core.errors import Diverged, UserError
from lowlabel_jax.objectives.base import Mean
from lowlabel_jax.runs.train import train
from lowlabel_jax.training import checkpoint, diverged, loop, step
from lowlabel_jax.training.phases import Progress, next_phase
from tests.tiny import AT_WORK, OBJECTIVES, World, assert_same, config, leaves, resolved

LINE = (
    "--config.optimizer.rate.name=constant",  # knows no end: a run may be made longer
    "--config.split.validation.per_class=2",
    "--config.evaluate_every=10",
    "--config.log_every=10",
    "--config.checkpoint.every=10",
)


def run(place, steps, per_call, *more, objective="supervised"):
    given = (f"--config.length.steps={steps}", f"--config.steps_per_call={per_call}")
    train(config(objective, *LINE, *given, *more, **AT_WORK.get(objective, {})), place)


def final(place, steps, objective="supervised"):
    like = World(objective, **AT_WORK.get(objective, {})).start()
    return checkpoint.read(place, steps, like)


def counted(monkeypatch):
    """The calls of the device that the loop makes, as (steps before, how many)."""
    made, real = [], loop._call

    def noted(*given):
        state, call = real(*given)
        made.append((call.first, call.count))
        return state, call

    monkeypatch.setattr(loop, "_call", noted)
    return made


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "one"
    run(place, 20, 1)
    return place


def test_a_run_is_the_same_however_many_steps_a_call_takes(one_by_one, tmp_path, monkeypatch):
    made = counted(monkeypatch)
    run(tmp_path / "five", 20, 5)
    assert made == [(0, 5), (5, 5), (10, 5), (15, 5)]
    for name in ("metrics.jsonl", "eval/test.json"):
        assert (tmp_path / "five" / name).read_bytes() == (one_by_one / name).read_bytes()
    assert_same(final(tmp_path / "five", 20), final(one_by_one, 20))


def test_a_run_goes_on_with_another_number_of_steps_a_call(one_by_one, tmp_path, monkeypatch):
    run(tmp_path, 7, 1)
    made = counted(monkeypatch)
    run(tmp_path, 20, 5)
    assert made == [(7, 1), (8, 1), (9, 1), (10, 5), (15, 5)]
    assert_same(final(tmp_path, 20), final(one_by_one, 20))


def test_what_comes_due_in_the_middle_of_a_call_is_said_with_the_nearest_numbers():
    asked = ("steps_per_call=5", "log_every=12", "checkpoint.every=3", "length.steps=10")
    with pytest.raises(UserError) as caught:
        resolved(config("supervised", *(f"--config.{key}" for key in asked)))
    said = str(caught.value)
    assert "log_every = 12 is no multiple of steps_per_call = 5: 10 or 15 would be." in said
    assert "checkpoint.every = 3 is no multiple of steps_per_call = 5: 5 would be." in said
    assert "length" not in said


def test_a_probe_is_solved_in_one_step_whatever_a_call_takes():
    made, _ = resolved(config("supervised", "--config.features=probe", "--config.log_every=10"))
    made["steps_per_call"] = 10
    assert not [line for line in resolve.off_beat(made) if "phase" in line]


def test_the_numbers_of_a_call_are_those_of_its_steps():
    batch = {"labelled": {"index": np.arange(12).reshape(2, 2, 3)}}  # 2 devices, 2 images, 3 steps
    metrics = {"loss": Mean(jnp.arange(1.0, 4.0), jnp.ones(3))}
    call = diverged.Call(first=9, count=3, metrics=metrics, batch=batch)
    assert [found["loss"][0] for found in call.each()] == [1, 2, 3]
    np.testing.assert_array_equal(call.indices(1)["labelled"], [1, 4, 7, 10])


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_method_takes_the_same_steps_in_one_call(objective, devices):
    made = World(objective, devices=devices, **AT_WORK.get(objective, {}))
    alone, metrics = made.run(made.start(), 3)
    found = [made.feed.batch(i) for i in range(3)]
    batches = jax.tree.map(lambda *x: np.stack(x, 1), *found)
    calls = parallel.mapped(step.several(made.phase.step.fn, 3), devices, **how(made))
    together, every = calls(made.start(), parallel.shard(batches, devices), made.resident)
    assert_same(together, alone, atol=0 if devices == 1 else 1e-6)
    for name, mean in (metrics or {}).items():
        np.testing.assert_allclose(leaves(every[name])[0][-1], leaves(mean)[0], rtol=1e-5)


def how(made):
    return {"options": made.phase.step.options, "donate": True}


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        ("--config.feed.mode=streamed",),
        ("--config.patience=1", "--config.keep=best"),
        ("--config.plateau=5", "--config.evaluate_every=5", "--config.checkpoint.keep=3"),
        ("--config.batch.balanced=True", "--config.devices=2"),
    ],
)
def test_feeds_endings_and_devices_go_by_steps_all_the_same(tmp_path, more):
    for count in (1, 5):
        run(tmp_path / str(count), 40, count, *more, objective="fixmatch")
    one, five = (checkpoint.newest(tmp_path / name) for name in ("1", "5"))
    assert one == five
    rows = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("1", "5")]
    assert rows[0] == rows[1]


# --- steps that are left out ----------------------------------------------------------------------


def test_a_step_that_is_not_finite_changes_nothing_but_the_count_of_steps():
    state = World("supervised").start()

    def jump(state, batch, resident):
        head = jax.tree.map(lambda x: x + batch, state.params["head"])
        new = state.replace(step=state.step + 1, params={**state.params, "head": head})
        metrics = {"loss": step.once(batch), "rate": step.once(jnp.float32(0.1))}
        return new, metrics

    careful = jax.jit(step.skipping(jump))
    kept, counted = careful(state, np.float32(np.nan), None)
    assert_same(kept.replace(step=state.step), state)
    assert kept.step == 1 and counted["loss"] == (0, 0) and counted["rate"][1] == 1
    assert counted[step.SKIPPED] == (1, 1)
    moved, counted = careful(kept, np.float32(2), None)
    assert moved.step == 2 and counted["loss"] == (2, 1) and counted[step.SKIPPED] == (0, 1)
    change = moved.params["head"]["bias"] - state.params["head"]["bias"]
    np.testing.assert_allclose(change, 2, rtol=0, atol=1e-6)


def test_more_bad_steps_than_may_be_left_out_stop_the_run_and_are_kept(tmp_path):
    wild = ("--config.optimizer.rate.peak=1e30", "--config.skip_bad_steps=2")
    with pytest.raises(Diverged) as caught:
        run(tmp_path, 20, 1, *wild)
    assert "after 2 skipped steps (skip_bad_steps) the update is not finite at step 3" in str(
        caught.value
    )
    assert files.read_json(tmp_path / "status.json")["state"] == "diverged"
    with np.load(tmp_path / "nan_capture.npz") as kept:
        assert kept["step"] == 2 and kept["checkpoint"] == -1 and kept["seed/order"] == 0
        np.testing.assert_array_equal(
            kept["index/labelled"], World("supervised").feed.batch(2)["labelled"]["index"]
        )


def test_how_many_were_left_out_is_remembered_over_phases_and_restarts():
    progress = Progress(step=9, skipped=3)
    assert next_phase(progress).skipped == 3 and Progress(**progress.to_json()) == progress
