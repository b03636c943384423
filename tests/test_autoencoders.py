"""Autoencoders: networks by hand and by Keras, losses by formula, draws by address, transfer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from sklearn.metrics import log_loss

from lowlabel_jax.core import named, parallel, tree
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.objectives import corruption, pixels
from lowlabel_jax.objectives import vae as vae_objective
from lowlabel_jax.objectives.base import Objective
from lowlabel_jax.ops import layers, restoring
from lowlabel_jax.ops.initialise import endpoints, initialise
from lowlabel_jax.state import create
from tests import keras_reference
from tests.linear import INFO
from tests.tiny import QUICK, World, assert_same
from tests.tiny_config import RESTORING

SIZES = ((28, 28, 1), (32, 32, 3), (33, 32, 1), (96, 96, 3), (150, 150, 3), (7, 1, 2))
MODELS = ("conv_autoencoder", "unet_autoencoder", "vae")
TUTORIAL = {"name": "conv_autoencoder", "padding": "VALID"}


def made(spec, shape=(28, 28, 1), classes=10):
    spec = {"name": spec} if isinstance(spec, str) else spec
    model = named.build("model", spec, num_classes=classes)
    return model, initialise(model, shape, 0)


def images(shape, n=3, seed=0):
    """[n, h, w, c] in [-1, 1]."""
    drawn = np.random.default_rng(seed).uniform(-1, 1, (n, *shape))
    return jnp.asarray(drawn, jnp.float32)


def quickly(fn, *given):
    """fn(*given) as one program that is compiled in little time: op by op takes longer."""
    return jax.jit(fn, compiler_options=QUICK)(*given)


def conv(given, found, size=3):
    return size * size * given * found + found


def dense(given, found):
    return given * found + found


# --- networks ------------------------------------------------------------------------------------


def test_the_tutorials_network_has_its_parameters():
    model, variables = made(TUTORIAL)
    encoder = conv(1, 16) + conv(16, 32) + conv(32, 64) + conv(64, 128)
    decoder = dense(128, 512) + conv(32, 64) + conv(64, 32) + conv(32, 16) + conv(16, 1)
    counts = {n: sum(x.size for x in jax.tree.leaves(p)) for n, p in variables["params"].items()}
    assert counts.pop("head") == dense(128, 10)
    assert sum(counts.values()) == encoder + decoder == 204_929
    assert counts["decoder"] == decoder


@pytest.mark.parametrize(
    "spec, shape, parameters",
    [
        ("conv_autoencoder", (33, 17, 3),  # the small map is 5 x 3
         conv(3, 16) + conv(16, 32) + conv(32, 64) + conv(64, 128)
         + dense(128, 5 * 3 * 32) + conv(32, 64) + conv(64, 32) + conv(32, 16) + conv(16, 3)),
        ("unet_autoencoder", (28, 28, 1),
         conv(1, 16) + conv(16, 16) + conv(16, 32) + conv(32, 32) + conv(32, 64) + conv(64, 64)
         + conv(96, 32) + conv(32, 32) + conv(48, 16) + conv(16, 16) + conv(16, 1, 1)),
        ({"name": "vae", "latent": 2}, (28, 28, 1),
         conv(1, 32) + conv(32, 64) + dense(7 * 7 * 64, 128) + 2 * dense(128, 2)
         + dense(2, 7 * 7 * 64) + conv(64, 64) + conv(64, 32) + conv(32, 1)),
    ],
)  # fmt: skip
def test_networks_have_their_parameters(spec, shape, parameters):
    _, variables = made(spec, shape)
    head = variables["params"].pop("head")
    assert sum(x.size for x in jax.tree.leaves(variables)) == parameters
    assert head["bias"].shape == (10,)


def test_the_tutorials_maps_have_their_sizes():
    model, variables = made(TUTORIAL)
    _, seen = jax.eval_shape(
        lambda v, x: model.apply(
            v, x, False, capture_intermediates=lambda m, _: isinstance(m, layers.Conv),
            mutable="intermediates",
        ),
        variables, images((28, 28, 1)),
    )  # fmt: skip
    sizes = {
        name.removeprefix("intermediates/").split("/__call__")[0]: x.shape[1:]
        for name, x in tree.named_leaves(seen).items()
    }
    assert sizes == {
        "conv_1": (28, 28, 16), "conv_2": (14, 14, 32), "conv_3": (7, 7, 64),
        "conv_4": (3, 3, 128), "decoder/conv_1": (4, 4, 64), "decoder/conv_2": (8, 8, 32),
        "decoder/conv_3": (14, 14, 16), "decoder/image": (28, 28, 1),
    }  # fmt: skip


def keras_tutorial():
    """The tutorial's network as it stands there."""
    import keras
    from keras import layers as kl

    inputs = keras.Input((28, 28, 1))
    x = inputs
    for i, channels in enumerate((16, 32, 64, 128), 1):
        x = kl.MaxPooling2D(2)(x) if i > 1 else x
        x = kl.Conv2D(channels, 3, activation="relu", padding="same", name=f"conv_{i}")(x)
    x = kl.GlobalAveragePooling2D()(x)
    x = kl.Reshape((4, 4, 32))(kl.Dense(512, activation="relu", name="decoder_dense")(x))
    for i, (channels, padding) in enumerate(((64, "same"), (32, "same"), (16, "valid")), 1):
        name = f"decoder_conv_{i}"
        x = kl.Conv2D(channels, 3, activation="relu", padding=padding, name=name)(x)
        x = kl.UpSampling2D(2)(x)
    x = kl.Conv2D(1, 3, activation="sigmoid", padding="same", name="decoder_image")(x)
    return keras.Model(inputs, x)


