"""Tuning: what each part concludes from curves whose answer is known; a kill costs nothing."""

import math
import time
from collections import Counter

import jax
import numpy as np
import optuna
import pytest

from lowlabel_jax.configuration import load, resolve
from lowlabel_jax.configuration.check import check
from lowlabel_jax.core import files, named
from lowlabel_jax.core.errors import Interrupted, UserError
from lowlabel_jax.data import splits
from lowlabel_jax.data.source import from_arrays, open_source
from lowlabel_jax.evaluation import calibration
from lowlabel_jax.tuning import (
    batch_size,
    distance,
    finals,
    findings,
    judging,
    learning_rate,
    lengths,
    look,
    presets,
    regularisation,
    search,
    semi,
    studies,
    trial,
    tune,
)
from lowlabel_jax.tuning import ground as grounds
from lowlabel_jax.tuning.budgets import Budget
from tests import tiny_config
from tests.tiny import leaves

EVEN = math.log(10)
BUDGET = Budget(8, 2, 3, 3, 2, 4, 6, 1)


def config_of(objective="supervised", **changes):
    config = tiny_config.get_config(objective)
    with config.unlocked():
        for path, value in changes.items():
            config[path] = value
    return findings.applied(config, [])


def ground_of(tmp_path, config=None, parts=2, **more):
    config = config or config_of()
    source = open_source(config.source.to_dict())
    split = splits.split_of(source, config.split.to_dict(), 0)
    given = {
        "source": source,
        "split": split,
        "folds": grounds.folds_of(source, split, parts),
        "start": lambda config: lambda state: state,
        "directory": tmp_path,
        "budget": BUDGET,
        "seed": 0,
        "deadline": math.inf,
        "stop": math.inf,
        "programs": {},
        "teachers": {},
        "spent": Counter(),
    }
    return grounds.Ground(**{**given, **more})


# --- what validates ---


def test_folds_share_the_labels_out_and_keep_what_validates_from_training(tmp_path):
    ground = ground_of(tmp_path)
    labelled = set(ground.split.labelled)
    for fold in ground.folds:
        assert set(fold.labelled) | set(fold.validation) == labelled
        assert not set(fold.labelled) & set(fold.validation)
        assert not set(fold.unlabelled) & set(fold.validation)
        assert len(fold.validation) <= len(fold.labelled)
        counts = np.bincount(ground.source.labels["train"][fold.labelled], minlength=10)
        assert (counts == 1).all()
    assert set(ground.folds[0].validation) | set(ground.folds[1].validation) == labelled


@pytest.mark.parametrize(
    ("labels", "asked", "parts"), [(20, False, 2), (200, False, 5), (5000, False, 10), (9, True, 0)]
)
def test_few_labels_fold_and_many_spare_a_tenth(labels, asked, parts):
    split = splits.Split(np.arange(labels), np.arange(10), np.arange(3))
    assert grounds.validation_of(split, 10, asked)[0] == parts


def test_one_label_a_class_leaves_nothing_to_validate_with(tmp_path):
    config = config_of()
    with config.unlocked():
        config.split.labelled = {"per_class": 1}
    assert ground_of(tmp_path, config).folds == ()


# --- trials ---


