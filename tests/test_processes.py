"""Several processes that train one run: the same steps as one, and what happens when one goes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lowlabel_jax.core import processes
from lowlabel_jax.core.errors import Lost, UserError
from lowlabel_jax.core.signals import StopRequest
from lowlabel_jax.data import feed
from lowlabel_jax.runs.plan import prepare
from tests.tiny_config import get_config as config

ROOT = Path(__file__).parent.parent
SMALL = (
    "--config=configs/digits_fixmatch.py",
    "--config.model.channels=(8,8)",
    "--config.model.pool=(True,True)",
    "--config.split.labelled.per_class=2",
    "--config.batch.labelled=20",
    "--config.length.steps=40",
    "--config.log_every=10",
    "--config.checkpoint.every=20",
)


def start(directory, devices, *more):
    """launch.py with so many forced devices, as a process; what it says goes beside its run."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    name = "".join(c for c in "".join(more) if c.isdigit()) or "one"
    with open(directory.with_name(f"{directory.name}.{name}.log"), "a") as out:
        return subprocess.Popen(
            [sys.executable, "launch.py", *SMALL, f"--workdir={directory}", *more],
            cwd=ROOT,
            env={**os.environ, "XLA_FLAGS": flags, "NPROC": "16"},
            stdout=out,
            stderr=out,
        )