def test_the_tutorials_network_is_keras_network():
    with jax.numpy_rank_promotion("allow"):
        theirs = keras_tutorial()
    assert theirs.count_params() == 204_929
    keras_reference.randomise(theirs, 0)
    model, variables = made(TUTORIAL)
    for name, value in keras_reference.tensors(theirs).items():
        layer, leaf = name.split("/")
        place = variables["params"]
        for part in layer.replace("decoder_", "decoder/").split("/"):
            place = place[part]
        assert place[leaf].shape == value.shape
        place[leaf] = value
    shown = images((28, 28, 1))
    expected = keras_reference.outputs(theirs, (shown + 1) / 2)
    _, ends = quickly(lambda v, x: model.apply(v, x, False), variables, shown)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(jax.nn.sigmoid(ends["restored"]), expected, atol=2e-6)


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_images_of_any_size_are_restored_at_that_size(name, shape):
    model = named.build("model", {"name": name}, num_classes=3)
    ends = endpoints(model, shape)
    assert ends["restored"].shape == (1, *shape) and ends["restored"].dtype == jnp.float32
    assert ends["features"].ndim == 2 and ends["last_conv"].ndim == 4
    if name == "vae":
        assert ends["mean"].shape == ends["log_variance"].shape == ends["features"].shape


@pytest.mark.parametrize("name", MODELS)
def test_the_decoder_is_the_first_stage_and_the_head_the_last(name):
    model, variables = made({"name": name, "channels": (4, 8)}, (8, 8, 1))
    assert set(variables["params"]) == set(model.stages)
    assert model.stages[0] == "decoder" and model.stages[-1] == "head"