def test_a_number_as_an_argument_is_the_number_in_the_config(tmp_path):
    ground, config = ground_of(tmp_path), config_of()
    paths = {"optimizer.rate.peak": 0.02, "optimizer.weight_decay": 3e-3}
    traced = trial.program(ground, config, 0, 5, list(paths))
    found = trial.trained(ground, traced, 0, paths, 5)
    fixed = findings.applied(config, [findings.finding(config, p, v, "") for p, v in paths.items()])
    plain = trial.program(ground, fixed, 0, 5)
    expected = trial.trained(ground, plain, 0, {}, 5)
    start = trial.started(ground, plain)
    states = (leaves(state.params) for state in (found, expected, start))
    for one, other, before in zip(*states, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        assert not np.allclose(before, other, atol=1e-6)
    assert ground.spent == {"steps": 10, "images": 10 * 8}


def test_folds_of_like_shape_share_a_program(tmp_path):
    ground, config = ground_of(tmp_path), config_of()
    assert trial.program(ground, config, 0, 5) is trial.program(ground, config, 1, 5)
    assert trial.program(ground, config, 0, 6) is not trial.program(ground, config, 0, 5)


def test_no_guess_costs_more_than_the_doubt_allows():
    probs = np.array([[1.0, 0.0], [0.5, 0.5], [np.nan, 1.0]])
    found = trial.bounded(probs, np.array([1, 0, 0]))
    assert found[0] == pytest.approx(-math.log(trial.DOUBT / 2))
    assert found[1] == pytest.approx(math.log(2))
    assert found[2] == math.inf


def test_how_sure_a_network_is_does_not_decide_a_trial():
    label, draw = np.arange(20) % 4, np.random.default_rng(0).normal
    logits = np.eye(4)[label] * (np.arange(20) % 2)[:, None] + draw(size=(20, 4)) / 4
    mean = {}
    for name, scale in (("sure", 40.0), ("fair", 3.0), ("doubting", 0.3)):
        probs = np.asarray(jax.nn.softmax(scale * logits), np.float64)
        mean[name] = trial.bounded(trial.tempered(probs, label), label).mean()
    assert mean["sure"] == pytest.approx(mean["fair"], rel=1e-3)
    assert mean["doubting"] == pytest.approx(mean["fair"], rel=1e-3)

    even = np.full((20, 4), 0.25)
    sure = np.asarray(jax.nn.softmax(40.0 * logits))
    assert trial.bounded(sure, label).mean() > trial.bounded(even, label).mean()
    assert mean["sure"] < trial.bounded(trial.tempered(even, label), label).mean() - 0.1


def test_a_diverged_network_is_worse_than_any_at_any_temperature():
    probs, label = np.array([[np.nan, np.nan], [0.5, 0.5]]), np.array([0, 1])
    assert trial.bounded(trial.tempered(probs, label), label).mean() == math.inf


def test_a_look_is_the_averaged_weights_loss_at_the_best_temperature(tmp_path):
    ground, config = ground_of(tmp_path), config_of()
    made = trial.program(ground, config, 1, 5, ["optimizer.rate.peak"])
    given = {"optimizer.rate.peak": 0.05}
    (_, found) = trial.looks(ground, made, 1, given, [2, 5])
    label = trial.truth(ground, 1)
    probs = trial.guesses(ground, made, 1, trial.trained(ground, made, 1, given, 5))
    expected = min(
        float(trial.bounded(calibration.scaled(probs, t), label).mean())
        for t in np.geomspace(0.05, 20, 400)
    )
    assert found.mean() == pytest.approx(expected, rel=0.01)
    assert found.mean() < trial.bounded(probs, label).mean()


# --- learning rate ---


def test_a_range_test_reads_the_steepest_fall_and_the_divergence():
    rates = np.geomspace(1e-6, 1.0, 200)
    x = np.log10(rates)
    loss = 2.3 - 1.5 / (1 + np.exp(-6 * (x + 3))) + 4 * np.clip(x + 1, 0, None) ** 2
    stop = next(
        n for n in range(1, 201) if learning_rate.diverged(learning_rate.smoothed(loss[:n]))
    )
    found = learning_rate.reading(rates[:stop].tolist(), loss[:stop].tolist(), EVEN)
    assert 3e-4 < found["steepest"] < 1e-2  # the fall is at 1e-3; smoothing lags behind it
    assert found["diverges"] == rates[stop - 1] > 0.1
    assert 0.01 < found["lowest"] < 0.3
    assert found["suggested"] == found["lowest"] / 10


def test_a_range_test_that_breaks_off_says_where():
    rates = np.geomspace(1e-5, 1.0, 40)
    loss = [*np.full(15, 2.0), *np.linspace(2, 1, 10), math.nan]
    found = learning_rate.reading(rates[:26].tolist(), loss, EVEN)
    assert found["diverges"] == rates[24] and found["suggested"] == rates[24] / 10


@pytest.mark.parametrize("seed", range(5))
def test_a_range_test_without_a_fall_suggests_nothing(seed):
    rng = np.random.default_rng(seed)
    loss = 2.4 + 0.1 * rng.standard_normal(60) + np.linspace(0, 0.3, 60)
    found = learning_rate.reading(np.geomspace(1e-6, 1, 60).tolist(), loss.tolist(), EVEN)
    assert found["suggested"] is None and found["steepest"] is None
    assert "no fall" in learning_rate.said(found)


def test_a_network_that_a_high_rate_has_ruined_has_learnt_nothing():
    """As MobileNet's on CIFAR-10: it begins above an even guess, and falls to one."""
    rates = np.geomspace(1e-6, 1, 300)
    seen = {-6: 2.75, -5: 2.74, -3.3: 2.5, -2.6: 2.65, -1.4: 3.6, -0.4: 2.33, 0: 2.35}
    loss = np.interp(np.log10(rates), list(seen), list(seen.values()))
    assert learning_rate.reading(rates.tolist(), loss.tolist(), EVEN)["suggested"] is None
    assert learning_rate.reading(rates.tolist(), (loss - 1).tolist(), EVEN)["suggested"]


@pytest.mark.parametrize("rate", ["cosine", "cosine_7_16", "constant", "polynomial"])
def test_the_peaks_of_a_range_test_give_its_rates(tmp_path, rate):
    config = config_of()
    with config.unlocked():
        config.optimizer.rate = {"name": rate, "warmup": 3}
    made = trial.program(ground_of(tmp_path), findings.applied(config, []), 0, 30)
    wanted = np.geomspace(1e-4, 1.0, 30)
    spec = made.config["phases"][0]["optimizer"]["rate"]
    for step, peak in enumerate(learning_rate.peaks(made.config, wanted)):
        schedule = named.build("rate", {**spec, "peak": peak}, total_steps=30)
        assert float(schedule(step)) == pytest.approx(wanted[step], rel=1e-3), step


# --- batch size ---


def timed(*rates, size=16, needed=0):
    return [batch_size.Timed(size * 2**i, rate, needed) for i, rate in enumerate(rates)]


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [((100, 190, 300, 310, 600), 64), ((100, 105), 16), ((100,), 16), ((1, 2, 4), 64)],
)
def test_the_knee_is_the_last_doubling_that_pays(rates, chosen):
    assert batch_size.knee(timed(*rates)) == chosen


