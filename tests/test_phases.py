"""Phases that end by themselves, keep their best weights, or move BatchNorm's statistics alone."""

import io
import json
import os
import random
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from lowlabel_jax.configuration.check import check
from lowlabel_jax.core import parallel, signals, tree
from lowlabel_jax.core.errors import Interrupted, UserError
from lowlabel_jax.data import feed
from lowlabel_jax.evaluation import evaluate as evaluation
from lowlabel_jax.runs import evaluate
from lowlabel_jax.runs import train as train_module
from lowlabel_jax.runs.train import train
from lowlabel_jax.training import checkpoint, ending, phases, statistics, watch
from tests.test_contract import by_cost
from tests.test_interruption import Killed, _killed_at, assert_same_ending, launch
from tests.tiny import AT_WORK, CLASSIFYING, World, assert_same, config, leaves

STATISTICS = "--config.moves=statistics"
LABELS = ("--config.split.labelled.per_class=3", "--config.split.validation.per_class=3")


# --- statistics alone ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", by_cost(CLASSIFYING, {*CLASSIFYING} - {"supervised", "pseudo_label"})
)
def test_statistics_move_as_they_will_when_weights_do_and_nothing_else_moves(name):
    """Bit by bit, of every leaf; the statistics are those of a step of training from there."""
    options = AT_WORK.get(name, {})
    still, trains = World(name, STATISTICS, **options), World(name, **options)
    before = tree.named_leaves(still.start())
    state, metrics = still.run(still.start(), 1)
    after = tree.named_leaves(state)
    same = {
        key for key in before if all(map(np.array_equal, *map(leaves, (before[key], after[key]))))
    }
    statistics_of = {key for key in before if "batch_stats/" in key}
    assert set(before) - same == statistics_of | {"step"}
    assert len(statistics_of) == 8 and int(state.step) == 1  # two layers, with their average's
    moved, _ = trains.run(trains.start(), 1)
    assert_same(state.batch_stats, moved.batch_stats, atol=1e-6)
    assert_same(state.ema["batch_stats"], state.batch_stats)
    assert float(metrics[statistics.DRIFT].total) > 0.1 and float(metrics["rate"].total) == 0
    assert {"loss", "loss/labelled", "accuracy/labelled", "gradient_norm"} <= set(metrics)


def test_the_average_of_the_statistics_follows_them_by_its_own_rule():
    ema = ("--config.ema.batch_stats=True", "--config.ema.decay=0.5", "--config.ema.warmup=False")
    w = World("supervised", STATISTICS, *ema)
    state, _ = w.run(w.start(), 1)
    old, new = w.start().batch_stats["norm_0"]["var"], state.batch_stats["norm_0"]["var"]
    np.testing.assert_allclose(
        state.ema["batch_stats"]["norm_0"]["var"], 0.5 * old + 0.5 * new, rtol=1e-6
    )


def test_two_devices_move_the_statistics_as_one_and_agree():
    alone, w = (World("supervised", STATISTICS, devices=devices) for devices in (1, 2))
    expected, metrics = alone.run(alone.start(), 1)
    every = parallel.Mapped(w.phase.step.fn, 2, sharded_out=True, options=w.phase.step.options)
    found = every(w.start(), parallel.shard(w.feed.batch(0), 2), w.resident)
    for leaf in leaves(found):
        np.testing.assert_array_equal(leaf[0], leaf[1])
    for wanted, leaf in zip(leaves((expected, metrics)), leaves(found), strict=True):
        np.testing.assert_allclose(leaf[0], wanted, rtol=1e-5, atol=1e-6)


def test_drift_is_the_distance_from_the_batch_whatever_the_momentum():
    """In numpy, from the definition: two layers of other momenta, one of which does not count."""
    rng = np.random.default_rng(0)
    old, new, ways = {}, {}, []
    for name, momentum, epsilon in (("a", 0.9, 1e-3), ("b", 0.99, 1e-5), ("frozen", 0.5, 1e-5)):
        mean, batch_mean = rng.normal(size=(2, 4))
        var, batch_var = rng.uniform(0.5, 2.0, size=(2, 4))
        old[name] = {"mean": mean, "var": var}
        new[name] = {"mean": momentum * mean + (1 - momentum) * batch_mean,
                     "var": momentum * var + (1 - momentum) * batch_var}  # fmt: skip
        if name != "frozen":
            ways += [*(batch_mean - mean) / np.sqrt(var + epsilon)]
            ways += [*np.log((batch_var + epsilon) / (var + epsilon))]
    norms = {"a": statistics.Norm(0.9, 1e-3), "b": statistics.Norm(0.99, 1e-5)}
    as_arrays = (jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), t) for t in (old, new))
    found = statistics.drift(*as_arrays, norms)
    assert float(found) == pytest.approx(np.sqrt(np.mean(np.square(ways))), rel=1e-3)


