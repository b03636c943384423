"""How methods run the network and mix its images: whole batches, batches in turn, boxes, stores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowlabel_jax.core import parallel
from lowlabel_jax.objectives import forward, mixing
from lowlabel_jax.objectives.forward import in_turn, interleave, joint, separate, weak_and_strong
from lowlabel_jax.objectives.mixmatch import mixed_up
from lowlabel_jax.objectives.thresholds import write_last
from tests import papers
from tests.linear import TX, K, apply_fn, centred
from tests.tiny import World, leaves


def over(devices, fn, *parts):
    """fn(*parts) on so many devices, each with its share; what it returns in global order."""
    shards = [jnp.reshape(x, (devices, len(x) // devices, *x.shape[1:])) for x in parts]
    made = jax.vmap(fn, axis_name=parallel.AXIS)(*shards)
    return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), made)


def numbered(n, start=0):
    """n images that say their number, [n, 2, 2, 1]."""
    return jnp.broadcast_to(
        start + jnp.arange(n, dtype=jnp.float32)[:, None, None, None], (n, 2, 2, 1)
    )


def toy_state(network=apply_fn):
    """A state of the linear network, scale 1."""
    from lowlabel_jax.state import create

    variables = {"params": {"scale": jnp.ones(K)}, "batch_stats": {"seen": jnp.zeros(())}}
    return create(variables, network, TX, (), 0)


# --- whole batches -----------------------------------------------------------------------------


def test_the_two_forwards_and_their_batchnorm():
    """joint: one batch moves the statistics; separate: each for itself, the caller chooses."""
    w = World("supervised")
    state = w.start()
    images = [
        jnp.asarray(np.random.default_rng(i).normal(size=(4, 8, 8, 1)), jnp.float32)
        for i in range(2)
    ]
    (one, two), together = joint(state.params, state, *images, key=jax.random.key(0))
    alone, first = separate(state.params, state, images[0], jax.random.key(0))
    both, _ = separate(state.params, state, jnp.concatenate(images), jax.random.key(0))
    np.testing.assert_allclose(jnp.concatenate([one, two]), both, rtol=1e-6)
    assert not np.allclose(one, alone)  # normalised by another batch
    assert any((a != b).any() for a, b in zip(leaves(together), leaves(first), strict=True))


def test_views_of_one_batch_drop_different_units():
    """Dropout draws by address, and every view of a joint batch has addresses of its own."""
    w = World("supervised", "--config.model.dropout=0.5")
    state, image = w.start(), jnp.ones((4, 8, 8, 1))
    (one, two), _ = joint(state.params, state, image, image, key=jax.random.key(0))
    assert (np.asarray(one) != np.asarray(two)).any()


@pytest.mark.parametrize("split", [False, True])
def test_split_parts_the_weak_views_and_keeps_their_statistics_out(split):
    """On a network that takes the batch's mean off, it shows who was in the batch."""
    state, key = toy_state(centred), jax.random.key(0)
    views = {"labelled": numbered(2), "weak": numbered(4, 10), "strong": numbered(4, 20)}

    def run(*x):
        return weak_and_strong(state.params, state, dict(zip(views, x, strict=True)), key, split)

    made = jax.vmap(run, axis_name=parallel.AXIS)(*[x[None] for x in views.values()])
    logits, stats = jax.tree.map(lambda x: np.asarray(x[0]), made)
    batches = (("labelled", "strong"), ("weak",)) if split else (tuple(views),)
    for names in batches:
        mean = np.concatenate([views[name] for name in names]).mean(0)
        for name in names:
            found = logits[list(views).index(name)]
            np.testing.assert_allclose(
                found, (np.asarray(views[name]) - mean).reshape(-1, K), atol=1e-5
            )
    assert stats["seen"] == (6 if split else 10)


# --- batches in turn ---------------------------------------------------------------------------