@pytest.mark.parametrize("name", MODELS)
def test_restoring_leaves_the_head_alone_and_classifying_the_decoder(name):
    model, variables = made({"name": name, "channels": (4, 8)}, (9, 8, 1))

    def total(params, what):
        rngs = {"dropout": jax.random.key(0)}
        logits, ends = model.apply({"params": params}, images((9, 8, 1)), True, rngs=rngs)
        return {"logits": logits, **ends}[what].sum()

    def slopes(params):
        return [jax.grad(total)(params, what) for what in ("restored", "logits")]

    found = quickly(slopes, variables["params"])
    for slope, still in zip(found, ({"head"}, {"decoder", "log_variance"}), strict=True):
        sizes = {stage: float(optax.tree.norm(g)) for stage, g in slope.items()}
        assert all(np.isfinite(size) for size in sizes.values())
        assert {stage for stage, size in sizes.items() if size == 0} == still & set(sizes)


@pytest.mark.slow
def test_the_half_precision_network_restores_in_float32():
    model, variables = made({"name": "unet_autoencoder", "dtype": "bfloat16"}, (8, 8, 1))
    plain, _ = made({"name": "unet_autoencoder"}, (8, 8, 1))
    ends, exact = (
        quickly(lambda v, x, m=m: m.apply(v, x, False)[1], variables, images((8, 8, 1)))
        for m in (model, plain)
    )
    assert ends["last_conv"].dtype == jnp.bfloat16 and ends["restored"].dtype == jnp.float32
    np.testing.assert_allclose(ends["restored"], exact["restored"], atol=0.1)


@pytest.mark.parametrize("shape", [(12, 28, 1), (20, 36, 3)], ids=str)
def test_the_tutorials_arithmetic_fits_other_sides_too(shape):
    model = named.build("model", TUTORIAL, num_classes=3)
    assert endpoints(model, shape)["restored"].shape == (1, *shape)


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 27, 1), (4, 12, 1)], ids=str)
def test_sides_that_the_tutorials_arithmetic_misses_are_said(shape):
    with pytest.raises(UserError, match=f"images of {shape[0]}x{shape[1]}") as caught:
        made(TUTORIAL, shape)
    assert "12, 20, 28" in caught.value.hint


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("channels", [(), (8, 0), (8, 1.5)])
def test_channels_that_are_none_are_said(name, channels):
    with pytest.raises(UserError, match="model.channels"):
        made({"name": name, "channels": channels})


def test_three_channels_are_too_few_for_the_tutorials_arithmetic():
    with pytest.raises(UserError, match="four channels or more"):
        made({**TUTORIAL, "channels": (4, 8, 8)})


def test_upsampling_repeats_pixels():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(restoring.upsample(x), x.repeat(2, 1).repeat(2, 2))
    np.testing.assert_array_equal(restoring.cropped(jnp.asarray(x), (2, 3)), x[:, :2, :3])


def over(devices, fn, *given):
    """fn over shards of given [n, …], one a device (vmap stands for them), joined again."""
    shards = [parallel.shard(x, devices) for x in given]
    found = quickly(jax.vmap(fn, axis_name=parallel.AXIS), *shards)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)


def test_a_code_is_drawn_by_address_from_its_distribution():
    means, log_variance = jnp.linspace(-1, 1, 4000), jnp.linspace(-2, 1, 4000)
    given = [jnp.stack([x, -x], 1) for x in (means, log_variance)]

    def sample(mean, log_variance, train=True):
        rngs = {"dropout": jax.random.key(3)}
        return restoring.Sample().apply({}, mean, log_variance, train, rngs=rngs)

    drawn, again = (over(devices, sample, *given) for devices in (1, 2))
    np.testing.assert_array_equal(drawn, again)
    noise = (drawn - given[0]) / jnp.exp(given[1] / 2)
    assert scipy.stats.kstest(np.ravel(noise), "norm").pvalue > 0.01
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.05
    np.testing.assert_array_equal(sample(*given, train=False), given[0])


# --- losses --------------------------------------------------------------------------------------


