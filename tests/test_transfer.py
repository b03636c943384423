"""Transfer: frozen stages rest bit by bit, heads learn on kept features, probes, stage rates."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression

from lowlabel_jax import optimizers, schedules
from lowlabel_jax.augment.views import normalise
from lowlabel_jax.configuration.check import check
from lowlabel_jax.core import files, parallel, tree, units
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data import feed
from lowlabel_jax.data.source import Info
from lowlabel_jax.models.small_cnn import small_cnn
from lowlabel_jax.objectives.supervised import supervised
from lowlabel_jax.ops import layers
from lowlabel_jax.ops.initialise import initialise
from lowlabel_jax.pretrained import bring, layout
from lowlabel_jax.runs import evaluate, features
from lowlabel_jax.runs.train import train
from lowlabel_jax.training import networks, probe
from tests.test_interruption import Killed, _killed_at, assert_same_ending
from tests.tiny import AT_WORK, World, assert_same, config


def variables_of(state):
    return {"params": state.params, "batch_stats": state.batch_stats, "ema": state.ema}


def moved(before, after):
    """The names below params whose leaves have changed, weights and averages and statistics."""
    pairs = zip(tree.named_leaves(before).items(), tree.named_leaves(after).values(), strict=True)
    return {name for (name, old), new in pairs if not np.array_equal(old, new)}


@pytest.mark.parametrize(
    "objective", ["supervised", "fixmatch", pytest.param("remixmatch", marks=pytest.mark.slow)]
)
def test_stages_before_train_from_stay_as_they_are_bit_by_bit(objective):
    world = World(objective, "--config.train_from=conv_1")
    before = jax.device_get(variables_of(world.start()))
    state, _ = world.run(world.start(), 3)
    changed = {name.split("/")[-2] for name in moved(before, jax.device_get(variables_of(state)))}
    assert {"conv_1", "norm_1", "head"} <= changed
    assert not changed & {"conv_0", "norm_0"}


def test_only_what_is_trained_has_an_optimiser_state():
    of_all, of_head = (World("supervised", *o).start() for o in ((), ("--config.train_from=head",)))
    sizes = [sum(x.size for x in jax.tree.leaves(s.opt_state)) for s in (of_all, of_head)]
    momenta = sum(x.size for x in jax.tree.leaves(of_head.params["head"]))
    assert sizes[1] == momenta + 1 < sizes[0]  # 1: the schedule counts


def test_frozen_stages_run_as_in_evaluation_and_trained_ones_as_in_training():
    model = small_cnn(num_classes=3, channels=(4, 8), dropout=0.5)
    variables = initialise(model, (8, 8, 1), 0)
    images = np.random.default_rng(0).normal(size=(6, 8, 8, 1)).astype(np.float32)

    def run(frozen, norms=(), train=True):
        with layers.resting(frozen, norms):
            (_, ends), new = model.apply(
                variables,
                images,
                train,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(0)},
            )
        return ends, new.get("batch_stats", variables["batch_stats"])

    rest, _ = run((), train=False)
    train, stats = run(())
    some, some_stats = run(("conv_0", "norm_0"))
    np.testing.assert_array_equal(some["stage_0"], rest["stage_0"])
    assert not np.array_equal(some["stage_0"], train["stage_0"])
    assert_same(some_stats["norm_0"], variables["batch_stats"]["norm_0"])
    assert not np.array_equal(some_stats["norm_1"]["mean"], stats["norm_1"]["mean"])
    assert moved(variables["batch_stats"], some_stats) == {"norm_1/mean", "norm_1/var"}
    _, kept = run((), norms=model.stages)
    assert_same(kept, variables["batch_stats"])


def test_dropout_rests_in_frozen_stages_and_not_where_norms_alone_do():
    model = small_cnn(num_classes=3, channels=(4,), dropout=0.5)
    variables = initialise(model, (8, 8, 1), 0)
    images = np.ones((4, 8, 8, 1), np.float32)

    def logits(frozen, norms=()):
        with layers.resting(frozen, norms):
            rngs = {"dropout": jax.random.key(0)}
            return model.apply(variables, images, True, mutable=["batch_stats"], rngs=rngs)[0][0]

    rest = model.apply(variables, images, False)[0]
    np.testing.assert_array_equal(logits(model.stages), rest)
    assert not np.allclose(logits(("conv_0", "norm_0")), rest)
    assert not np.allclose(logits((), model.stages), rest)


def test_running_statistics_can_be_kept_while_everything_is_trained():
    world = World("supervised", "--config.batch_norm=running")
    before = jax.device_get(world.start())
    state, _ = world.run(world.start(), 2)
    assert_same(before.batch_stats, state.batch_stats)
    assert moved(before.params, jax.device_get(state.params)) == set(
        tree.named_leaves(before.params)
    )


def test_stages_have_rates_of_their_own():
    params = {name: {"kernel": jnp.ones((2, 2))} for name in ("conv_0", "norm_0", "head", "heads")}
    model = small_cnn(num_classes=3, channels=(4,))
    rates = networks.rates(model, {"rate_decay": 0.5})
    assert rates == {"head": 1.0, "norm_0": 0.5, "conv_0": 0.25}
    tx = optimizers.by_stage(optax.sgd(0.1), rates)
    updates, _ = tx.update(params, tx.init(params), params)
    assert {name: float(u["kernel"][0, 0]) for name, u in updates.items()} == pytest.approx(
        {"conv_0": -0.025, "norm_0": -0.05, "head": -0.1, "heads": -0.1}
    )
    plain = optax.sgd(0.1)
    assert optimizers.by_stage(plain, networks.rates(model, {"rate_decay": 1.0})) is plain


def test_an_unknown_stage_is_named_with_the_stages_there_are():
    with pytest.raises(UserError, match="train_from = 'conv1' is no stage.*'conv_1'") as found:
        World("supervised", "--config.train_from=conv1")
    assert "conv_0, norm_0, conv_1, norm_1, head" in found.value.hint


@pytest.mark.parametrize(
    "objective",
    ["fixmatch", *(pytest.param(o, marks=pytest.mark.slow) for o in ("adamatch", "vat"))],
)
def test_frozen_runs_are_the_same_on_two_devices(objective):
    at_work = AT_WORK[objective]
    one, two = (
        World(objective, "--config.train_from=conv_1", devices=d, **at_work) for d in (1, 2)
    )
    assert_same(one.run(one.start(), 2)[0], two.run(two.start(), 2)[0], atol=1e-5)


# Features

PLAIN = (  # what the whole network sees is what features are of: images as they are
    "--config.augment.weak.name=identity",
    "--config.split.validation.per_class=2",
    "--config.evaluate_every=4",
)


@pytest.fixture
def apart(tmp_path, monkeypatch):
    """A cache of its own, so that no feature lies there yet."""
    monkeypatch.setenv("LOWLABEL_CACHE", str(tmp_path / "cache"))
    return tmp_path


def trained(directory, *overrides, objective="supervised", **changed):
    made = config(objective, *overrides)
    with made.unlocked():
        made.update(changed)
    numbers = train(made, directory)
    return numbers, evaluate.load(directory)[1]


def test_a_head_learns_on_features_what_it_learns_in_the_network(apart):
    (_, whole), (_, head) = (
        trained(apart / name, *PLAIN, option)
        for name, option in (("a", "--config.train_from=head"), ("b", "--config.features=cached"))
    )
    for mine, its in ((whole.params, head.params), (whole.ema["params"], head.ema["params"])):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), mine, its)
    assert_same(whole.batch_stats, head.batch_stats)


def test_features_are_computed_once(apart, monkeypatch, capsys):
    first, _ = trained(apart / "a", *PLAIN, "--config.features=cached")
    assert "features of" in capsys.readouterr().out

    def never(*given):
        raise AssertionError("features were computed again")

    monkeypatch.setattr(features, "extractor", never)
    again, _ = trained(apart / "b", *PLAIN, "--config.features=cached")
    assert again == first
    with pytest.raises(AssertionError, match="computed again"):  # another backbone
        trained(apart / "c", *PLAIN, "--config.features=cached", "--config.seeds.init=1")


def test_scores_on_features_are_the_scores_of_the_whole_network(apart):
    numbers, _ = trained(apart / "a", *PLAIN, "--config.features=cached")
    guesses = dict(np.load(apart / "a/predictions/test.npz"))
    again = evaluate.evaluate(apart / "a", "test")
    for name, probs in np.load(apart / "a/predictions/test.npz").items():
        np.testing.assert_allclose(probs, guesses[name], atol=1e-5)
    assert again["nll"] == pytest.approx(numbers["test"]["nll"], abs=1e-5)


def test_a_row_without_its_mark_is_computed_again(apart, monkeypatch):
    trained(apart / "a", *PLAIN, "--config.features=cached")
    (place,) = (apart / "cache" / "features").glob("*/test.npy")
    rows = np.load(place, mmap_mode="r+")
    good = np.array(rows)
    rows[7] = 0  # killed before the row was whole
    rows.flush()
    trained(apart / "b", *PLAIN, "--config.features=cached")
    np.testing.assert_allclose(np.load(place)[7], good[7], atol=1e-5)
    assert good[7, -1] == 1


def test_two_processes_share_a_table(tmp_path):
    one = features.table(tmp_path / "train.npy", 4, 2)
    one[1] = (5, 6, 1)
    two = features.table(tmp_path / "train.npy", 4, 2)
    assert two[1].tolist() == [5, 6, 1] and two[0, -1] == 0
    assert [p.name for p in tmp_path.iterdir()] == ["train.npy"]


def test_features_follow_a_phase_that_trained_the_backbone(apart):
    phases = {"early": {}, "late": {"features": "cached", "length": {"steps": 8}}}
    numbers, state = trained(apart / "a", *PLAIN, phases=phases, order=("early", "late"))
    assert int(state.step) == 20
    backbone = [k for k in state.params if k != "head"]
    for name in backbone:  # the average is what its features are of
        assert_same(state.params[name], state.ema["params"][name])
    again = evaluate.evaluate(apart / "a", "test")
    assert again["nll"] == pytest.approx(numbers["test"]["nll"], abs=1e-5)


@pytest.mark.slow
def test_stages_thaw_phase_by_phase(apart):
    phases = {
        "head": {"train_from": "head"},
        "top": {"train_from": "conv_1", "rate_decay": 0.5},
        "all": {"batch_norm": "running"},
    }
    short = {"length": {"steps": 2}}
    order = tuple(phases)
    made = {name: {**spec, **short} for name, spec in phases.items()}
    _, state = trained(apart / "a", phases=made, order=order)
    assert int(state.step) == 6
    assert state.trained == ("conv_0", "norm_0", "conv_1", "norm_1", "head")


# Probes


def problem(n=60, classes=3, size=5, seed=0):
    rng = np.random.default_rng(seed)
    label = np.arange(n) % classes
    x = rng.normal(size=(n, size)) + 2.0 * np.eye(classes, size)[label]
    return np.float32(3 + 10 * x), label


@pytest.mark.parametrize("classes", [2, 3])
def test_a_probe_is_scikit_learns_logistic_regression(classes):
    x, label = problem(classes=classes)
    found = probe.fit(x, label, classes)
    scaled = (x - x.mean(0)) / np.sqrt(np.square(x - x.mean(0)).mean())
    expected = LogisticRegression(C=found.strength, max_iter=1000).fit(scaled, label)
    logits = x @ found.kernel + found.bias
    np.testing.assert_allclose(jax.nn.softmax(logits), expected.predict_proba(scaled), atol=1e-4)
    assert found.strength in probe.STRENGTHS[1:-1]


def test_a_probe_chooses_a_strong_penalty_for_noise_and_a_weak_one_for_signal():
    rng = np.random.default_rng(0)
    label = np.arange(60) % 3
    noise = rng.normal(size=(60, 40)).astype(np.float32)
    signal = np.float32(np.eye(3)[label] + 0.01 * rng.normal(size=(60, 3)))
    assert probe.fit(noise, label, 3).strength <= 1e-2
    assert probe.fit(signal, label, 3).strength >= 1e2


def test_a_probe_of_one_label_a_class_and_of_a_class_without_any():
    x, label = problem(n=3)
    assert probe.fit(x, label, 3).strength == probe.ALONE
    found = probe.fit(x, label, 5)
    assert set((x @ found.kernel + found.bias).argmax(1)) == {0, 1, 2}
    with pytest.raises(UserError, match="labels of two classes"):
        probe.fit(x[:1], label[:1], 3)


def test_a_balanced_probe_minds_the_rare_class():
    rng = np.random.default_rng(0)
    label = np.array([0] * 90 + [1] * 10)
    x = np.float32(rng.normal(size=(100, 2)) + label[:, None])
    shares = [
        ((x @ f.kernel + f.bias).argmax(1) == 1).mean()
        for f in (probe.fit(x, label, 2, balanced) for balanced in (False, True))
    ]
    assert shares[0] < 0.1 < 0.2 < shares[1]


def test_a_probe_is_a_phase_of_one_step_and_fine_tuning_goes_on_from_it(apart):
    only, probed = trained(apart / "a", *PLAIN, "--config.features=probe")
    assert int(probed.step) == 1
    assert_same(probed.params, probed.ema["params"])
    log = [row for row in (apart / "a/metrics.jsonl").read_text().splitlines()]
    assert "probe/log10_c" in log[0]
    phases = {"probe": {"features": "probe"}, "tune": {"length": {"steps": 5}}}
    _, tuned = trained(apart / "b", *PLAIN, phases=phases, order=("probe", "tune"))
    assert int(tuned.step) == 6
    distance = float(np.abs(tuned.params["head"]["kernel"] - probed.params["head"]["kernel"]).max())
    assert 0 < distance < np.abs(probed.params["head"]["kernel"]).max()
    assert evaluate.evaluate(apart / "a", "test")["accuracy"] == only["test"]["accuracy"]


def test_a_probe_wants_a_linear_head():
    with pytest.raises(UserError, match="model.hidden is 8"):
        World("supervised", "--config.features=probe", "--config.model.hidden=8")


def test_settings_of_phases_are_checked():
    made = config("supervised")
    with made.unlocked():
        made.phases = {"a": {"features": "cashed", "rate_decay": 0.0}}
        made.order = ("a",)
    with pytest.raises(UserError) as found:
        check(made)
    assert "phases.a.features = 'cashed' must be one of off, cached, probe" in found.value.message
    assert "phases.a.rate_decay = 0.0 must be above 0" in found.value.message


# Killed in a phase on features, between phases, in fine-tuning

LADDER = {
    "probe": {"features": "probe"},
    "head": {"features": "cached", "length": {"steps": 4}},
    "top": {"train_from": "conv_1", "rate_decay": 0.5, "length": {"steps": 4}},
}


@pytest.mark.parametrize("at", [3, *(pytest.param(at, marks=pytest.mark.slow) for at in (1, 7))])
def test_killed_on_the_ladder_ends_in_the_same_bytes(at, apart, monkeypatch):
    def climb(directory):
        options = (*PLAIN, "--config.evaluate_every=2", "--config.checkpoint.every=2")
        return trained(directory, *options, phases=LADDER, order=tuple(LADDER))

    climb(apart / "whole")
    monkeypatch.setattr(feed, "indices", _killed_at(at))
    with pytest.raises(Killed):
        climb(apart / "cut")
    monkeypatch.undo()
    monkeypatch.setenv("LOWLABEL_CACHE", str(apart / "cache"))
    climb(apart / "cut")
    assert_same_ending(apart / "cut", apart / "whole")


# Weights that others have trained

TOYS = layout.Layout(
    family="toys",
    mark=r"params/conv_0/kernel",
    rules=(layout.Rule(r"(params|batch_stats)/.*", r"\g<0>"),),
    options={"epsilon": 1e-3, "depth": 9},
    pixels="imagenet",
)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A file with weights of the tiny net, for five classes, in a layout of its own."""
    monkeypatch.setattr(layout, "layouts", lambda model: (TOYS,))
    variables = initialise(small_cnn(num_classes=5, channels=(4, 8)), (8, 8, 1), 7)
    path = tmp_path / "toy.safetensors"
    save_file(tree.named_leaves(variables), path)
    return path, variables