def test_sizes_are_multiples_of_the_devices_and_leave_two_steps_an_epoch():
    assert list(batch_size.sizes(300, 1)) == [16, 32, 64, 128]
    assert list(batch_size.sizes(300, 6)) == [18, 36, 72, 144]
    assert list(batch_size.sizes(10, 1)) == [16]


def test_running_out_of_memory_halves_in_a_program_of_its_own(tmp_path, monkeypatch):
    tried = []

    def measured(ground, config, size):
        tried.append(size)
        if size > 32:
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")
        return batch_size.Timed(size, 100.0 * size, 0)

    monkeypatch.setattr(batch_size, "measured", measured)
    monkeypatch.setattr(batch_size, "sizes", lambda labels, devices: iter([16, 32, 64, 128]))
    config = config_of()
    with config.unlocked():
        config.phases = {"supervised": {"objective": {"name": "supervised"}}}
    found = batch_size.learn(ground_of(tmp_path), findings.applied(config, []))
    assert tried == [16, 32, 64, 32]
    assert found["chosen"] == 32
    assert found["refused"] == [{"size": 64, "why": "out of memory"}]


def test_another_error_is_not_taken_for_memory():
    def broken(size):
        raise RuntimeError("INTERNAL: something else")

    with pytest.raises(RuntimeError, match="INTERNAL"):
        batch_size.halved(64, 1, broken)


# --- distance analysis ---


