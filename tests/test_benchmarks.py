"""The benchmarks run, and say the truth about goals. No test asserts a time."""

import json
import sys

import numpy as np
import pytest

from benchmarks import (
    bench_augment,
    bench_devices,
    bench_dispatch,
    bench_infer,
    bench_scaling,
    bench_startup,
    bench_step,
    bench_train,
    gpu,
    interleaved,
    pillow_side,
    results,
    workloads,
)
from benchmarks.interleaved import Options, goal
from lowlabel_jax.augment import fixmatch_ra

SCRIPTS = {
    module.__name__.removeprefix("benchmarks."): module
    for module in (bench_augment, bench_devices, bench_dispatch, bench_scaling, bench_startup,
                   bench_step, bench_train)
}  # fmt: skip
MACHINE = {"date": "2026-01-02T03:04:05", "processor": "a processor", "cores in use": 1, "cores": 2}


def shown(module, options):
    """(the report as its file would have it, its table)."""
    report = json.loads(json.dumps(module.measured(options)))
    made = {**report, "rounds": 1, "machine": MACHINE, "load": [0.0, 0.0]}
    table = getattr(module, "table", bench_train.table)(made)
    return made, table + interleaved.footer(made)


def test_rounds_take_turns_and_ratios_are_of_the_same_round():
    turns = []

    def clock(who, seconds):
        def timed(calls):
            turns.append((who, calls))
            return next(seconds), 0.25

        return timed

    seconds = {"ours": iter([9.0, 9.0, 1.0, 10.0, 3.0]), "peer": iter([9.0, 9.0, 2.0, 20.0, 3.0])}
    clocks = {who: clock(who, times) for who, times in seconds.items()}
    found = interleaved.rounds(clocks, Options(rounds=3))
    # a first call, a second that says how many calls a turn takes, then three turns in turn
    order = [("ours", 1), ("peer", 1), ("ours", 1), ("peer", 1), *[("ours", 1), ("peer", 1)] * 3]
    assert turns == order
    assert found["ours"] == [(1.0, 0.25), (10.0, 0.25), (3.0, 0.25)]
    assert interleaved.ratio(found["peer"], found["ours"]) == 2.0  # of 2, 2 and 1
    assert interleaved.ratio(found["peer"], found["ours"], wall=True) == 1.0
    assert interleaved.median(found["ours"]) == 3.0


def test_a_goal_is_met_from_its_own_side():
    assert goal("a", "x", 0.95, at_least=0.95)["met"] is True
    assert goal("a", "x", 0.94, at_least=0.95)["met"] is False
    assert goal("a", "x", 1.5, at_most=1.4)["met"] is False
    assert goal("a", "x", 1.4, at_most=1.4)["met"] is True
    assert goal("a", "x", 0.5)["met"] is None


def test_the_table_of_goals_says_what_was_missed_and_what_was_not_measured(tmp_path):
    rows = [goal("a row", "times a peer", 0.5, at_least=0.95), goal("a fact", "x", 2.0)]
    report = {"goals": rows, "machine": MACHINE}
    interleaved.write(str(tmp_path), "bench_train", report, "")
    table = results.written(tmp_path)
    assert "| bench_train | a row | times a peer | at least 0.95 | 0.5 | missed |" in table
    assert "| bench_train | a fact | x |  | 2 |  |" in table
    assert f"| gpu | {gpu.FIXMATCH} |  |  | not measured |  |" in table
    assert "| bench_infer | all of it |  |  | not measured |  |" in table
    assert "2026-01-02 on a processor" in table
    fast = {**report, "goals": [goal("fast", "it/s", 120.0, at_least=100)], "device": "a GPU"}
    interleaved.write(str(tmp_path), "gpu", fast, "")
    table = results.written(tmp_path)
    assert (
        f"| {gpu.FIXMATCH} |" not in table and "| fast | it/s | at least 100 | 120 | met |" in table
    )
    assert "on a GPU" in table


def test_goals_of_training_compare_the_right_rows():
    def case(**seconds):
        return {"seconds": {who: [(s, s)] for who, s in seconds.items()}}

    small = "small CNN, 32 px, B 64"
    peers = {"PyTorch eager": 2.0, "PyTorch channels last": 1.0, "naive Flax": 4.0}
    found = {
        small: case(ours=2.0, **peers, **{bench_train.LOST: 0.5}),
        bench_train.JOINT: case(ours=3.0),
        bench_train.SPLIT: case(ours=2.0),
    }
    rows = {row["measure"]: row for row in bench_train.goals(found, bench_train.GOALS)}
    values = {name: row["value"] for name, row in rows.items()}
    assert values == {
        "times PyTorch eager": 1.0,
        "times PyTorch channels last": 0.5,
        "times naive Flax": 2.0,
        f"times {bench_train.LOST}": 0.25,
        "times our joint step": 1.5,
    }
    met = [row["met"] for row in rows.values()]
    assert met == [True, False, True, None, True]


def test_a_peer_answers_from_its_own_process(tmp_path, monkeypatch):
    monkeypatch.setattr(interleaved, "ROOT", tmp_path)
    (tmp_path / "benchmarks").mkdir()
    text = "import json, os, sys\nfor line in sys.stdin:\n"
    text += "    print(json.dumps([os.getpid(), json.loads(line)]), flush=True)\n"
    (tmp_path / "benchmarks" / "echo.py").write_text(text)
    with interleaved.peer(sys.executable, "echo") as ask:
        first, second = ask("a", 1), ask("b")
    assert first[1] == ["a", 1] and second[1] == ["b"] and first[0] == second[0]
    with interleaved.peer("", "echo") as nobody:
        assert nobody is None