def test_losses_of_pixels_are_the_textbooks():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 3, 1), scale=4).astype(np.float32)
    grey = rng.uniform(size=logits.shape).astype(np.float32)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    found = pixels.pixel_loss("bce", logits, grey)
    np.testing.assert_allclose(found, -grey * np.log(p) - (1 - grey) * np.log1p(-p), rtol=1e-4)
    black = (grey > 0.5).astype(np.float32)
    mean = float(pixels.pixel_loss("bce", logits, black).mean())
    assert mean == pytest.approx(log_loss(black.ravel(), p.ravel()), rel=1e-5)
    np.testing.assert_allclose(
        pixels.pixel_loss("mse", logits, grey), (p - grey) ** 2, rtol=1e-4, atol=1e-7
    )
    extreme = jnp.array([-200.0, 200.0])
    for kind in ("bce", "mse"):
        slope = jax.grad(lambda x, kind=kind: pixels.pixel_loss(kind, x, jnp.ones(2)).sum())
        assert np.isfinite(slope(extreme)).all()


def test_psnr_is_in_decibels_of_a_peak_of_one():
    clean = jnp.full((3, 4, 4, 2), 0.5)
    shifted = clean + jnp.array([0.1, 0.0, 0.01]).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(pixels.psnr(shifted, clean), [20, 100, 40], rtol=1e-4)


def test_the_divergence_is_what_sampling_says():
    means, log_variance = jnp.array([[0.0, 0.7, -2.0]]), jnp.array([[0.0, -1.5, 0.8]])
    closed = vae_objective.divergence(means, log_variance)[0]
    rng, n = np.random.default_rng(0), 400_000
    for mu, lv, found in zip(means[0], log_variance[0], closed, strict=True):
        q = scipy.stats.norm(float(mu), float(np.exp(lv / 2)))
        z = q.rvs(n, random_state=rng)
        gaps = q.logpdf(z) - scipy.stats.norm.logpdf(z)
        assert float(found) == pytest.approx(gaps.mean(), abs=5 * gaps.std() / n**0.5 + 1e-6)
    assert float(closed[0]) == 0 < float(closed[1])


def test_free_bits_are_of_the_whole_batch_and_cost_no_gradient():
    """Dimension 0 lies below in the mean of all images, though not on the second device."""
    spent = jnp.array([[0.0, 2.0], [0.0, 1.0], [0.6, 0.1], [0.6, 0.5]])

    def one(spent):
        return (
            parallel.pmean(vae_objective.charged(spent, 0.4)),
            jax.grad(lambda s: vae_objective.charged(s, 0.4).sum())(spent),
        )

    charged, slope = quickly(jax.vmap(one, axis_name=parallel.AXIS), spent.reshape(2, 2, 2))
    np.testing.assert_allclose(charged, [[0.4, 0.9]] * 2, rtol=1e-6)
    np.testing.assert_array_equal(slope[..., 0], 0)
    np.testing.assert_array_equal(slope[..., 1], 0.5)


def test_units_that_all_images_share_are_not_active():
    """Of the whole batch: the last dimension is one number on each of the two devices."""
    same, near, apart = jnp.full(8, 3.0), jnp.linspace(0, 0.1, 8), jnp.repeat(jnp.arange(2.0), 4)
    means = jnp.stack([same, near, apart], 1)

    def one(means):
        return vae_objective.active_units(means).total[None]

    np.testing.assert_array_equal(over(2, one, means), [1, 1])


def network(variables, shown, **_):
    """Restored logits, mean and log-variance that can be followed by hand."""
    scale = variables["params"]["scale"]
    flat = shown.reshape(len(shown), -1)
    ends = {"restored": scale * shown, "mean": scale * flat, "log_variance": flat - 1}
    return (flat, ends), {"batch_stats": {}}