def test_levels_add_equal_parts_of_the_largest_rise():
    magnitude = np.linspace(0, 1, 9)
    found = distance.levels(magnitude, 0.3 + magnitude**2)
    expected = np.interp(np.linspace(0, 1, 6), magnitude**2, magnitude)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_levels_of_what_moves_nothing_are_even_and_never_fall_back():
    magnitude = np.linspace(0, 1, 9)
    np.testing.assert_allclose(distance.levels(magnitude, np.full(9, 0.7)), np.linspace(0, 1, 6))
    bumpy = distance.levels(magnitude, np.array([0, 0.5, 0.2, 0.4, 1.0, 0.9, 0.8, 1.2, 1.1]))
    assert (np.diff(bumpy) > 0).all()


# --- searches ---


def row(number, losses, state="complete"):
    return search.Row(number, {"x": number}, np.array(losses, float), (), state)


def test_the_default_stays_unless_beaten_by_a_standard_error():
    default = row(0, [[1.0, 2.0, 3.0, 4.0]])
    worse_by_noise = row(1, [[3.0, 0.5, 4.0, 2.3]])  # mean 2.45 against 2.5, all over the place
    steady = row(2, [[0.9, 1.9, 2.9, 3.9]])
    assert search.choose([default, worse_by_noise])[0] is default
    assert search.choose([default, worse_by_noise, steady])[0] is steady
    assert search.choose([default, row(1, [[0.0] * 4], "pruned")])[0] is default
    assert search.choose([row(0, [[math.inf]], "failed"), steady])[0] is steady


def space():
    return {"x": optuna.distributions.FloatDistribution(-2.0, 2.0)}


def parabola(log, stop_at=None):
    def run(values):
        log.append(values["x"])
        if len(log) == stop_at:
            raise KeyboardInterrupt
        for part in (0.5, 1.0):
            yield np.full((2, 3), (values["x"] - 1) ** 2 * part)

    return run


def test_a_search_that_was_killed_ends_as_one_that_was_not(tmp_path):
    whole, cut = [], []
    first = [{"x": -1.0}, {"x": 2.0}]
    given = (first, space(), 7)
    ground = ground_of(tmp_path / "a")
    expected = search.search(ground, "s", *given, parabola(whole), "trial")
    ground = ground_of(tmp_path / "b")
    for stop_at in (4, 3):
        with pytest.raises(KeyboardInterrupt):
            search.search(ground, "s", *given, parabola(cut, stop_at), "trial")
        cut.clear()
    found = search.search(ground, "s", *given, parabola(cut), "trial")
    assert [r.to_json() for r in found] == [r.to_json() for r in expected]
    assert whole[:2] == [-1.0, 2.0] and len(set(whole)) == 7
    assert search.search(ground, "s", *given, parabola(cut, 1), "trial")  # nothing left to run


def test_what_is_worse_at_a_look_is_stopped_there_and_never_chosen(tmp_path):
    ground, log = ground_of(tmp_path), []
    first = [{"x": x} for x in (1.0, 1.1, -2.0, 0.9)]
    rows = search.search(ground, "s", first, {}, 4, parabola(log), "trial")
    assert [r.state for r in rows] == ["complete", "pruned", "pruned", "pruned"]
    assert len(rows[2].looks) == 1
    assert search.choose(rows)[0].values == {"x": 1.0}


def test_a_trial_that_is_not_finite_is_told_and_never_chosen(tmp_path):
    def run(values):
        yield np.full((1, 2), math.inf if values["x"] else 1.0)

    rows = search.search(ground_of(tmp_path), "s", [{"x": 0}, {"x": 1}], {}, 2, run, "trial")
    assert rows[1].state == "failed" and rows[1].to_json()["mean"] is None
    assert search.choose(rows)[0].values == {"x": 0}


def test_past_the_deadline_only_the_default_is_tried(tmp_path):
    ground, log = ground_of(tmp_path, deadline=time.monotonic() - 1), []
    rows = search.search(ground, "s", [{"x": 0.0}, {"x": 1.0}], {}, 2, parabola(log), "trial")
    assert [r.values for r in rows] == [{"x": 0.0}]
    more = search.search(ground, "more", [{"x": 1.0}], {}, 1, parabola(log), "trial", least=0)
    assert more == [] and len(log) == 1  # what builds on it is left


