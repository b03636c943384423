"""What is there for GPUs, as far as a CPU can tell: forms, types, messages, traces."""

import functools
import gzip
import json
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowlabel_jax import start
from lowlabel_jax.augment import recipe
from lowlabel_jax.configuration import load
from lowlabel_jax.core import files, named, parallel
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs import listing
from lowlabel_jax.runs.debug_nan import debug_nan as repeat
from lowlabel_jax.runs.debug_nan.first_bad import first_bad
from lowlabel_jax.runs.train import train
from lowlabel_jax.training import build, checkpoint, memory, watch
from tests.test_doors import launch
from tests.tiny import AT_WORK, OBJECTIVES, World, assert_same, config, resolved

SPLIT = [name for name in OBJECTIVES if "split" in named.options("objective", name)]
slow = pytest.mark.slow


def some(names, quick):
    """Names to try, those that are not quick in the slow suite."""
    return [name if name in quick else pytest.param(name, marks=slow) for name in names]


# --- the weak views in a forward of their own -----------------------------------------------------


def test_the_whole_fixmatch_family_can_be_split():
    family = ["adamatch", "defixmatch", "fixmatch", "flexmatch", "freematch", "simmatch"]
    assert [*family, "softmatch", "uda"] == SPLIT


@slow
@pytest.mark.parametrize("name", SPLIT)
def test_split_is_joint_where_no_statistics_are_taken_from_a_batch(name):
    """With BatchNorm at its running statistics views do not see each other: the same step."""
    found = []
    for split in (False, True):
        w = World(name, "--config.batch_norm=running", split=split, **AT_WORK[name])
        found.append(w.run(w.start(), 1))
    (one, metrics), (two, others) = found
    assert_same(one.replace(tx=two.tx, apply_fn=two.apply_fn), two, atol=1e-6)
    for key, mean in metrics.items():
        np.testing.assert_allclose(mean.total, others[key].total, rtol=1e-4, atol=1e-5)


@slow
def test_split_takes_less_by_what_the_weak_views_gradient_takes():
    """WRN-28-2, mu 7: 0.689 of the operations (shared/reference/performance.md)."""
    flops = []
    for split in (False, True):
        model = "--config.model.name=wide_resnet"
        w = World(
            "fixmatch", model, "--config.batch.labelled=1", "--config.batch.mu=7", split=split
        )
        batch = parallel.shard(w.feed.batch(0), 1)
        lowered = w.phase.step._over_devices(1).lower(w.start(), batch, w.resident)
        flops.append(lowered.cost_analysis()["flops"])
    assert 0.68 < flops[1] / flops[0] < 0.70