def called(name, views, devices=1, **options):
    """(loss, gradient by scale, metrics) of an objective on the network above, scale 0.7."""
    objective = named.build("objective", {"name": name, **options}, info=INFO)
    state = create({"params": {"scale": jnp.float32(0.7)}}, network, optax.sgd(0.1), (), 0)

    def one(weak):
        def loss(params):
            return objective.loss(params, state, {"weak": weak}, jax.random.key(5))

        (value, out), slope = jax.value_and_grad(loss, has_aux=True)(state.params)
        value, slope = parallel.pmean((value, slope["scale"]))
        return value, slope, parallel.psum(out.metrics)

    over_devices = jax.vmap(one, axis_name=parallel.AXIS)
    value, slope, metrics = quickly(over_devices, parallel.shard(views, devices))
    means = {key: float(m.total[0] / m.count[0]) for key, m in metrics.items()}
    return float(value[0]), float(slope[0]), means


def by_hand(shown, clean, scale=0.7):
    """(binary cross-entropy, squared error), each [n, values], of the network above in float64."""
    p = 1 / (1 + np.exp(-scale * np.asarray(shown, np.float64)))
    x = (np.asarray(clean, np.float64) + 1) / 2
    bce = -x * np.log(p) - (1 - x) * np.log(1 - p)
    return bce.reshape(len(x), -1), ((p - x) ** 2).reshape(len(x), -1)