def sprint(steps):
    """Losses of trials in which a high x is quick at first and slow in the end."""

    def run(values):
        yield np.full((1, 4), 3 - values["x"] if steps <= BUDGET.trial else values["x"])

    return run


def test_what_wins_short_trials_must_hold_on_longer_ones(tmp_path):
    budget, first = BUDGET._replace(supervised=40), [{"x": 0.5}, {"x": 2.0}]
    ground = ground_of(tmp_path, budget=budget)
    rows = search.search(ground, "s", first, {}, 2, sprint(BUDGET.trial), "trial")
    quick, error = search.choose(rows)
    assert quick.values == {"x": 2.0}

    def last(ground, row, more=()):
        return finals.final(ground, "s", rows[0], row, error, sprint, more)

    assert last(ground, rows[0]) == (rows[0], error, "", [])  # nothing to confirm
    ends = last(ground, quick, [{"x": 0.25}])
    assert ends.row.values == {"x": 0.25} and "0.250 against 0.500" in ends.words
    late = ground_of(tmp_path / "late", budget=budget, deadline=time.monotonic() - 1)
    assert last(late, quick).row is rows[0] and "no time" in last(late, quick).words
    short = ground_of(tmp_path / "short")  # the phase itself is no longer than a trial
    assert last(short, quick) == (quick, error, "", [])


def test_a_time_for_learning_counts_what_earlier_tries_took(tmp_path):
    def slow(values):
        time.sleep(0.2)
        yield np.full((1, 4), values["x"])

    ground = ground_of(tmp_path)
    assert studies.seconds(tmp_path / "optuna.log") == 0
    for name in ("a", "b"):
        search.search(ground, name, [{"x": 0.5}, {"x": 2.0}], {}, 2, slow, "trial")
    assert 0.8 <= studies.seconds(tmp_path / "optuna.log") < 10


def test_a_trial_lowers_its_rate_no_sooner_than_its_phase(tmp_path):
    rate = {"name": "cosine_7_16", "peak": 0.05, "warmup": 0}
    falling = config_of()
    constant = config_of()
    with falling.unlocked(), constant.unlocked():
        falling.optimizer.rate = rate
        constant.optimizer.rate = {"name": "constant", "peak": 0.05}

    def last(config, whole):
        (*_, found) = judging.judge(ground_of(tmp_path), config, steps=6, whole=whole)({})
        return found

    expected = last(constant, 0)
    np.testing.assert_allclose(last(falling, 10**6), expected, rtol=1e-4)
    assert abs(last(falling, 0) - expected).max() > 1e-2 * expected.mean()


def test_when_all_time_is_over_the_rest_is_left(tmp_path):
    ground = ground_of(tmp_path, stop=time.monotonic() - 1)
    with pytest.raises(Interrupted, match="kept"):
        search.search(ground, "s", [{"x": 0.0}], {}, 1, parabola([]), "trial")


def test_folds_that_differ_by_an_image_are_cut_to_the_shorter():
    assert judging.stacked([np.ones(3), np.ones(4)]).shape == (2, 3)
    assert judging.looks_at(100) == [50, 100] and judging.looks_at(1) == [1]


# --- regularisation and method, on planted losses ---

LEVELS = {cluster: {"levels": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]} for cluster in distance.CLUSTERS}


def planted(monkeypatch, part, cost):
    """Trials of a part cost what cost(values, steps) says, on each of 2 x 5 images."""
    made, spread = [], np.linspace(-0.01, 0.01, 10).reshape(2, 5)

    def judge(ground, config, numbers=(), warm=(), steps=0, whole=0):
        def run(values):
            made.append((dict(values), steps))
            for _ in range(2):
                yield spread + cost(values, steps)

        return run

    monkeypatch.setattr(part, "judge", judge)
    monkeypatch.setattr(distance, "analyse", lambda ground, config: LEVELS)
    monkeypatch.setattr(semi, "taught", lambda ground, config, teaches: ([], []))
    return made