def start_two(directory, *more):
    """Two processes of two devices each, the first one first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ("--processes=2", f"--coordinator=127.0.0.1:{port}", *more)
    return [start(directory, 2, *flags, f"--process_id={i}") for i in range(2)]


def said(directory):
    """Everything that the processes of a run have said."""
    logs = sorted(directory.parent.glob(f"{directory.name}.*.log"))
    return "\n".join(log.read_text() for log in logs)


def rows(directory):
    """The rows of metrics.jsonl."""
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def until(directory, step, running):
    """Wait until a checkpoint of that step is whole."""
    for _ in range(2400):
        if (directory / "manifests" / f"{step}.json").exists():
            return
        assert all(p.poll() is None for p in running), said(directory)
        time.sleep(0.05)
    raise AssertionError(said(directory))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run by one process with four devices."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    assert start(directory, 4).wait(300) == 0, said(directory)
    return directory


def same(directory, whole):
    """Whether two runs took the same steps, up to the order in which devices are summed."""
    assert [r["step"] for r in rows(directory)] == [r["step"] for r in rows(whole)]
    for found, wanted in zip(rows(directory), rows(whole), strict=True):
        for name, value in wanted.items():
            if isinstance(value, float):
                assert found[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name
    found, wanted = (np.load(d / "predictions" / "test.npz") for d in (directory, whole))
    np.testing.assert_allclose(found["ema"], wanted["ema"], atol=2e-3)


def test_two_processes_take_the_steps_of_one(whole, tmp_path):
    directory = tmp_path / "run"
    running = start_two(directory)
    assert [p.wait(300) for p in running] == [0, 0], said(directory)
    same(directory, whole)
    assert json.loads((directory / "environment.json").read_text())["processes"] == 2
    assert said(directory).count("test accuracy") == 1  # the first process speaks


@pytest.mark.slow
@pytest.mark.parametrize(
    ("killed", "code", "why"),
    [
        (0, -signal.SIGABRT, "another task died"),  # JAX ends a process that has lost the first
        (1, 5, "another of the 2 processes of this run is gone"),
    ],
)
def test_one_process_killed_ends_the_job_and_the_next_start_goes_on(tmp_path, killed, code, why):
    directory = tmp_path / "run"
    running = start_two(directory, "--config.length.steps=4000")
    until(directory, 20, running)
    running[killed].kill()
    running[killed].wait()
    assert running[1 - killed].wait(200) == code, said(directory)
    assert why in said(directory)
    again = start_two(directory)
    assert [p.wait(300) for p in again] == [0, 0], said(directory)
    assert f"resuming {directory}" in said(directory)


@pytest.mark.slow
@pytest.mark.parametrize("told", [0, 1])
def test_one_process_asked_to_stop_stops_both(tmp_path, told):
    directory = tmp_path / "run"
    running = start_two(directory, "--config.length.steps=4000")
    until(directory, 20, running)
    running[told].send_signal(signal.SIGTERM)
    assert [p.wait(200) for p in running] == [143, 143], said(directory)
    assert json.loads((directory / "status.json").read_text())["state"] == "interrupted"


# --- without other processes ---------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["resident", "streamed", "drawn"])
def test_parts_of_a_batch_make_the_whole(mode, tmp_path):
    plan = prepare(config("supervised"), tmp_path / "nowhere")
    sizes, source = {"labelled": 8, "unlabelled": 16}, plan.source
    if mode == "drawn":  # crops anew: each image by a seed of its place in the whole batch
        source = source._replace(draw=lambda name, rows, seeds: seeds)

    def batches(part):
        how = {"mode": "auto" if mode == "drawn" else mode, "part": part}
        made = feed.open_feed(source, plan.split, sizes, 0, **how)
        try:
            return [made.batch(step) for step in range(2)]
        finally:
            made.close()

    wanted, parts = batches((0, 1)), [batches((i, 4)) for i in range(4)]
    for step in range(2):
        for stream in sizes:
            for name, value in wanted[step][stream].items():
                together = np.concatenate([part[step][stream][name] for part in parts])
                np.testing.assert_array_equal(together, value)
                assert len(parts[0][step][stream][name]) * 4 == len(value)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        (("two", 0, "a:1"), "--processes=two is no number"),
        (("0", 0, "a:1"), "--processes=0 is no number"),
        (("2", None, "a:1"), "--process_id=None"),
        (("2", 2, "a:1"), "--process_id=2"),
        (("2", 0, ""), "--coordinator=None"),
    ],
)
def test_flags_that_do_not_say_which_is_which(given, wrong):
    with pytest.raises(UserError, match=wrong):
        processes.join(*given)


def test_alone_every_question_has_its_answer(monkeypatch):
    assert processes.count() == 1 and processes.first() and processes.part() == (0, 1)
    assert processes.from_first({"a": [1, 0.1]}) == {"a": [1, 0.1]}
    stop = StopRequest()
    assert not processes.asked(stop, 1)
    stop.signal = signal.SIGTERM
    assert processes.asked(stop, 1)
    assert processes.leave(2) == 2


def test_processes_look_together_at_the_same_steps(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 2)
    asked = []
    monkeypatch.setattr(
        processes.multihost_utils,
        "process_allgather",
        lambda mine: asked.append(int(mine)) or np.array([mine, signal.SIGUSR1]),
    )
    stop = StopRequest()
    assert not any(processes.asked(stop, step) for step in range(1, 20))
    assert not asked
    assert processes.asked(stop, 20) and asked == [-1]
    assert stop.signal == signal.SIGUSR1 and stop.code == 0
    calls = [step for step in range(8, 90, 8) if processes.asked(StopRequest(), step, 8)]
    assert calls == [24, 40, 64, 80]  # eight steps a call: the first call past each twentieth


def test_a_lost_companion_is_said_and_other_failures_are_not(monkeypatch):
    import jax

    gone = jax.errors.JaxRuntimeError("Gloo all-reduce failed: Connection closed by peer")
    other = jax.errors.JaxRuntimeError("INVALID_ARGUMENT: shapes")
    with pytest.raises(jax.errors.JaxRuntimeError), processes.companions():
        raise gone  # alone there is no companion
    monkeypatch.setattr(processes, "count", lambda: 2)
    with pytest.raises(Lost, match="another of the 2 processes"), processes.companions():
        raise gone
    with pytest.raises(jax.errors.JaxRuntimeError), processes.companions():
        raise other
