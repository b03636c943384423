"""Twenty thousand steps: nothing grows but the rows of metrics.jsonl, and nothing slows down."""

import pytest

from benchmarks import long_run

STEPS = 20_000


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """(the samples of a long run, its directory)."""
    place = tmp_path_factory.mktemp("runs") / "long"
    return long_run.long_run(place, STEPS), place


@pytest.mark.slow
def test_a_long_run_neither_grows_nor_slows_down(long):
    """In CPU time a step, which other processes move least; a tenth is 2,000 steps."""
    found, _ = long
    grown = long_run.changes(found)
    assert len(found) == long_run.PARTS and found[-1].step == STEPS
    assert grown["slower"] < 1.2
    assert grown["megabytes"] < 20
    assert grown["files"] == grown["threads"] == grown["programs"] == 0


@pytest.mark.slow
def test_the_logs_of_a_long_run_are_rows_of_log_every_alone(long):
    _, place = long
    rows = (place / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == STEPS // 20 + long_run.PARTS


def test_changes_are_those_between_the_second_look_and_the_last():
    made = [
        long_run.Sample(100 * i, 2.0 * i + i // 3, 0, 10**6 * i, 7, 3, 5, 50 * i) for i in (1, 2, 3)
    ]
    assert long_run.changes(made) == {
        "slower": 1.5, "megabytes": 2.0, "files": 0, "threads": 0, "programs": 0,
        "log_bytes_a_step": 0.5,
    }  # fmt: skip
