"""Options that are traced numbers: one program for many values, each step as with the number."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lowlabel_jax.augment.standard import standard
from lowlabel_jax.core import named, parallel
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.core.ranges import RULES, breaks, on
from lowlabel_jax.objectives import base, mixing
from lowlabel_jax.state import create
from tests.linear import INFO, QUICK, SCALE, TX, apply_fn, full, given_views

KEY = jax.random.key(8)  # with which some images meet mixup and some a box of CutMix

# --- what is let through ---


def seen(look, shape=()):
    """What `look` says of a traced number."""
    said = []
    jax.eval_shape(lambda x: said.append(look(x)), jax.ShapeDtypeStruct(shape, jnp.float32))
    return said[0]


@pytest.mark.parametrize("rule", [*RULES, "Literal[1, 2]", "Callable", ""])
def test_a_traced_number_may_stand_where_a_float_may(rule):
    floats = {"Positive", "NonNegative", "Probability", "Fraction", "Magnitude", "float"}
    said = seen(functools.partial(breaks, rule))
    assert (said == "") == (rule in floats | {"Callable", ""})
    assert bool(seen(functools.partial(breaks, rule), (2,))) == (rule not in {"Callable", ""})


@pytest.mark.parametrize("value", [jnp.float32(0.5), np.float32(0.5), np.array(0.5), None, "0.5"])
def test_what_is_neither_traced_nor_a_python_number_is_refused(value):
    assert breaks("Fraction", value) == "must be 0 or more and below 1"
    assert breaks("Fraction", np.float64(0.5)) == ""


def test_on_is_false_for_a_python_zero_alone():
    assert [on(x) for x in (0, 0.0, False, np.float64(0))] == [False] * 4
    assert [on(x) for x in (1, 0.1, True, -1.0)] == [True] * 4
    assert seen(on) is True


def test_a_part_is_built_of_traced_numbers():
    def look(spec):
        return seen(lambda x: named.build("augment", {"name": "standard", **spec(x)}))

    assert look(lambda x: {"brightness": x, "shear": x, "cutout": x})
    with pytest.raises(UserError, match="augment.flip.*must be known before compiling"):
        look(lambda x: {"flip": x})
    with pytest.raises(UserError, match="no option 'brightnes'"):
        look(lambda x: {"brightnes": x})


# --- standard ---

STRENGTHS = dict(shift=0.2, rotate=30.0, shear=20.0, zoom=0.3, brightness=0.3, contrast=0.5,
                 gamma=0.4, noise=0.1, cutout=0.4)  # fmt: skip


def test_standard():
    image = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    keys = jax.random.split(KEY, 20)

    def whole(numbers):
        return jax.vmap(standard(flip=True, **numbers), (0, None))(keys, jnp.asarray(image))

    program = jax.jit(whole, compiler_options=QUICK)
    plain = jax.jit(lambda: whole(STRENGTHS), compiler_options=QUICK)
    apart = np.abs(program(STRENGTHS) - np.asarray(plain(), float))
    assert apart.max() <= 1 and (apart > 0).mean() < 2e-3  # 1 / (1 + gamma) and the like, rounded
    still = np.asarray(program(dict.fromkeys(STRENGTHS, 0.0)))
    flipped = np.asarray(jax.vmap(standard(flip=True), (0, None))(keys, image))
    np.testing.assert_array_equal(still, flipped)
    assert 0 < (still == image).all((1, 2, 3)).sum() < 20


# --- objectives ---

TWO = {"mixup": 0.8, "cutmix": 0.6}
CASES = [  # objective, what is fixed, values that one program is given
    ("supervised", {}, [{"label_smoothing": 0.1}, {"label_smoothing": 0.0}]),
    ("supervised", {"balanced": True}, [{"logit_adjustment": 1.5}, {"logit_adjustment": 0.0}]),
    ("supervised", {}, [{"mixup": 0.8}, {"mixup": 0.0}]),
    ("supervised", {}, [{"cutmix": 0.6}, {"cutmix": 0.0}]),
    ("supervised", {}, [TWO, TWO | {"mixup": 0.0}, TWO | {"cutmix": 0.0}]),
    ("fixmatch", {"align": True}, [
        {"threshold": 0.6, "weight": 0.7, "ramp": 0.5, "align_decay": 0.9},
        {"threshold": 0.0, "weight": 2.0, "ramp": 0.0, "align_decay": 0.0}]),
    ("freematch", {}, [
        {"weight": 0.7, "fairness": 0.5, "decay": 0.5, "lowest": 0.1, "highest": 0.4},
        {"weight": 0.0, "fairness": 0.0, "decay": 0.0, "lowest": 0.0, "highest": 0.0}]),
    ("flexmatch", {}, [{"threshold": 0.6, "weight": 0.7}, {"threshold": 0.0, "weight": 0.0}]),
    ("softmatch", {}, [{"weight": 0.7, "width": 1.5, "decay": 0.5},
                       {"weight": 0.0, "width": 3.0, "decay": 0.0}]),
    ("uda", {"tsa": "linear"}, [{"threshold": 0.6, "temperature": 0.4, "weight": 0.7},
                                {"threshold": 0.0, "temperature": 1.0, "weight": 0.0}]),
    ("noisy_student", {}, [{"threshold": 0.6, "weight": 0.7}, {"threshold": 0.0, "weight": 0.0}]),
]  # fmt: skip


def step(name, static, numbers, number, views):
    """The weights after step `number` of an objective, with its loss, memory and metrics."""
    spec = {"name": name, **static, **numbers}
    made = named.build("objective", spec, total_steps=10, info=INFO)
    params = {"scale": full(SCALE), "heads": {}}
    variables = {"params": params, "batch_stats": {"seen": jnp.zeros(())}}
    state = create(variables, apply_fn, TX, made.init(INFO), 0)
    state = state.replace(step=jnp.int32(number), began=jnp.int32(0))

    def one(views):
        graded = jax.value_and_grad(made.loss, has_aux=True)
        (loss, out), gradient = graded(params, state, views, KEY)
        moved = jax.tree.map(lambda p, g: p - 0.1 * g, params, parallel.pmean(gradient))
        return moved, loss, out.aux, out.metrics

    return jax.vmap(one, axis_name=parallel.AXIS)(views)


@pytest.mark.parametrize("name, static, values", CASES)
def test_objectives(name, static, values):
    program = jax.jit(functools.partial(step, name, static), compiler_options=QUICK)
    views = parallel.shard(given_views(), 1)
    for numbers in values:
        plain = jax.jit(functools.partial(step, name, static, numbers), compiler_options=QUICK)
        for number in (0, 3):
            found, want = jax.device_get((program(numbers, number, views), plain(number, views)))
            assert np.isfinite(found[1]).all()
            jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6),
                         found, want)  # fmt: skip


def test_a_traced_alpha_of_0_mixes_nothing():
    """To the bit: images, shares and with them the loss are those without mixing."""
    program = jax.jit(functools.partial(step, "supervised", {}), compiler_options=QUICK)
    views = parallel.shard(given_views(), 1)
    plain = jax.jit(functools.partial(step, "supervised", {}, {}), compiler_options=QUICK)
    found = program(dict.fromkeys(TWO, 0.0), 0, views)
    jax.tree.map(np.testing.assert_array_equal, found, plain(0, views))
    places = jnp.arange(50)

    @functools.partial(jax.jit, compiler_options=QUICK)
    def shares(alpha):
        over = jax.vmap(lambda p: mixing.beta(KEY, alpha, p), axis_name=parallel.AXIS)
        return over(places[None])[0]

    assert (shares(0.0) == 1).all() and shares(0.3).std() > 0.2


@pytest.mark.parametrize("length", [0.0, 4.0, 2.5])
def test_ramps(length):
    steps = range(6)
    ramp = jax.jit(base.linear_ramp)
    found = [float(ramp(s, length)) for s in steps]
    np.testing.assert_array_equal(found, [float(base.linear_ramp(s, length)) for s in steps])
    want = [min(s / length, 1) if length else 1 for s in steps]
    np.testing.assert_allclose(found, want, rtol=1e-6)


# --- optimisers and rates ---

PARAMS = {"conv": {"kernel": jnp.arange(6.0).reshape(2, 3) - 2, "bias": jnp.ones(3)}}
GRADIENTS = jax.tree.map(lambda p: 0.3 * p - 0.1, PARAMS)
COMMON = [  # a clip of 0.5 acts, one of 5 does not
    {"weight_decay": 0.1, "clip_norm": 0.5},
    {"weight_decay": 0.0, "clip_norm": 5.0},
    {"weight_decay": 0.1, "clip_norm": 0.0},
]
OWN = {"sgd": ("momentum",), "adam": ("b1", "b2"), "adamw": ("b1", "b2"),
       "rmsprop": ("decay", "momentum")}  # fmt: skip


def stepped(name, numbers, peak=0.1):
    """The parameters after two steps."""
    rate = named.build("rate", {"name": "cosine", "peak": peak}, total_steps=4)
    tx = named.build("optimizer", {"name": name, "rate": rate, **numbers})
    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(2):
        updates, state = tx.update(GRADIENTS, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    return params


@pytest.mark.parametrize("name", sorted(named.parts("optimizer")))
def test_optimisers(name):
    assert 0.5 < optax.tree.norm(GRADIENTS) < 5
    program = jax.jit(functools.partial(stepped, name), compiler_options=QUICK)
    for common, memory in zip(COMMON, (0.9, 0.0, 0.3), strict=True):
        numbers = common | dict.fromkeys(OWN[name], memory)
        plain = jax.jit(functools.partial(stepped, name, numbers), compiler_options=QUICK)
        found, want = program(numbers, 0.3), plain(0.3)
        assert (found["conv"]["kernel"] != PARAMS["conv"]["kernel"]).all()
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), found, want)


@pytest.mark.parametrize("name", sorted(named.parts("rate")))
def test_rates(name):
    known = {"total_steps": 20, "info": INFO, "batch_size": 64}

    def rates(peak):
        rate = named.build("rate", {"name": name, "peak": peak}, **known)
        return jnp.stack([jnp.asarray(rate(s)) for s in (0, 3, 11, 19)])

    for peak in (0.3, 1e-4):
        np.testing.assert_allclose(jax.jit(rates)(peak), rates(peak), rtol=1e-6)