def learnt(tmp_path, part, budget):
    config = tune.begun(config_of("fixmatch"))
    found = part.learn(ground_of(tmp_path, config, budget=budget), config)
    return found, {f["path"]: f["to"] for f in found["findings"]}


def test_the_regularisation_that_costs_least_is_taken(tmp_path, monkeypatch):
    path = "augment.strong.spatial"
    made = planted(monkeypatch, regularisation, lambda v, _: 1 + abs(v.get(path, 1.0) - 0.3))
    found, to = learnt(tmp_path, regularisation, BUDGET._replace(regularisation=8))
    assert made[0][0] == {}  # first of all the config as it was
    assert to["augment.strong.name"] == "clusters" and to[path] == pytest.approx(0.3)
    assert found["trials"][0]["mean"] == pytest.approx(1.7)


def test_a_regularisation_that_longer_trials_refuse_is_left(tmp_path, monkeypatch):
    cost = lambda v, steps: 1 - 0.5 * bool(v) * (1 if steps == 0 else -1)  # noqa: E731
    planted(monkeypatch, regularisation, cost)
    budget = BUDGET._replace(regularisation=4, supervised=400)
    found, to = learnt(tmp_path, regularisation, budget)
    assert not to and found["final"] and "on longer trials 1.000" in found["why"]


@pytest.mark.parametrize(("trials", "more"), [(3, 0), (5, 0), (6, 1), (16, 2)])
def test_what_must_be_compiled_anew_is_tried_from_short_on(tmp_path, monkeypatch, trials, more):
    made = planted(monkeypatch, regularisation, lambda v, _: 1 - 0.5 * bool(v))
    learnt(tmp_path, regularisation, BUDGET._replace(regularisation=trials))
    tried = [v for v, _ in made if "model.dropout" in v or "augment.strong.cutout" in v]
    assert len(tried) == more and len(made) == trials + more


def test_the_method_and_the_numbers_that_cost_least_are_taken(tmp_path, monkeypatch):
    def cost(values, _):
        other = values["objective.name"] != "freematch"
        return 1 + 0.5 * other + 0.2 * abs(values.get("objective.weight", 1.0) - 0.5)

    made = planted(monkeypatch, semi, cost)
    _, to = learnt(tmp_path, semi, BUDGET._replace(semi=12))
    assert made[0][0]["objective.name"] == "fixmatch"  # the config's own
    assert to["objective.name"] == "freematch" and to["objective.weight"] == 0.5


def test_a_method_that_nothing_beats_stays(tmp_path, monkeypatch):
    planted(monkeypatch, semi, lambda v, _: 1.0)
    found, to = learnt(tmp_path, semi, BUDGET._replace(semi=6))
    assert to["objective.name"] == "fixmatch" and found["chosen"] == 0
    assert all(f["from"] == f["to"] for f in found["findings"])


# --- the look at the data ---


def test_facts_notes_and_the_refusal_of_one_class(tmp_path):
    ground = ground_of(tmp_path)
    info = splits.info_of(ground.source, ground.split)
    assert look.facts(info, "words")["task"] == "many-class"
    assert look.facts(info, "words")["imbalance"] == 1.0
    assert any("grey" in note for note in look.notes(info, True))
    uneven = info._replace(label_counts=(40, 4, *[10] * 8))
    assert any("40 labels to 4" in note for note in look.notes(uneven, True))
    assert any("fewer than 2" in note for note in look.notes(info, False))
    alone = info._replace(num_classes=1, class_names=("cat",))
    with pytest.raises(UserError, match="one class alone"):
        look.facts(alone, "")