def test_a_channel_that_is_dead_has_no_infinite_drift():
    dead = {"a": {"mean": jnp.zeros(2), "var": jnp.zeros(2)}}
    assert float(statistics.drift(dead, dead, {"a": statistics.Norm(0.9, 1e-5)})) == 0


def test_only_norms_that_can_move_are_counted():
    w = World(
        "supervised", STATISTICS, "--config.train_from=conv_1", "--config.model.momentum=0.99"
    )
    shape = w.config["info"]["image_shape"]
    found = statistics.moving(w.phase.model, tuple(shape), w.phase.spec)
    assert found == {"norm_1": statistics.Norm(0.99, found["norm_1"].epsilon)}


@pytest.mark.parametrize(
    "how",
    ["model.batch_norm=False", "model.momentum=1", "train_from=head", "batch_norm=running",
     "features=cached", "features=probe"],
)  # fmt: skip
def test_a_phase_that_could_move_nothing_is_refused(how):
    with pytest.raises(UserError, match="phase 'train' moves BatchNorm's statistics alone, and"):
        World("supervised", STATISTICS, f"--config.{how}")


def test_statistics_are_judged_once_at_the_end_of_their_phase(tmp_path, capsys):
    def judged(steps, momentum):
        made = config("supervised", f"--config.model.momentum={momentum}")
        made.optimizer.rate.warmup = 12  # longer than the phase, in which the optimiser rests
        with made.unlocked():
            made.phases = {"settle": {"moves": "statistics", "length": {"steps": steps}}}
            made.order = ("settle",)
        train(made, tmp_path / f"{steps}")
        return capsys.readouterr()

    settled, moving = judged(11, 0.2), judged(3, 0.99)
    assert settled.out.count("phase 'settle': statistics are stable (drift 0.") == 1
    assert "drift" not in settled.err and "stable" not in moving.out
    assert moving.err.count("BatchNorm's statistics still drift at its end (0.") == 1
    assert "longer length, or lower model.momentum" in moving.err


# --- the best weights ----------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def losses():
    """Looks at the validation set find the loss lowest at BEST, whatever the weights."""
    with pytest.MonkeyPatch.context() as patch:
        real = train_module.validator

        def scripted(plan):
            look = real(plan)

            def numbers(phase, state):
                return look(phase, state) | {"validation/loss": loss_at(int(state.step))}

            return numbers

        patch.setattr(train_module, "validator", scripted)
        yield


BEST, KEEP = 8, "--config.checkpoint.keep=3"


def loss_at(step):
    """No two alike."""
    return abs(step - BEST) / 10 + step / 100


def overfitting(keep, *overrides):
    """A run whose best look lies between its checkpoints."""
    return config(
        "supervised",
        *LABELS,
        "--config.evaluate_every=2",
        "--config.checkpoint.every=5",
        f"--config.keep={keep}",
        *overrides,
    )


def rows_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def last_and_best(tmp_path_factory, losses):
    """The same run twice: as its last step leaves it, and with its best look's weights."""
    runs = []
    for keep in ("last", "best"):
        runs.append(tmp_path_factory.mktemp(keep) / "run")
        train(overfitting(keep), runs[-1])
    return runs


def test_the_best_looks_weights_end_the_phase_and_all_else_goes_on(last_and_best):
    last, best = last_and_best
    assert rows_of(last) == rows_of(best)
    (_, ended), (_, kept) = (evaluate.load(run) for run in (last, best))
    then = checkpoint.read(best, BEST, kept)
    for part in ("params", "batch_stats", "ema"):
        found, before, other = (leaves(getattr(state, part)) for state in (kept, then, ended))
        assert_same(found, before)
        assert any((a != b).any() for a, b in zip(found, other, strict=True))
    for part in ("step", "opt_state", "aux", "key"):
        assert_same(getattr(kept, part), getattr(ended, part))