def test_the_peers_of_augmentation_do_what_ours_does():
    import random

    image = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    still = type("Still", (random.Random,), {"uniform": lambda self, low, high: (low + high) / 2,
                                             "choice": lambda self, of: 1})()  # fmt: skip
    for function in (pillow_side.affine_scipy, pillow_side.affine_pillow):  # nothing is moved
        found = function(still, image)
        np.testing.assert_allclose(found, pillow_side.normalised(image), atol=0.005)
    moved = [pillow_side.affine_scipy(random.Random(s), image) for s in (0, 0, 1)]
    np.testing.assert_array_equal(moved[0], moved[1])
    assert np.abs(moved[0] - moved[2]).max() > 0.1
    # the two draw alike and agree where both see the image: the same map, rounded by Pillow
    smooth = np.tile(np.arange(0, 128, 8, dtype=np.uint8)[:, None, None], (1, 16, 3))
    scipys, pillows = (
        f(random.Random(3), smooth)[5:11, 5:11]
        for f in (pillow_side.affine_scipy, pillow_side.affine_pillow)
    )
    assert np.abs(scipys - pillows).max() < 0.1


def test_the_peer_of_randaugment_has_its_magnitudes():
    for level in np.arange(1, 10) / 10:
        for sign in (-1, 1):
            assert pillow_side.strength(level, sign) == fixmatch_ra.strength(level, sign)
    assert set(pillow_side.OPERATIONS) == set(fixmatch_ra.strength(0.5, 1))


def test_toys_keep_what_a_workload_is():
    for work in (*workloads.TRAINING.values(), *workloads.INFERENCE.values()):
        toy = workloads.toy(work)
        assert (toy.network, toy.train, toy.split, bool(toy.mu)) == (
            work.network, work.train, work.split, bool(work.mu),
        )  # fmt: skip
        assert toy.images <= 6


def test_operations_are_the_published_ones():
    """MobileNet v1 at 224 px: 569 million multiply-adds an image (arXiv:1704.04861, table 4)."""
    from benchmarks.flax_side import flops

    looks = workloads.INFERENCE["MobileNet v1, 224 px, B 8"]
    assert flops(looks) / 8 == pytest.approx(2 * 569e6, rel=0.003)
    learns = looks._replace(train=True)
    assert flops(learns) == 3 * flops(looks)
    joint = learns._replace(labelled=1, mu=2)  # one image, two weak views, two strong ones
    assert flops(joint) == 3 * 5 / 8 * flops(looks)
    assert flops(joint._replace(split=True)) == (3 * 3 + 2) / 8 * flops(looks)


def test_the_step_of_training_that_is_timed_runs():
    report, table = shown(bench_train, Options(quick=True, only="small CNN"))
    (case,) = report["cases"].values()
    assert set(case["seconds"]) == {"ours", "naive Flax"} and case["flops"] > 1e5
    assert "| naive Flax |" in table and "a processor" in table
    (row,) = report["goals"]
    assert row["measure"] == "times naive Flax" and row["goal"] == 1.5


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_quick(name, tmp_path, monkeypatch):
    monkeypatch.setenv("LOWLABEL_CACHE", str(tmp_path))
    report, table = shown(SCRIPTS[name], Options(quick=True))
    assert table.count("\n| ") >= 2
    for row in report["goals"]:
        assert row["value"] >= 0
    if name == "bench_augment":
        assert report["differing pixels"] == 0


@pytest.mark.slow
def test_quick_inference():
    report, table = shown(bench_infer, Options(quick=True, only="small CNN"))
    assert set(report["cases"]) == {"small CNN, 32 px, B 64"} and "| ours |" in table


@pytest.mark.slow
def test_pytorch_is_a_peer_where_it_is_installed():
    pytest.importorskip("torch", reason="the extra `bench` is not installed")
    report, table = shown(bench_train, Options(quick=True, only="small", torch=sys.executable))
    (case,) = report["cases"].values()
    assert set(bench_train.FORMS) <= set(case["seconds"]) and report["torch"]
    assert "PyTorch bfloat16" in table


@pytest.mark.slow
def test_the_gpu_script_runs_every_piece_at_toy_size():
    seen = []
    report = gpu.measured(gpu.TINY, "", kept=lambda report: seen.append(sorted(report["pieces"])))
    report = json.loads(json.dumps(report))
    assert [len(pieces) for pieces in seen] == list(range(1, 8))
    steps = gpu.steps(report)
    assert {name.split(",")[0] for name in steps} == {"joint", "split"}
    assert all(of["flops"] > 1e6 for of in steps.values())
    flops = [of["flops"] for of in steps.values()]
    assert flops[-1] < flops[0]  # the split forward does not go back through the weak views
    table = gpu.table(report)
    assert "ours, bfloat16" in table and "strong: fixmatch_ra" in table
    assert "PyTorch: not measured." in table
    assert {row["goal"] for row in gpu.goals(report)} == {gpu.GOAL}