def test_a_label_that_a_network_is_sure_is_wrong_is_named(tmp_path):
    ground = ground_of(tmp_path)
    sure = []
    for fold in range(2):
        probs = np.full((10, 10), 0.01)
        probs[np.arange(10), trial.truth(ground, fold)] = 0.91
        sure.append(probs)
    assert look.doubts(ground, sure) == []
    place = int(ground.folds[1].validation[3])
    label = int(trial.truth(ground, 1)[3])
    sure[1][3] = np.eye(10)[(label + 1) % 10] * 0.98 + 0.002
    (found,) = look.doubts(ground, sure)
    assert found["index"] == place and found["label"] == str(label)
    assert found["guess"] == str((label + 1) % 10)


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (96, 96, 3)])
def test_a_network_fits_the_images(shape):
    images, label = np.zeros((4, *shape), np.uint8), np.array([0, 1, 0, 1])
    source = from_arrays(("a", "b"), {"train": (images, label)})
    info = splits.info_of(source, splits.Split(np.arange(4), np.arange(4), np.arange(0)))
    config = findings.applied(config_of(), look.architecture(config_of(), info))
    check(config)
    model = named.build("model", resolve.as_plain(config.model.to_dict()), num_classes=2)
    import jax

    logits, _ = jax.eval_shape(
        lambda k, x: model.init_with_output(k, x, train=False)[0],
        jax.random.key(0),
        jax.ShapeDtypeStruct((1, *shape), "float32"),
    )
    assert logits.shape == (1, 2)


# --- phases, presets, configs as files ---


@pytest.mark.parametrize("validates", [False, True])
def test_the_phases_of_a_learnt_config_are_a_config(tmp_path, validates):
    config = config_of("fixmatch")
    with config.unlocked():
        config.phases = {"supervised": {"objective": {"name": "supervised", "mixup": 0.2}}}
        config.split.folds = 10 if validates else 0
    found = lengths.phased(ground_of(tmp_path), findings.applied(config, []), validates)
    check(found)
    assert found.order == (
        "warm_1",
        "supervised",
        "warm_2",
        "semi_supervised",
    )
    assert found.phases.supervised.objective.mixup == 0.2
    assert found.phases.semi_supervised.objective.name == "fixmatch"
    assert found.phases.supervised.get("plateau", 0) == (lengths.WINDOW if validates else 0)


def test_a_network_whose_norms_rest_has_no_warm_up(tmp_path):
    config = config_of("fixmatch")
    with config.unlocked():
        config.phases = {"supervised": {"objective": {"name": "supervised"}}}
        config.model.batch_norm = False
    found = lengths.phased(ground_of(tmp_path), findings.applied(config, []), False)
    check(found)
    assert found.order == ("supervised", "semi_supervised")


def test_a_preset_is_saved_loaded_and_refused_where_it_is_none(tmp_path):
    place = tmp_path / "mine.json"
    presets.save(place, "mine", "of a test", {"augment.strong.name": "clusters"})
    assert presets.load(str(place))["values"] == {"augment.strong.name": "clusters"}
    assert presets.load("cifar10_small") == presets.load("CIFAR10_SMALL")
    with pytest.raises(UserError, match="CIFAR10_SMALL"):
        presets.load("CIFAR10_SMAL")
    files.write_json(place, {"values": {"source.path": "/etc"}})
    with pytest.raises(UserError, match="source.path"):
        presets.load(str(place))
    files.write_json(place, [1])
    with pytest.raises(UserError, match="no preset"):
        presets.load(str(place))


def test_the_shipped_preset_fits_a_config():
    config = config_of()
    with config.unlocked():
        config.phases = {"supervised": {"objective": {"name": "supervised", "strong": True}}}
        config.order = ("supervised",)
    values = presets.load("CIFAR10_SMALL")["values"]
    given = [findings.finding(config, path, value, "") for path, value in values.items()]
    check(findings.applied(findings.applied(config, []), given))


def test_a_config_comes_back_from_json(tmp_path):
    config = config_of("fixmatch")
    place = tmp_path / "config.json"
    files.write_json(place, resolve.as_dict(config))
    again = load.load(str(place), ["--config.seed=3", "--config.seeds.split=4"])
    check(again)
    changed = resolve.difference(resolve.as_dict(config), resolve.as_dict(again))
    assert changed == {"seed": (0, 3), "seeds.split": (None, 4)}


def test_overriding_leaves_the_config_that_it_was_given():
    config = config_of()
    before = resolve.as_dict(config)
    load.override(config, {"optimizer.rate.name": "constant", "model.channels": "(8,)"})
    assert resolve.as_dict(config) == before