def test_the_best_look_is_saved_when_it_happens_and_only_when_it_may_be_wanted(last_and_best):
    kept = [checkpoint.steps(run) for run in last_and_best]
    assert kept == [[10, 12], [BEST, 10, 12]]


def test_a_best_checkpoint_that_breaks_costs_steps_not_truth(last_and_best, tmp_path, monkeypatch):
    cut = tmp_path / "run"
    monkeypatch.setattr(feed, "indices", _killed_at(11))
    with pytest.raises(Killed):
        train(overfitting("best", KEEP), cut)
    monkeypatch.undo()
    found = [p for p in (cut / "checkpoints" / str(BEST)).rglob("*") if p.is_file()]
    largest = max(found, key=lambda p: p.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[random.Random(1).randrange(len(data))] ^= 4
    largest.write_bytes(data)
    said = f"checkpoint {BEST}, the best of phase 'train', is not whole: sha256 .*\n.* from step 6"
    with pytest.raises(UserError, match=said):
        train(overfitting("best", KEEP), cut)
    assert checkpoint.steps(cut) == [6]  # the best look before
    train(overfitting("best", KEEP), cut)
    assert_same_ending(cut, last_and_best[1])


def test_a_phase_without_a_look_keeps_its_last_weights_and_says_so(tmp_path, capsys):
    spec, state = {"name": "a", "keep": "best", "moves": "weights", "steps": 9}, object()
    assert ending.end(tmp_path, spec, phases.Progress(9), state, {}, "steps") is state
    assert "phase 'a' had no evaluation to choose by" in capsys.readouterr().err


# --- three phases, killed anywhere ---------------------------------------------------------------


def ladder():
    """Statistics; supervised until the loss is level, its best weights; a method with a memory."""
    made = config(
        "fixmatch",
        *LABELS,
        "--config.evaluate_every=1",
        "--config.log_every=4",
        align=True,
    )
    with made.unlocked():
        made.phases = {
            "settle": {"objective": {"name": "supervised"}, "moves": "statistics"},
            "first": {"objective": {"name": "supervised"}, "plateau": 5, "keep": "best"},
            "second": {},
        }
        made.phases.settle.length, made.phases.first.length = {"steps": 3}, {"steps": 60}
        made.order, made.length = ("settle", "first", "second"), {"steps": 3}
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of the ladder that nobody has interrupted."""
    run = tmp_path_factory.mktemp("ladder") / "run"
    train(ladder(), run)
    return run


def parts_of(run):
    """phase -> the steps of its rows."""
    found = {}
    for row in rows_of(run):
        found.setdefault(row["phase"], []).append(row["step"])
    return found


def test_a_phase_ends_when_its_loss_has_stabilised(whole):
    """By hand: of looks 6 to 10 six pairs rise and four fall; of those before, two and eight."""
    rows = parts_of(whole)  # of looks at every step, of lines at every fourth and the phases' ends
    assert rows["first"] == [4, 4, 5, 6, 7, 8, 8, 9, 10, 10] and rows["second"] == [
        11,
        12,
        12,
        13,
        13,
    ]
    assert "loss" in [r for r in rows_of(whole) if r["phase"] == "first"][-1]  # its last line


def cut_at(step, run, monkeypatch):
    """Kill the ladder when the batch of a step, from 0, is asked for."""
    with monkeypatch.context() as patch:
        patch.setattr(feed, "indices", _killed_at(step))
        with pytest.raises(Killed):
            train(ladder(), run)


def cut_when_saving(step, run, monkeypatch):
    """Kill it before the checkpoint of a step."""
    save = checkpoint.save

    def deadly(directory, state, progress, keep):
        if progress.step == step:
            raise Killed
        save(directory, state, progress, keep)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", deadly)
        with pytest.raises(Killed):
            train(ladder(), run)


def test_killed_in_every_kind_of_phase_and_at_the_switch(whole, tmp_path, monkeypatch):
    """One run: in its statistics, after its best look, between going back and saving, at the switch
    to the next phase."""
    run = tmp_path / "cut"
    cut_at(2, run, monkeypatch)
    cut_at(9, run, monkeypatch)
    cut_when_saving(10, run, monkeypatch)
    cut_at(10, run, monkeypatch)
    train(ladder(), run)
    assert_same_ending(run, whole)


@pytest.mark.slow
@pytest.mark.parametrize("step", range(1, 13))
def test_killed_at_any_step_of_the_ladder(step, whole, tmp_path, monkeypatch):
    cut_at(step, tmp_path / "cut", monkeypatch)
    train(ladder(), tmp_path / "cut")
    assert_same_ending(tmp_path / "cut", whole)


def test_the_losses_of_a_phase_are_in_its_checkpoints_and_not_in_the_next_ones(whole):
    progress = checkpoint.newest(whole)
    assert progress.phase == 2 and len(progress.losses) == 3
    assert phases.next_phase(progress).losses == []


def test_what_ends_a_phase_first_ends_it():
    level = [0.5, 0.3, 0.4, 0.35, 0.45]
    spec = {"steps": 10, "patience": 3, "plateau": 5}
    for progress, said in (
        (phases.Progress(step=10, losses=level), "steps"),
        (phases.Progress(step=9, losses=level, stale=3), "patience"),
        (phases.Progress(step=9, losses=level, stale=2), "plateau"),
        (phases.Progress(step=9, losses=level[:4], stale=2), ""),
    ):
        assert phases.ending(progress, spec) == said
    assert phases.ending(phases.Progress(step=9, losses=level), {**spec, "plateau": 0}) == ""


# --- settings ------------------------------------------------------------------------------------


def complaints(*overrides, **of_a_phase):
    made = config("supervised", *overrides)
    with made.unlocked():
        made.phases, made.order = ({"late": of_a_phase}, ("late",)) if of_a_phase else ({}, ())
    with pytest.raises(UserError) as found:
        check(made)
    return found.value.message


@pytest.mark.parametrize("setting", ["plateau=5", "keep=best"])
def test_what_goes_by_evaluations_needs_images_and_looks(setting):
    name, _, value = setting.partition("=")
    name = name if name == "plateau" else "keep='best'"
    value = int(value) if value.isdigit() else value
    for said in (
        complaints(f"--config.{setting}"),
        complaints(**{setting.partition("=")[0]: value}),
    ):
        assert f"{name} needs validation images: set split.validation.per_class" in said
        assert f"{name} goes by evaluations: set evaluate_every" in said
    check(config("supervised", f"--config.{setting}", "--config.evaluate_every=2", *LABELS))


def test_settings_of_phases_have_ranges():
    able = ("--config.evaluate_every=2", *LABELS)
    assert "plateau = 4 is too few to tell a trend: 5 or more" in complaints(
        "--config.plateau=4", *able
    )
    assert "plateau = 3 is too few" in complaints(*able, plateau=3)
    assert "phases.late.moves = 'weight' must be one of weights, statistics" in complaints(
        moves="weight"
    )
    assert "keep = 'first' must be one of last, best" in complaints("--config.keep=first", *able)
    options = ("--config.keep=best", "--config.median_of=2", "--config.checkpoint.keep=2")
    assert "median_of = 2 wants the last checkpoints" in complaints(*options, *able)


# --- time that is spent --------------------------------------------------------------------------


def test_a_request_to_stop_comes_with_the_clock():
    now = [100.0]
    stop = signals.StopRequest(30, clock=lambda: now[0])
    never = signals.StopRequest(clock=lambda: now[0])
    now[0] = 129.9
    assert not stop
    now[0] = 130.0
    assert stop and (stop.code, stop.name) == (0, "30 seconds") and not never
    stop.handle(signal.SIGTERM, None)
    assert (stop.code, stop.name) == (143, "SIGTERM")  # who asks says how it ends


def test_a_schedulers_second_warning_is_no_haste(monkeypatch):
    ends = []
    monkeypatch.setattr(os, "_exit", ends.append)
    stop = signals.StopRequest()
    for number in (signal.SIGUSR1, signal.SIGUSR1):
        stop.handle(number, None)
    assert stop and (stop.code, stop.name) == (0, "SIGUSR1") and not ends
    stop.handle(signal.SIGTERM, None)
    assert ends == [143]


def test_a_run_whose_time_is_spent_is_saved_and_goes_on(last_and_best, tmp_path):
    said = "saved step 1 after 0.001 seconds. To go on: "
    with pytest.raises(Interrupted, match=said) as stopped:
        train(overfitting("last"), tmp_path, max_seconds=0.001)
    assert stopped.value.code == 0 and checkpoint.steps(tmp_path) == [1]
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "interrupted"
    train(overfitting("last"), tmp_path, max_seconds=3600)
    assert_same_ending(tmp_path, last_and_best[0])


def test_a_schedulers_warning_saves_and_ends_with_0(tmp_path):
    run = tmp_path / "run"
    done = launch(run, "supervised", kill=(6, "SIGUSR1"))
    assert done.returncode == 0 and checkpoint.steps(run) == [4, 7]
    assert "saved step 7 after SIGUSR1. To go on: " in done.stderr
    assert json.loads((run / "status.json").read_text())["state"] == "interrupted"


@pytest.mark.slow
def test_launch_takes_max_seconds(tmp_path):
    done = launch(tmp_path / "run", "supervised", "--max_seconds=0.01")
    assert done.returncode == 0 and "saved step 1 after 0.01 seconds" in done.stderr
    for wrong in (("--max_seconds=-1",), ("--max_seconds=5", "--sweep")):
        done = launch(tmp_path / "no", "supervised", *wrong)
        assert done.returncode == 2 and "must be 0 or more, and is of one run" in done.stderr


def test_a_signal_during_a_look_says_saved_of_nothing_that_is_not(tmp_path, monkeypatch):
    """It comes after the step has decided what is due: the next one heeds it."""
    both, sent = evaluation.both, []

    def looking(*given):
        if not sent:
            sent.append(os.kill(os.getpid(), signal.SIGTERM))
        return both(*given)

    monkeypatch.setattr(evaluation, "both", looking)
    options = ("--config.evaluate_every=2", "--config.checkpoint.every=100")
    with pytest.raises(Interrupted, match="saved step 3 after SIGTERM"):
        train(config("supervised", *LABELS, *options), tmp_path)
    assert checkpoint.steps(tmp_path) == [3]


# --- what is shown -------------------------------------------------------------------------------

TWO = ({"name": "settle", "steps": 10}, {"name": "supervised", "steps": 200})


def clock(monkeypatch, *times):
    left = list(times)
    monkeypatch.setattr(watch.time, "monotonic", lambda: left.pop(0) if len(left) > 1 else left[0])


def test_a_piped_line_names_its_part_where_there_are_several(monkeypatch, capsys):
    clock(monkeypatch, 0.0, 10.0)
    line = watch.Watch(TWO, None)
    line.begin(1, 0)
    line.step(1)
    line.step(21)
    line.show({"loss": 1.5, "statistics/drift": 0.25})
    said = "supervised step 21/200  2.0 steps/s  1 min 30 s left  loss 1.500  drift 0.250\n"
    assert capsys.readouterr().out == said and line.total == 210


def test_a_piped_line_of_one_part_is_as_it_was(monkeypatch, capsys):
    clock(monkeypatch, 0.0, 10.0)
    line = watch.Watch(TWO[1:], None)
    line.begin(0, 100)  # resumed
    line.step(101)
    line.step(111)
    line.show({"loss": 1.5})
    assert capsys.readouterr().out == "step 111/200  1.0 steps/s  1 min 29 s left  loss 1.500\n"


def test_there_is_a_live_bar_for_each_part():
    out = io.StringIO()
    with Bars(*watch.columns(2), console=Console(file=out, force_terminal=True, width=120)) as bar:
        line = watch.Watch((*TWO, TWO[0]), bar)
        line.begin(1, 0)  # the first part was another process's
        line.step(1)
        line.step(50)
        line.show({"loss": 1.5})
        line.end()
        line.begin(2, 0)
        line.step(3)
    said = out.getvalue()
    done = {(task.description, task.completed, task.total) for task in bar.tasks}
    assert done == {("settle", 10, 10), ("supervised", 50, 50), ("settle", 3, 10)}
    assert "supervised" in said and "50/50" in said and "loss 1.500" in said and "steps/s" in said