def test_a_run_begins_with_the_weights_and_all_that_travels_with_them(weights, apart, capsys):
    path, theirs = weights
    options = (f"--config.pretrained.weights={path}", "--config.pretrained.pixels=unit")
    trained(apart / "a", *PLAIN, *options, "--config.train_from=head")
    config, state = evaluate.load(apart / "a")
    assert config["model"]["epsilon"] == 1e-3 and "depth" not in config["model"]
    assert config["pretrained"]["pixels"] == "unit" and len(config["pretrained"]["sha256"]) == 64
    for params in (state.params, state.ema["params"]):
        assert_same({k: v for k, v in params.items() if k != "head"},
                    {k: v for k, v in theirs["params"].items() if k != "head"})  # fmt: skip
    said = capsys.readouterr().out
    assert "head new (2 tensors of the file's dropped)" in said
    assert "they bring epsilon=0.001, pixels='unit'" in said


def test_images_are_shown_as_the_weights_want_them(weights, apart):
    path, _ = weights
    config, brought = bring.travelled(config_with(path))
    assert config.pretrained.pixels == "imagenet" and brought[-1] == "pixels='imagenet'"
    shown = []

    class Model:
        stages = ()

        def apply(self, variables, images, train):
            shown.append(np.asarray(images))

    as_dict = {"pretrained": {"pixels": "caffe"}, "info": {"image_shape": (1, 1, 3)}}
    byte = np.array([[[[10, 20, 30]]]], np.uint8)
    networks.whole(as_dict, Model())({}, normalise(byte), train=False)
    np.testing.assert_allclose(
        shown[0][0, 0, 0], [30 - 103.939, 20 - 116.779, 10 - 123.68], atol=1e-4
    )
    as_dict["pretrained"]["pixels"] = "imagenet"
    networks.whole(as_dict, Model())({}, normalise(byte), train=False)
    expected = [(10 - 123.675) / 58.395, (20 - 116.28) / 57.12, (30 - 103.53) / 57.375]
    np.testing.assert_allclose(shown[1][0, 0, 0], expected, atol=1e-5)