@pytest.mark.parametrize("loss, place", [("bce", 0), ("mse", 1)])
def test_reconstruction_is_the_mean_over_pixels(loss, place):
    views = images((2, 3, 2), n=4)
    value, slope, metrics = called("reconstruction", views, devices=2, loss=loss)
    terms = by_hand(views, views)
    assert value == pytest.approx(terms[place].mean(), rel=1e-5)
    step = [by_hand(views, views, 0.7 + d)[place].mean() for d in (-1e-5, 1e-5)]
    assert slope == pytest.approx((step[1] - step[0]) / 2e-5, rel=1e-3)
    assert metrics["loss"] == metrics["loss/reconstruction"] == pytest.approx(value, rel=1e-6)
    expected = (-10 * np.log10(terms[1].mean(1))).mean()
    assert metrics["psnr"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss, place", [("bce", 0), ("mse", 1)])
def test_a_vaes_loss_is_the_bound(loss, place):
    views = images((2, 3, 1), n=4)
    value, _, metrics = called("vae", views, devices=2, loss=loss, beta=2.0, free_bits=0.3)
    restored = by_hand(views, views)[place].sum(1)
    flat = np.asarray(views, np.float64).reshape(4, -1)
    spent = 0.5 * ((0.7 * flat) ** 2 + np.exp(flat - 1) - 1 - (flat - 1))
    charged = np.maximum(spent.mean(0), 0.3)
    assert (charged == 0.3).any() and (charged > 0.3).any()
    assert value == pytest.approx(restored.mean() + 2 * charged.sum(), rel=1e-5)
    assert metrics["kl"] == pytest.approx(spent.sum(1).mean(), rel=1e-5)
    assert metrics["loss/reconstruction"] == pytest.approx(restored.mean(), rel=1e-5)
    assert metrics["active_units"] == (0.49 * flat.var(0) > 0.01).sum()


def test_denoising_shows_the_noisy_image_and_wants_the_clean_one():
    """Where every pixel is masked, what is restored is that of a black image, whatever it was."""
    views = images((2, 3, 1), n=4)
    value, _, _ = called("denoising", views, noise="masking", strength=1.0)
    assert value == pytest.approx(by_hand(-np.ones_like(views), views)[0].mean(), rel=1e-5)
    without, _, _ = called("denoising", views, strength=0.0)
    assert without == pytest.approx(by_hand(views, views)[0].mean(), rel=1e-5)


@pytest.mark.parametrize("noise", corruption.KINDS)
def test_noise_is_drawn_by_address(noise):
    views = images((4, 4, 1), n=8)
    one, two = (called("denoising", views, d, noise=noise, strength=0.5) for d in (1, 2))
    assert one[0] == pytest.approx(two[0], rel=1e-6) and one[1] == pytest.approx(two[1], rel=1e-5)


def test_equal_images_have_noise_of_their_own():
    alike = jnp.tile(images((4, 4, 1), n=1), (4, 1, 1, 1))
    four, two = (called("denoising", x, strength=0.5)[0] for x in (alike, alike[:2]))
    assert four != pytest.approx(two, rel=1e-6)


# --- corruption ----------------------------------------------------------------------------------

GREY = jnp.full((150, 150, 3), 0.4)


def corrupted(noise, strength, image=GREY):
    objective = named.build(
        "objective", {"name": "denoising", "noise": noise, "strength": strength}, info=INFO
    )
    return np.asarray(quickly(objective.corrupt, jax.random.key(1), image))


def test_gaussian_noise_is_normal_and_clipped():
    found = corrupted("gaussian", 0.5)
    assert found.min() == 0 and found.max() == 1
    inside = (found > 0) & (found < 1)
    for edge, share in ((0, scipy.stats.norm.cdf(-0.8)), (1, scipy.stats.norm.sf(1.2))):
        assert (found == edge).mean() == pytest.approx(share, abs=0.007)
    truncated = scipy.stats.truncnorm(-0.8, 1.2, 0.4, 0.5)
    assert scipy.stats.kstest(found[inside], truncated.cdf).pvalue > 0.01
    assert abs(np.corrcoef(found.reshape(-1, 3).T)[0, 1]) < 0.03


def test_salt_and_pepper_are_whole_pixels_and_as_often():
    found = corrupted("salt_and_pepper", 0.3)
    assert (found == found[..., :1]).all()
    for value in (0, 1):
        assert (found == value).mean() == pytest.approx(0.15, abs=0.01)
    assert ((found == 0) | (found == 1) | (found == np.float32(0.4))).all()


def test_masking_takes_whole_pixels():
    found = corrupted("masking", 0.3)
    assert (found == found[..., :1]).all() and (found == 0).mean() == pytest.approx(0.3, abs=0.013)
    assert ((found == 0) | (found == np.float32(0.4))).all()


def test_a_share_of_pixels_is_no_more_than_all():
    with pytest.raises(UserError, match="strength = 1.5 .* share of the pixels"):
        corrupted("masking", 1.5)
    assert corrupted("gaussian", 1.5).std() > 0.3


# --- in a run ------------------------------------------------------------------------------------


def test_restoring_objectives_say_so():
    for name in named.parts("objective"):
        objective = named.build("objective", {"name": name}, total_steps=9, info=INFO)
        assert (objective.task == "restoration") == (name in RESTORING)
    plain = Objective((), lambda *_: None)
    assert plain.task == "classification" and plain.needs == ()
    assert plain.corrupt(jax.random.key(0), GREY) is GREY


@pytest.mark.parametrize(
    "objective, model, hint",
    [
        ("denoising", "small_cnn", "unet_autoencoder"),
        ("vae", "conv_autoencoder", "use model.name=vae"),
    ],
)
def test_a_network_that_does_not_restore_is_said_before_anything_runs(objective, model, hint):
    with pytest.raises(UserError, match=f"'{objective}' looks at .* '{model}'") as caught:
        World(objective, f"--config.model.name={model}")
    assert hint in caught.value.hint


def test_features_of_a_backbone_cannot_be_restored():
    with pytest.raises(UserError, match="features='cached'"):
        World("reconstruction", "--config.features=cached")


def test_a_classifier_on_the_encoder_leaves_the_decoder_bit_by_bit():
    given = ("--config.model.name=unet_autoencoder", "--config.model.channels=(4, 8)")
    w = World("supervised", *given, "--config.train_from=down_1")
    before = jax.device_get(w.start().params)
    state, _ = w.run(w.start(), 2)
    assert_same(before["decoder"], state.params["decoder"])
    for stage in ("down_1", "down_2", "head"):
        pairs = zip(*map(jax.tree.leaves, (before[stage], state.params[stage])), strict=True)
        assert any((a != b).any() for a, b in pairs), stage