# --- augmentation, one by one or together ---------------------------------------------------------


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_a_gpu_is_given_vmap_and_a_cpu_one_image_after_the_other(monkeypatch, backend):
    """vmap makes of a choice by each image's own number all branches, and a selection."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)

    def turned(key, image):
        return jax.lax.switch(jax.random.randint(key, (), 0, 2), [jnp.flip, jnp.negative], image)

    keys, images = jax.random.split(jax.random.key(0), 4), jnp.ones((4, 3, 3, 1))
    said = str(jax.make_jaxpr(recipe.mapped(turned, branches=True))(keys, images))
    assert ("scan[" in said) == ("cond[" in said) == (backend == "cpu")


@slow
@pytest.mark.parametrize("name", ["fixmatch_ra", "ctaugment"])
def test_both_forms_give_the_same_views(monkeypatch, name):
    augment = named.build("augment", {"name": name})
    images = np.random.default_rng(0).integers(256, size=(16, 32, 32, 3), dtype=np.uint8)
    keys, found = jax.random.split(jax.random.key(1), 16), []
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(recipe.jax, "default_backend", lambda b=backend: b)
        found.append(np.asarray(jax.jit(recipe.mapped(augment.apply, True))(keys, images)))
    np.testing.assert_array_equal(*found)


# --- bfloat16: what stays float32 -----------------------------------------------------------------

NETWORKS = {
    "vit": {"patch": 4, "depth": 1},
    "wide_resnet": {"depth": 10},
    "small_cnn": {"channels": (4, 8)},
}


def floats(tree):
    return {x.dtype.name for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)}


@pytest.mark.parametrize("name", some(named.parts("model"), ["wide_resnet", "small_cnn"]))
def test_42_a_network_in_bfloat16_keeps_weights_statistics_and_logits_in_float32(name):
    made = {"name": name, "dtype": "bfloat16", **NETWORKS.get(name, {})}
    model = named.build("model", made, num_classes=10)
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(
        functools.partial(model.init, train=False), jax.random.key(0), images
    )
    forward = functools.partial(model.apply, train=True, mutable=["batch_stats"])
    rngs = {"dropout": jax.random.key(0), "latent": jax.random.key(0)}
    (logits, ends), new = jax.eval_shape(lambda v, x: forward(v, x, rngs=rngs), variables, images)
    assert floats(variables) == {"float32"} and floats(new) <= {"float32"}
    assert logits.dtype == jnp.float32 and ends["last_conv"].dtype == jnp.bfloat16


@pytest.mark.parametrize("name", some(OBJECTIVES, ["fixmatch"]))
def test_42_a_step_in_bfloat16_keeps_everything_that_is_summed_in_float32(name):
    w = World(name, "--config.model.dtype=bfloat16", **AT_WORK.get(name, {}))
    batch = parallel.shard(w.feed.batch(0), 1)
    step = jax.vmap(w.phase.step.fn, (None, 0, None), axis_name=parallel.AXIS)
    made = jax.make_jaxpr(step, return_shape=True)(w.start(), batch, w.resident)
    assert floats(made[1]) == {"float32"} and "bf16" in str(made[0])


@slow
def test_fixmatch_learns_in_bfloat16(tmp_path):
    """40 labels, with which float32 ends at .966 (docs/methods/fixmatch.md)."""
    asked = ("objective.name=fixmatch", "model.dtype=bfloat16", "split.labelled.per_class=4")
    said = [f"--config.{one}" for one in (*asked, "devices=1")]
    made = load.load("configs/digits_fixmatch.py", said)
    assert train(made, tmp_path)["test"]["accuracy"] > 0.9


# --- deterministic --------------------------------------------------------------------------------


def test_37_deterministic_is_said_to_xla_before_jax_is_imported(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    with pytest.raises(UserError, match="JAX is imported already"):
        start.deterministic()
    monkeypatch.delitem(sys.modules, "jax")
    start.deterministic()
    assert start.os.environ["XLA_FLAGS"] == "--xla_dump_to=x --xla_gpu_deterministic_ops=true"


@slow
def test_37_a_run_says_whether_it_is_deterministic(tmp_path):
    done = launch("--config=tests/tiny_config.py", f"--workdir={tmp_path}", "--deterministic")
    assert done.returncode == 0, done.stderr
    assert files.read_json(tmp_path / "environment.json")["deterministic"] is True


# --- memory ---------------------------------------------------------------------------------------


class Planned:
    """What XLA says that a program needs."""

    argument_size_in_bytes, output_size_in_bytes = 2**30, 2**30
    alias_size_in_bytes, temp_size_in_bytes = 2**30, 2**31

    def memory_analysis(self):
        return self


@pytest.mark.parametrize(("there", "fits"), [(0, True), (3 * 2**30, True), (3 * 2**30 - 1, False)])
def test_a_step_that_does_not_fit_is_refused_before_it_runs(monkeypatch, there, fits):
    monkeypatch.setattr(memory, "limit", lambda: there)
    made, _ = resolved(config("fixmatch"))
    look = memory.inspector(made, made["phases"][0], {"labelled": 8, "unlabelled": 24})
    if fits:
        look(Planned())
        return
    with pytest.raises(UserError, match="needs 3.00 GiB on each device") as caught:
        look(Planned())
    assert "8 labelled + 24 unlabelled images of 8x8x1" in str(caught.value)
    assert "try --config.batch.labelled=4 or --config.batch.mu=1" in str(caught.value)


def test_smaller_settings_can_be_split_over_the_devices():
    made, _ = resolved(config("supervised", "--config.devices=8", "--config.batch.labelled=24"))
    spec, sizes = made["phases"][0], {"labelled": 24}
    assert memory.smaller(made, spec, sizes)[0] == "--config.batch.labelled=8"
    made["batch"]["labelled"] = 8
    assert memory.smaller(made, spec, sizes) == ["--config.model.dtype=bfloat16"]  # and no mu


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    """A run whose steps 2 to 5 were traced."""
    place = tmp_path_factory.mktemp("runs") / "profiled"
    train(config("supervised"), place, profile=3)
    return place


def test_the_limit_is_asked_for_when_the_step_is_compiled(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "limit", lambda: 1000)
    monkeypatch.setattr(parallel.Mapped, "_over_devices", lambda *_: Lowered())
    with pytest.raises(UserError, match="try --config.batch.labelled=4 or --config.model.dtype="):
        train(config("supervised"), tmp_path)
    assert not checkpoint.steps(tmp_path)


class Lowered:
    """A program that is never compiled."""

    def lower(self, *_):
        return self

    def compile(self, **_):
        return Planned()


def test_77_out_of_memory_is_one_line_and_settings_that_need_less(tmp_path, monkeypatch, profiled):
    real, calls = parallel.Mapped.__call__, []

    def full(self, *given):
        calls.append(self)
        if len(calls) == 6:
            said = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 123 bytes.\nmore"
            raise jax.errors.JaxRuntimeError(said)
        return real(self, *given)

    monkeypatch.setattr(parallel.Mapped, "__call__", full)
    with pytest.raises(UserError) as caught:
        train(config("supervised"), tmp_path)
    said = str(caught.value)
    assert said.count("\n") == 1 and "8 labelled images of 8x8x1" in said and "123 bytes" in said
    assert "--config.batch.labelled=4" in said and caught.value.code == 2
    assert checkpoint.steps(tmp_path) == [4]
    assert files.read_json(tmp_path / "status.json")["state"] == "failed"


def test_other_errors_of_the_device_are_left_as_they_are():
    with pytest.raises(jax.errors.JaxRuntimeError), memory.explained({}, {}):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")


# --- profile --------------------------------------------------------------------------------------


def test_a_profile_is_written_and_can_be_read(profiled):
    (place,) = (profiled / "profile").rglob("*.trace.json.gz")
    with gzip.open(place) as file:
        events = json.load(file)["traceEvents"]
    assert len(events) > 10 and list((profiled / "profile").rglob("*.xplane.pb"))


def test_a_profile_says_how_it_is_opened_and_what_it_holds(monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda place: asked.append("start"))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: asked.append("stop"))
    with watch.Trace(tmp_path, 3) as trace:
        for done, so_far in ((5, 1), (10, 1), (15, 2), (20, 2)):  # five steps a call
            trace.step(done)
            assert len(asked) == so_far
    said = capsys.readouterr().out
    assert "profile of 5 steps" in said and "tensorboard --logdir" in said and "perfetto" in said
    with watch.Trace(tmp_path, 3):
        pass
    assert "there was none" in capsys.readouterr().err


@slow
def test_a_profile_is_of_one_run(tmp_path):
    asked = ("--config=tests/tiny_config.py", f"--workdir={tmp_path / 'r'}", "--profile=2")
    done = launch(*asked, "--sweep")
    assert done.returncode == 2 and "--profile=2 must be a number of steps" in done.stderr
    done = launch(*asked)
    assert done.returncode == 0 and "profile of 2 steps in" in done.stdout, done.stderr


# --- heartbeat and lines --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "age", "said"),
    [
        ({"state": "running", "rate": 1.0}, 190, "running"),  # 20 steps a line: 10 lines in 200 s
        ({"state": "running", "rate": 1.0}, 210, "stalled?"),
        ({"state": "running", "rate": 1000.0}, 50, "running"),  # a look may take a minute
        ({"state": "running", "rate": 1000.0}, 70, "stalled?"),
        ({"state": "running"}, 590, "running"),  # compiling
        ({"state": "running"}, 610, "stalled?"),
        ({"state": "finished", "rate": 1.0}, 10**6, "finished"),
    ],
)
def test_15_a_run_that_has_gone_quiet_is_marked(tmp_path, monkeypatch, status, age, said):
    made, _ = resolved(config("supervised", "--config.log_every=20"))
    files.write_json(tmp_path / "config.json", made)
    now = "2026-11-22T00:00:00+00:00"
    files.write_json(tmp_path / "status.json", {"step": 5, "time": now, **status})
    then = listing.datetime.fromisoformat(now).timestamp()
    monkeypatch.setattr(listing.time, "time", lambda: then + age)
    (row,) = listing.listing(tmp_path)
    assert row["state"] == said and said in listing.page([row])


def test_15_a_run_keeps_its_rate_in_its_status(profiled):
    assert rundir.status(profiled)["state"] == "finished"
    line = watch.Watch([{"name": "train", "steps": 12}], None)
    line.begin(0, 0)
    assert line.rate == 0


def test_lines_of_a_long_run_are_few(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: now[0])
    line = watch.Watch([{"name": "train", "steps": 100_000}], None)
    line.begin(0, 0)
    line.step(1)
    for done in range(100, 100_001, 100):
        now[0] += 0.1
        line.step(done)
        line.show({"loss": 1.0})
    said = capsys.readouterr().out.splitlines()
    assert len(said) == watch.LINES + 1 + 10 and said[-1].startswith("step 100000/100000")


# --- the first operation that is not finite -------------------------------------------------------


class Net(nn.Module):
    """A layer that takes a logarithm."""

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(3, name="before")(x)
        return Log(name="log_layer")(x)


class Log(nn.Module):
    """What breaks."""

    @nn.compact
    def __call__(self, x):
        return jnp.log(-jnp.square(x) - 1)


def test_the_first_nan_is_named_with_its_operation_and_layer():
    net = Net()
    params = net.init(jax.random.key(0), jnp.ones((2, 4)))
    total = jax.jit(lambda p, x: jnp.sum(jnp.asarray(net.apply(p, x))) * 2)
    found = first_bad(total, params, jnp.ones((2, 4)))
    assert found["NaN"].operation == "log float32[2,3]" and "infinity" not in found
    assert repeat.named_layer(found["NaN"].layer).endswith("log_layer")


def test_a_gradient_that_overflows_is_found_where_it_does():
    def loss(x):
        return jnp.sqrt(x).sum()

    found = first_bad(jax.grad(loss), jnp.zeros(3))
    assert set(found) == {"infinity"} and "div" in found["infinity"].operation
    assert "transpose" in found["infinity"].layer or "jvp" in found["infinity"].layer
    assert first_bad(jax.grad(loss), jnp.ones(3)) == {}


@pytest.mark.parametrize(
    ("stack", "layer"),
    [
        ("/vmap(transpose(jvp(Net)))/conv_0", "Net/conv_0"),
        ("/vmap()/jit(step)/", "step"),
        ("", ""),
    ],
)
def test_a_layer_is_named_as_people_do(stack, layer):
    assert repeat.named_layer(stack) == layer


@slow
@pytest.mark.parametrize("first", [2, 6])
def test_34_a_step_that_diverged_is_repeated_from_the_checkpoint_before_it(
    tmp_path, monkeypatch, capsys, first
):
    """A network that breaks at a step of its own."""
    real = build.named.build

    def broken(kind, spec, **known):
        made = real(kind, spec, **known)
        if kind != "objective":
            return made

        def loss(params, state, views, key):
            value, out = made.loss(params, state, views, key)
            return value * jnp.log(jnp.where(state.step < first, jnp.e, -1.0)), out

        return made._replace(loss=loss)

    monkeypatch.setattr(build.named, "build", broken)
    with pytest.raises(Exception, match=rf"not finite at step {first + 1}"):
        train(config("supervised"), tmp_path)
    assert repeat.debug_nan(tmp_path) == 0
    said = capsys.readouterr().out
    after = "2 steps after checkpoint 4" if first == 6 else "counted from the start"
    assert f"step {first + 1}, {after}, is not finite." in said and "first NaN: log float32" in said


def test_34_a_run_that_has_not_diverged_has_nothing_to_repeat(profiled):
    with pytest.raises(UserError, match="no run has diverged there"):
        repeat.debug_nan(profiled)