def test_grey_images_and_pixels_of_three_channels_do_not_go_together():
    with pytest.raises(UserError, match="'imagenet' are of three channels, and the images have 1"):
        World("supervised", "--config.pretrained.pixels=imagenet")


def config_with(path, *overrides):
    return config("supervised", f"--config.pretrained.weights={path}", *overrides)


def test_weights_that_are_not_the_expected_ones_are_refused(weights, tmp_path):
    path, _ = weights
    known = bring.travelled(config_with(path))[0].pretrained.sha256
    assert bring.travelled(config_with(path, f"--config.pretrained.sha256={known}"))
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(bytes(body))
    with pytest.raises(UserError, match="SHA-256 is .* not .* as expected"):
        bring.travelled(config_with(path, f"--config.pretrained.sha256={known}"))
    with pytest.raises(UserError, match="no pixels called 'imagnet'. Did you mean 'imagenet'"):
        bring.travelled(config_with(path, "--config.pretrained.pixels=imagnet"))
    with pytest.raises(UserError, match="there is no file 'nowhere.safetensors'"):
        bring.travelled(config_with("nowhere.safetensors"))


def test_weights_of_another_size_begin_no_run(weights, apart):
    path, _ = weights
    options = (f"--config.pretrained.weights={path}", "--config.pretrained.pixels=unit")
    with pytest.raises(UserError, match="another shape"):
        train(config("supervised", *options, "--config.model.channels=(4, 6)"), apart / "a")
    assert not (apart / "a" / "config.json").exists()
    trained(apart / "a", *PLAIN, *options)


