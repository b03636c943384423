"""Every config in configs/ loads, is right, and takes two small steps; its sweep is sound."""

import json
from pathlib import Path

import pytest

from lowlabel_jax.configuration import check, load
from lowlabel_jax.runs import sweep
from lowlabel_jax.runs.train import train

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))
TINY = (
    "--config.length.steps=2",
    "--config.log_every=1",
    "--config.devices=1",
    "--config.batch.labelled=4",
    "--config.batch.mu=2",
    "--config.optimizer.rate.warmup=0",
)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_a_config_says_what_it_is_and_runs(path, tmp_path):
    config = load.load(str(path))
    check.check(config)
    assert (load.read_module(str(path)).__doc__ or "").strip()
    train(load.load(str(path), TINY), tmp_path)
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 2


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_a_sweep_names_its_runs_and_checks_them_all(path):
    if hasattr(load.read_module(str(path)), "sweep"):
        jobs = sweep.plan(str(path), [])
        assert jobs and all(name.endswith(tuple("0123456789")) for name in jobs)
