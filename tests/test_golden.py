"""Golden numbers: a change that was not meant to change results does not."""

import json

import pytest

from tests import golden
from tests.tiny import OBJECTIVES

KEPT = json.loads(golden.FILE.read_text(encoding="utf-8")) if golden.FILE.exists() else {}
WHAT_TO_DO = (
    "The numbers of {name!r} have moved. If the change was meant to: `make golden`, look at the "
    "diff, and write under 'Changes numbers' in CHANGELOG.md what moved and why. If not: it is a "
    "bug, and the first metric that differs says where to look."
)


DEAR = ("mixmatch", "remixmatch")  # four and six forwards to compile


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in DEAR))
        for name in OBJECTIVES
        if name in KEPT
    ],
)
def test_golden_numbers(name):
    """Loose enough for another CPU, tight enough to see a changed formula."""
    found = golden.numbers(name)
    for step, kept in KEPT[name].items():
        expected = {metric: pytest.approx(v, rel=2e-3, abs=2e-4) for metric, v in kept.items()}
        assert found[step] == expected, WHAT_TO_DO.format(name=name)


def test_the_methods_that_came_with_the_project_have_golden_numbers():
    assert {"supervised", "fixmatch", "mean_teacher"} <= set(KEPT)
