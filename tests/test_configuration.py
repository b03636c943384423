"""Configs: typed overrides, near names, every problem at once, and one resolved dict at the end."""

import json
from pathlib import Path

import pytest
from ml_collections import config_dict

from lowlabel_jax.configuration import check, keys, load, resolve
from lowlabel_jax.core import named, units
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data.source import Info

CONFIGS = Path(__file__).parent.parent / "configs"
FIXMATCH = str(CONFIGS.parent / "tests" / "tiny_config.py") + ":fixmatch"
INFO = Info(10, tuple("0123456789"), (8, 8, 1), {"labelled": 10, "unlabelled": 99, "test": 9})


def fails(*overrides):
    """What a config with these overrides is refused with."""
    with pytest.raises(UserError) as caught:
        check.check(load.load(FIXMATCH, overrides))
    return str(caught.value)


def resolved(*overrides):
    return resolve.resolve(load.load(FIXMATCH, overrides), INFO, "f00d")


def test_overrides_are_typed_as_the_value_that_stands_there():
    config = load.load(
        FIXMATCH,
        [
            "--config.optimizer.rate.peak=1",
            "--config.model.channels=(8,16)",
            "--config.seed=7",
            "--config.ema.warmup=False",
            "--config.method=--x",
        ],
    )
    assert config.optimizer.rate.peak == 1.0 and isinstance(config.optimizer.rate.peak, float)
    assert config.model.channels == (8, 16)
    assert (config.seed, config.ema.warmup, config.method) == (7, False, "--x")


def test_naming_another_part_brings_its_own_options():
    config = load.load(FIXMATCH, ["--config.objective.name=mean_teacher"])
    assert config.objective.to_dict() == {"name": "mean_teacher", "weight": 50.0, "ramp": 0.4}
    config = load.load(FIXMATCH, ["--config.objective.threshold=0.7"])
    config = load.override(config, {"objective.name": "supervised"})
    assert config.objective.name == "supervised" and "threshold" not in config.objective
    config = load.load(FIXMATCH, ["--config.objective.threshold=0.7"])
    config = load.override(config, {"objective.name": "flexmatch"})
    assert config.objective.threshold == 0.95, "what was chosen for another method does not stay"
    config = load.load(FIXMATCH, ["--config.objective.threshold=0.7"])
    assert load.override(config, {"objective.name": "fixmatch"}).objective.threshold == 0.7
    config = load.load(FIXMATCH, ["--config.optimizer.name=adam", "--config.optimizer.b1=0.5"])
    assert config.optimizer.b1 == 0.5 and "nesterov" not in config.optimizer
    assert config.optimizer.rate.to_dict() == load.load(FIXMATCH).optimizer.rate.to_dict()


def test_another_unit_replaces_the_one_that_stood_there():
    config = load.load(FIXMATCH, ["--config.length.epochs=2.5", "--config.split.labelled.total=40"])
    assert config.length.to_dict() == {"epochs": 2.5}
    assert config.split.labelled.to_dict() == {"total": 40}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("--config.objective.treshold=1", "Did you mean 'objective.threshold'?"),
        ("--config.objective.name=fixmach", "Did you mean 'fixmatch'?"),
        ("--config.objectiv.name=fixmatch", "unknown setting 'objectiv.name'"),
        ("config.seed=1", "Did you mean '--config.seed=1'?"),
        ("--config.seed", "Write --config.seed=VALUE"),
        ("--sede=1", "'--sede=1' is not an option"),
        ("--config.seed=a", "seed = 'a' does not fit a value of type int"),
        ("--config.batch.mu=1.5", "batch.mu = '1.5' does not fit"),
        ("--config.ema.warmup=maybe", "ema.warmup = 'maybe' does not fit"),
        ("--config.optimizer.rate.peak=-1", "optimizer.rate.peak = -1.0 must be above 0"),
        ("--config.optimizer.momentum=1.2", "optimizer.momentum = 1.2 must be"),
        ("--config.objective.threshold=1.1", "objective.threshold = 1.1 must be from 0 to 1"),
        ("--config.batch.mu=0", "batch.mu = 0 must be a whole number, 1 or more"),
        ("--config.length.epochs=0", "length.epochs = 0.0 must be above 0"),
        ("--config.split.validation.fraction=1", "split.validation.fraction = 1.0 must be below 1"),
        ("--config.ema.decay=1", "ema.decay = 1.0 must be"),
        ("--config.optimizer.rate.warmup=100000", "warmup = 100000 is longer than length.steps"),
        ("--config.patience=2", "patience needs validation images"),
    ],
)
def test_each_mistake_is_named(override, said):
    assert said in fails(override)


def test_all_problems_are_listed_together():
    said = fails("--config.optimizer.rate.peak=-1", "--config.batch.mu=0", "--config.ema.decay=2")
    assert said.startswith("3 problems:")


def test_typing_mistakes_are_listed_together():
    assert fails("--config.sed=1", "--config.batch.my=2").startswith("2 problems:")