@pytest.mark.parametrize("devices", [1, 2, 4])
@pytest.mark.parametrize("others", [1, 2, 3, 6])
def test_interleaving_is_its_own_inverse_on_any_number_of_devices(devices, others):
    """Of batch 0, every (others + 1)-th entry is its own; the others took one each in turn."""
    batches = [numbered(8, 100 * i)[:, 0, 0, 0] for i in range(others + 1)]
    there = over(devices, lambda *x: interleave(list(x)), *batches)
    for i, batch in enumerate(there):
        mine = [100 * (j % (others + 1)) + j for j in range(8)]
        back = [j if j % (others + 1) == i else 100 * i + j for j in range(8)]
        np.testing.assert_array_equal(batch, mine if i == 0 else back)
    back = over(devices, lambda *x: interleave(list(x)), *there)
    np.testing.assert_array_equal(back, batches)


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("kept", [0, -1])
def test_in_turn_gives_each_image_its_own_logits_and_keeps_one_batch_of_statistics(devices, kept):
    state = toy_state()
    parts = [numbered(4), numbered(12, 100), numbered(8, 200)]

    def run(*parts):
        return in_turn(state.params, state, list(parts), jax.random.key(0), kept)

    logits, stats = over(devices, run, *parts)
    for part, found in zip(parts, logits, strict=True):
        np.testing.assert_array_equal(found, part.reshape(-1, K))
    np.testing.assert_array_equal(stats["seen"], 4 // devices)  # of six batches of four


@pytest.mark.parametrize(("kept", "expected"), [(0, 0), (-1, 3)])
def test_in_turn_keeps_the_statistics_of_the_batch_it_says(kept, expected):
    """Statistics here are the batch's mean: of interleaved batches."""

    def means(variables, images, **_):
        return (images.reshape(len(images), K), {}), {"batch_stats": {"seen": images.mean()}}

    state = toy_state(means)
    parts = [numbered(4), numbered(12, 100)]
    _, stats = in_turn(state.params, state, parts, jax.random.key(0), kept)
    batches = [parts[0], *[parts[1][i::3] for i in range(3)]]
    np.testing.assert_allclose(stats["seen"], interleave(batches)[expected].mean(), rtol=1e-6)


def test_a_part_is_cut_so_that_devices_do_not_matter_and_joined_again():
    part = numbered(12)
    cut = over(1, lambda x: forward._cut(x, 4), part)
    assert [batch[:, 0, 0, 0].tolist() for batch in cut] == [
        [i + 3 * j for j in range(4)] for i in range(3)
    ]
    two = over(2, lambda x: forward._cut(x, 2), part)
    np.testing.assert_array_equal(two, cut)
    np.testing.assert_array_equal(forward._joined([jnp.asarray(x) for x in cut]), part)


# --- mixtures ----------------------------------------------------------------------------------


def test_what_is_shuffled_is_one_permutation_of_all_devices():
    parts, key = [numbered(4), numbered(8, 100)], jax.random.key(3)
    ends = {d: over(d, lambda *x: mixing.shuffled(key, *x), *parts) for d in (1, 2, 4)}
    whole = np.concatenate(ends[1])[:, 0, 0, 0]
    assert sorted(whole) == [0, 1, 2, 3, *range(100, 108)] and list(whole) != sorted(whole)
    for other in (2, 4):
        for a, b in zip(ends[1], ends[other], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("devices", [1, 2])
def test_mixed_targets_belong_to_mixed_images(devices):
    """Given the images as targets, both come out the same: one partner and one share for both."""
    parts, keys = [numbered(4), numbered(8, 100)], jax.random.split(jax.random.key(3))
    images, targets = over(devices, lambda *x: mixed_up(list(x), list(x), 0.75, keys), *parts)
    np.testing.assert_array_equal(np.concatenate(images), np.concatenate(targets))
    assert (np.abs(np.concatenate(images) - np.concatenate(parts)) > 0.01).any()


def test_an_image_is_nearer_to_itself_than_to_its_partner():
    """max(share, 1 - share): of a 1 among zeros, at least half is left."""
    keys = jax.random.split(jax.random.key(1))
    drawn = np.asarray(mixing.beta(keys[0], 0.75, jnp.arange(20)))
    place = drawn.argmin()
    one = jnp.zeros((20, 1)).at[place].set(1.0)
    (mixed,), _ = over(1, lambda x: mixed_up([x], [x], 0.75, keys), one)
    assert drawn[place] < 0.3  # so that the test can tell
    np.testing.assert_allclose(mixed[place, 0], 1 - drawn[place], rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 0.75, 4.0])
def test_shares_are_of_the_beta_distribution_one_for_each_address(alpha):
    from scipy import stats

    shares = np.asarray(mixing.beta(jax.random.key(1), alpha, jnp.arange(1000)))
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 0.01
    again = mixing.beta(jax.random.key(1), alpha, jnp.array([7, 3]))
    np.testing.assert_array_equal(again, shares[[7, 3]])


def test_cutmix_is_its_paper_also_at_the_border():
    """Zeros with a box of ones: the box is a rectangle, its share the pixels that are left."""
    n, h, w = 200, 7, 10
    share = np.random.default_rng(0).uniform(size=n).astype(np.float32)
    zeros = jnp.zeros((n, h, w, 2))
    made, left = mixing.paste(jax.random.key(0), zeros, zeros + 1, share, jnp.arange(n))
    made = np.asarray(made)
    np.testing.assert_array_equal(made[..., 0], made[..., 1])
    np.testing.assert_allclose(left, 1 - made.mean((1, 2, 3)), atol=1e-6)
    cut_off = 0
    for image, drawn, stays in zip(made[..., 0], share, left, strict=True):
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        sides = np.floor(np.sqrt(1 - drawn) * np.array([h, w])).astype(int)
        if not len(rows):
            assert 0 in sides and stays == 1
            continue
        assert image.sum() == len(rows) * len(columns)
        for found, side, end in ((rows, sides[0], h), (columns, sides[1], w)):
            assert len(found) <= side and found[-1] - found[0] == len(found) - 1
            assert len(found) == side or found[0] == 0 or found[-1] == end - 1
            cut_off += len(found) < side
        box = (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)
        target = papers.cutmix_target(np.eye(2)[:1], np.eye(2)[1:], box, h, w)
        np.testing.assert_allclose(target[0, 0], stays, atol=1e-6)
    assert cut_off > 20


def test_centres_of_boxes_reach_every_pixel():
    zeros, share = jnp.zeros((600, 3, 4, 1)), jnp.full(600, 0.85)  # a box of one pixel
    made, _ = mixing.paste(jax.random.key(2), zeros, zeros + 1, share, jnp.arange(600))
    counts = np.asarray(made).sum(0)[..., 0]
    assert counts.sum() == 600 and (counts > 25).all()


# --- stores ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (3,)])
def test_of_several_values_for_a_row_the_last_that_counts_stays(shape):
    rng = np.random.default_rng(0)
    store, values = rng.normal(size=(5, *shape)), rng.normal(size=(7, *shape))
    rows, where = np.array([1, 3, 1, 0, 3, 1, 2]), np.array([1, 1, 1, 0, 1, 0, 1], bool)
    expected = store.copy()
    for row, value, counts in zip(rows, values, where, strict=True):
        if counts:
            expected[row] = value
    found = write_last(*map(jnp.float32, (store,)), rows, jnp.float32(values), where)
    np.testing.assert_array_equal(found, expected.astype(np.float32))
