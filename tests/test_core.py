"""Floor 0: errors as two lines, whole files, locks, rules over leaves, devices."""

import multiprocessing
import os
import signal
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowlabel_jax.core import errors, files, log, parallel, ranges, signals, tree


def test_a_mistake_is_two_lines_and_its_code(capsys):
    def fails():
        raise errors.UserError("it is wrong.", "type that.")

    assert errors.guarded(fails) == 2
    assert capsys.readouterr().err == "error: it is wrong.\nhint: type that.\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.Busy("x"), 3),
        (errors.Diverged("x"), 4),
        (errors.SaveFailed("x"), 1),
        (errors.Interrupted("x", 143), 143),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(error, code):
    def fails():
        raise error

    assert errors.guarded(fails) == code


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        errors.guarded(lambda: 1 // 0)


def test_nearest_also_knows_the_foot_of_a_dotted_name():
    assert errors.nearest("peak", ["optimizer.rate.peak", "seed"]).endswith(
        "'optimizer.rate.peak'?"
    )
    assert errors.nearest("xyz", ["seed"]) == ""


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("Positive", [1e-9, 3], [0.0, -1, True, "1", float("nan")]),
        ("NonNegative", [0, 0.5], [-0.1]),
        ("Probability", [0, 1, 0.5], [1.01, -0.1]),
        ("Fraction", [0.0, 0.99], [1.0]),
        ("Count", [1, 7], [0, 1.0, True]),
        ("Natural", [0], [-1]),
        ("Length", [0, 5, {"epochs": 1.5}], [-1, {"epochs": -1}, {"a": 1, "b": 2}]),
        ("bool", [True, False], [1]),
        ("str", [""], [3]),
        ("float", [-1.5, 2], [float("inf")]),
    ],
)
def test_ranges(rule, good, bad):
    assert [ranges.breaks(rule, v) for v in good] == [""] * len(good)
    assert all(ranges.breaks(rule, v) for v in bad)


def test_writing_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})

    def fail(*_):
        raise OSError("pulled out")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError):
        files.write_json(path, {"a": 2})
    assert files.read_json(path) == {"a": 1}
    with pytest.raises(ValueError):
        files.write_json(path, {"a": float("nan")})


def test_a_broken_json_file_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(errors.UserError, match=r"a\.json is not valid JSON"):
        files.read_json(tmp_path / "a.json")


def hold(directory, ready, seconds):
    with files.locked(directory):
        ready.set()
        time.sleep(seconds)


def test_a_directory_is_held_by_one_process_and_freed_by_its_death(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=hold, args=(tmp_path, ready, 60))
    holder.start()
    assert ready.wait(60)
    with (
        pytest.raises(errors.Busy, match=f"in use by pid {holder.pid} on .* since"),
        files.locked(tmp_path),
    ):
        pass
    holder.kill()
    holder.join()
    with files.locked(tmp_path):
        pass


def test_a_signal_is_a_flag_and_what_was_before_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    with signals.stop_request() as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop and stop.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_rules_cover_every_leaf_or_name_the_one_they_forget():
    params = {"conv": {"kernel": 1, "bias": 2}, "bn": {"scale": 3}}
    rules = ((r".*/kernel", True), (r".*/(bias|scale)", False))
    found = tree.by_rule(params, rules)
    assert found == {"conv": {"kernel": True, "bias": False}, "bn": {"scale": False}}
    with pytest.raises(ValueError, match="no rule covers 'bn/scale'"):
        tree.by_rule(params, rules[:1] + ((r".*/bias", False),))


def test_finiteness_looks_at_floats_alone():
    fine = {"a": jnp.ones(3), "n": jnp.arange(3)}
    assert tree.all_finite(fine) and tree.all_finite({"n": jnp.arange(3)})
    assert not tree.all_finite({**fine, "b": jnp.array([1.0, jnp.nan])})


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_examples_have_one_key_on_any_number_of_devices(devices):
    def fn(key, batch):
        n = len(batch["x"])
        keys = parallel.example_keys(key, parallel.positions(n))
        drawn = parallel.gather(jax.vmap(jax.random.uniform)(keys))
        return drawn, parallel.pmean(batch["x"].mean()), jnp.int32(parallel.global_size(n))

    batch = parallel.shard({"x": np.arange(16.0)}, devices)
    drawn, mean, size = parallel.mapped(fn, devices)(jax.random.key(0), batch)
    alone = jax.vmap(jax.random.uniform)(parallel.example_keys(jax.random.key(0), jnp.arange(16)))
    np.testing.assert_array_equal(drawn, alone)
    assert float(mean) == 7.5 and int(size) == 16


def test_a_batch_that_cannot_be_split_names_the_sizes_that_can():
    with pytest.raises(errors.UserError, match=r"(?s)of 50 cannot be split over 4.*use 48 or 52"):
        parallel.shard({"x": np.zeros(50)}, 4)
    with pytest.raises(errors.UserError, match="use 4"):
        parallel.shard({"x": np.zeros(3)}, 4)
    with pytest.raises(errors.UserError, match="shows 8"):
        parallel.device_count(99)


def test_commands_to_type_work_in_this_shell(monkeypatch, tmp_path):
    for name in ("python", "lowlabel"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin")
    assert log.typed("lowlabel runs x") == "bin/lowlabel runs x"
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    assert log.typed("lowlabel runs x") == "lowlabel runs x"
    monkeypatch.chdir("/")
    monkeypatch.setenv("PATH", "/usr/bin")
    assert log.typed("python a.py") == f"{str(tmp_path / 'bin' / 'python').lstrip('/')} a.py"