def test_a_missing_file_names_its_neighbour():
    with pytest.raises(UserError, match="Did you mean .*digits_fixmatch"):
        load.load(str(CONFIGS / "digits_fixmach.py"))


def test_a_key_that_no_one_knows_is_refused():
    config = load.load(FIXMATCH)
    with config.unlocked():
        config.batch.labeled = 3
    with pytest.raises(UserError, match=r"'batch.labeled'. Did you mean 'batch.labelled'"):
        check.check(config)


def test_seeds_follow_seed_unless_set():
    assert resolved("--config.seed=3", "--config.seeds.split=5")["seeds"] == {
        "split": 5,
        "order": 3,
        "init": 3,
        "augment": 3,
    }


def test_lengths_become_steps():
    phase = resolved("--config.length.epochs=3", "--config.optimizer.rate.warmup.epochs=1")
    phase = phase["phases"][0]
    assert phase["steps"] == 4  # 3 epochs of 10 labels in batches of 8, rounded up
    assert phase["optimizer"]["rate"]["warmup"] == 2


def test_units():
    assert units.steps({"examples": 100}, 64, 10) == 2
    assert units.steps({"steps": 7}, 64, 10) == 7
    assert units.steps({"epochs": 2}, 64, 5000) == 157
    assert [units.duration(s) for s in (8.25, 125, 12_000)] == ["8.2 s", "2 min 05 s", "3 h 20 min"]


def two_phases():
    config = load.get_config(FIXMATCH)
    config.phases = {
        "warm": {"objective": {"name": "supervised"}, "length": {"steps": 5}},
        "late": {"optimizer": {"name": "adam"}},
    }
    config.order = ("warm", "late")
    return load.override(config, {})


def test_phases_change_what_they_name_and_inherit_the_rest():
    warm, late = resolve.resolve(two_phases(), INFO, "")["phases"]
    assert (warm["name"], warm["objective"]["name"], warm["steps"]) == ("warm", "supervised", 5)
    assert warm["optimizer"]["name"] == "sgd"
    assert late["optimizer"]["name"] == "adam" and late["optimizer"]["b1"] == 0.9
    assert late["optimizer"]["rate"] == warm["optimizer"]["rate"]
    assert late["objective"]["name"] == "fixmatch"


def test_a_phase_may_bring_its_own_rate():
    config = two_phases()
    with config.unlocked():
        config.phases.late.optimizer = {"name": "adam", "rate": {"name": "constant", "peak": 0.5}}
    warm, late = resolve.resolve(load.override(config, {}), INFO, "")["phases"]
    assert late["optimizer"]["rate"] == {"name": "constant", "peak": 0.5, "warmup": 0}
    assert warm["optimizer"]["rate"]["name"] == "cosine_7_16"


def test_an_option_that_a_part_does_not_have_is_refused():
    config = load.load(FIXMATCH)
    with config.unlocked():
        config.objective.treshold = 0.3
    with pytest.raises(UserError, match="no option 'treshold'. Did you mean 'threshold'"):
        check.check(config)


def test_an_order_that_names_no_phase_is_refused():
    config = two_phases()
    with config.unlocked():
        config.order = ("warm", "lte")
    with pytest.raises(UserError, match=r"(?s)'lte'. Did you mean 'late'.*would never run"):
        check.check(config)


def test_a_resolved_config_is_json_and_comes_back_equal():
    config = resolved("--config.model.channels=(8,16)")
    assert json.loads(json.dumps(config)) == config


def test_difference_names_every_changed_key():
    old, new = resolved(), resolved("--config.batch.mu=2", "--config.length.steps=9")
    changed = resolve.difference(old, new)
    assert changed["batch.mu"] == (old["batch"]["mu"], 2)
    assert set(changed) == {"batch.mu", "phases.0.steps"}


def test_every_key_is_documented_once_and_has_a_rule_that_exists():
    paths = [key.path for key in keys.KEYS]
    assert len(paths) == len(set(paths)) and all(key.why for key in keys.KEYS)
    check.check(load.override(keys.base(), {}))


@pytest.mark.parametrize("kind", named.PLACES)
def test_parts_build_from_their_names(kind):
    assert named.parts(kind)
    for name in named.parts(kind):
        spec = named.complete(kind, {"name": name})
        assert not list(named.problems(kind, spec, kind)), name


def test_build_calls_the_part_with_what_it_asks_for():
    schedule = named.build("rate", {"name": "constant", "peak": 2.0}, total_steps=5, info=None)
    assert float(schedule(3)) == 2.0
    with pytest.raises(UserError, match="Did you mean 'peak'"):
        named.build("rate", {"name": "constant", "peek": 2.0}, total_steps=5)


def test_base_can_be_changed_freely():
    config = keys.base()
    config.length = {"epochs": 3}
    assert isinstance(config, config_dict.ConfigDict) and config.length.epochs == 3