def test_a_finished_run_needs_its_weights_file_no_more(weights, apart):
    path, _ = weights
    options = (f"--config.pretrained.weights={path}", "--config.pretrained.pixels=unit")
    numbers, _ = trained(apart / "a", *PLAIN, *options)
    path.unlink()
    assert evaluate.evaluate(apart / "a", "test")["nll"] == pytest.approx(
        numbers["test"]["nll"], abs=1e-5
    )


# BiT-HyperRule


@pytest.mark.parametrize(
    ("n", "steps"),
    [(100, 500), (19_999, 500), (20_000, 10_000), (499_999, 10_000), (500_000, 20_000)],
)
def test_bit_hyperrule_has_its_steps(n, steps):
    assert units.steps({"bit_hyperrule": 1.0}, 64, n) == steps
    assert units.steps({"bit_hyperrule": 0.1}, 64, n) == steps // 10


def info(n):
    sizes = {"labelled": n, "unlabelled": n, "validation": 0, "test": 0}
    return Info(2, ("a", "b"), (8, 8, 1), sizes, (n // 2, n // 2))


@pytest.mark.parametrize(
    ("n", "total", "falls", "climb"),
    [
        (100, 500, (200, 300, 400), 100),  # the official code's [100, 200, 300, 400, 500]
        (50_000, 10_000, (3000, 6000, 9000), 500),
        (500_000, 20_000, (6000, 12000, 18000), 500),
    ],
)
def test_bit_hyperrule_has_its_rates(n, total, falls, climb):
    rate = schedules.bit_hyperrule(total_steps=total, info=info(n), batch_size=512)
    at = [0, climb - 1, falls[0] - 1, *falls, total - 1]
    expected = [0.003 / climb, 0.003, 0.003, 3e-4, 3e-5, 3e-6, 3e-6]
    np.testing.assert_allclose([float(rate(step)) for step in at], expected, rtol=1e-5)
    half = schedules.bit_hyperrule(total_steps=total, info=info(n), batch_size=256)
    assert float(half(climb)) == pytest.approx(0.0015)


@pytest.mark.parametrize(("n", "mixes"), [(100, False), (20_000, True)])
def test_mixup_can_be_left_to_sets_that_are_not_small(n, mixes):
    world = World("supervised")
    state = world.start()
    views = {
        "labelled": jnp.asarray(np.random.default_rng(0).normal(size=(8, 8, 8, 1)), jnp.float32),
        "label": jnp.arange(8) % 2,
    }
    state = state.replace(aux=())

    def losses(_, batch):
        objective = supervised(info=info(n), mixup=0.1, mixup_from=20_000)
        keys = [jax.random.key(i) for i in (0, 1)]
        return parallel.pmean(
            jnp.stack([objective.loss(state.params, state, views, key)[0] for key in keys])
        )

    a, b = parallel.mapped(losses, 1)(0.0, {"x": np.zeros((1, 1))})
    assert (float(a) != float(b)) == mixes


# Checkpoints by the clock


def test_a_checkpoint_is_due_by_the_clock(tmp_path, monkeypatch):
    from lowlabel_jax.training import checkpoint, loop

    saved, clock = [], iter(range(0, 10_000, 4))
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(clock))
    real = checkpoint.save
    monkeypatch.setattr(
        checkpoint,
        "save",
        lambda d, s, progress, k: (saved.append(progress.step), real(d, s, progress, k)),
    )
    made = config("supervised", "--config.checkpoint.every=1000", "--config.checkpoint.seconds=10")
    train(made, tmp_path / "run")
    assert len(saved) > 2 and saved[-1] == 12
    assert files.read_json(tmp_path / "run" / "status.json")["state"] == "finished"
