"""Checkpoints: exact, verified, set aside when broken, never silently replaced."""

import errno
import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lowlabel_jax import state as states
from lowlabel_jax.core import tree
from lowlabel_jax.core.errors import SaveFailed, UserError
from lowlabel_jax.training import checkpoint
from lowlabel_jax.training.phases import Progress


def make(scale=1.0, width=64, dtype=np.float32, aux=()):
    """A small state with every kind of leaf: typed key, counters, optimiser memory, empty aux."""
    params = {"conv": {"kernel": np.full((3, width), scale, dtype), "bias": np.zeros(width, dtype)}}
    variables = {"params": params, "batch_stats": {"mean": np.arange(5.0, dtype=np.float32)}}
    return states.create(variables, lambda: None, optax.sgd(0.1, 0.9), aux, seed=3)


def save(directory, *steps, keep=9, best=None):
    for step in steps:
        checkpoint.save(directory, make(scale=step), Progress(step, best_step=best), keep)


def equal(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    for x, y in pairs:
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        assert np.asarray(x).dtype == np.asarray(y).dtype
        np.testing.assert_array_equal(x, y)


def test_what_is_saved_comes_back_leaf_by_leaf(tmp_path):
    state = make(2.5, aux={"seen": jnp.arange(7), "none": jnp.zeros((0, 3))})
    progress = Progress(12, 1, 4, 0.25, 8, 2, {"loss": [0.1, 3.0]})
    checkpoint.save(tmp_path, state, progress, keep=2)
    assert checkpoint.newest(tmp_path) == progress
    like = make(0.0, aux={"seen": jnp.zeros(7, int), "none": jnp.zeros((0, 3))})
    equal(checkpoint.read(tmp_path, 12, like), state)


def test_saving_a_step_again_is_no_error(tmp_path):
    save(tmp_path, 3)
    before = checkpoint.broken(tmp_path, 3)
    save(tmp_path, 3)
    assert before == checkpoint.broken(tmp_path, 3) == ""


def test_the_newest_and_the_best_are_kept(tmp_path):
    save(tmp_path, 1, keep=2)
    save(tmp_path, 2, 3, 4, 5, keep=2, best=2)
    assert checkpoint.steps(tmp_path) == [2, 4, 5]
    assert sorted(p.stem for p in (tmp_path / "manifests").iterdir()) == ["2", "4", "5"]


def largest(directory, step):
    found = (directory / "checkpoints" / str(step)).rglob("*")
    return max((p for p in found if p.is_file()), key=lambda p: p.stat().st_size)


def flip_a_bit(directory, step):
    path = largest(directory, step)
    data = bytearray(path.read_bytes())
    data[random.Random(0).randrange(len(data))] ^= 1
    path.write_bytes(data)


def truncate(directory, step):
    path = largest(directory, step)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose_a_file(directory, step):
    largest(directory, step).unlink()


def empty_the_metadata(directory, step):
    (directory / "checkpoints" / str(step) / "state" / "_METADATA").write_bytes(b"")


def tear_the_manifest(directory, step):
    (directory / "manifests" / f"{step}.json").write_text('{"state/d')


def forget_the_manifest(directory, step):
    (directory / "manifests" / f"{step}.json").unlink()


HARM = [
    flip_a_bit,
    truncate,
    lose_a_file,
    empty_the_metadata,
    tear_the_manifest,
    forget_the_manifest,
]


@pytest.mark.parametrize("harm", HARM)
def test_a_broken_checkpoint_is_set_aside_for_the_one_before(tmp_path, harm, capsys):
    save(tmp_path, 4, 8)
    harm(tmp_path, 8)
    assert checkpoint.newest(tmp_path).step == 4
    equal(checkpoint.read(tmp_path, 4, make()), make(scale=4))
    assert "checkpoint 8 failed verification" in capsys.readouterr().err
    assert len(list((tmp_path / "corrupt").iterdir())) == 1
    save(tmp_path, 8)  # orbax's manager would refuse this step in silence
    assert checkpoint.newest(tmp_path).step == 8


def test_all_broken_is_an_error_that_lists_each(tmp_path):
    save(tmp_path, 4, 8)
    flip_a_bit(tmp_path, 4)
    lose_a_file(tmp_path, 8)
    with pytest.raises(UserError, match=r"(?s)step 8: .*missing.*step 4: sha256 mismatch.*=never"):
        checkpoint.newest(tmp_path)


def test_leftovers_of_a_killed_save_are_removed_and_other_files_are_not(tmp_path):
    save(tmp_path, 4)
    folder = tmp_path / "checkpoints"
    (folder / "8").mkdir()
    (folder / "9.orbax-checkpoint-tmp").mkdir()
    (folder / "9.orbax-checkpoint-tmp" / "part").write_text("x")
    (folder / "notes.txt").write_text("mine")
    (folder / "mine").mkdir()
    checkpoint.clean(tmp_path)
    assert sorted(p.name for p in folder.iterdir()) == ["4", "mine", "notes.txt"]
    assert checkpoint.newest(tmp_path).step == 4


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoint.newest(tmp_path) is None


def test_another_model_is_refused_with_its_leaves(tmp_path):
    save(tmp_path, 4)
    with pytest.raises(
        UserError, match=r"params/conv/bias is float32\[64\], this run needs float32"
    ):
        checkpoint.read(tmp_path, 4, make(width=32))
    with pytest.raises(UserError, match="missing aux/new"):
        checkpoint.read(tmp_path, 4, make(aux={"new": jnp.zeros(3)}))


def test_another_dtype_is_refused_not_cast(tmp_path):
    save(tmp_path, 4)
    with pytest.raises(UserError, match=r"is float32\[64\], this run needs float16\[64\]"):
        checkpoint.read(tmp_path, 4, make(dtype=np.float16))


def test_a_later_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    save(tmp_path, 4)
    monkeypatch.undo()
    with pytest.raises(UserError, match="format 2, not 1"):
        checkpoint.newest(tmp_path)


def test_a_full_disk_is_said_before_anything_is_written(tmp_path, monkeypatch):
    save(tmp_path, 4)
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SaveFailed, match="disk full at .* MB needed, 0.0 MB free"):
        save(tmp_path, 8)
    monkeypatch.undo()
    assert checkpoint.newest(tmp_path).step == 4


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left"), ValueError("RESOURCE_EXHAUSTED: disk")]
)
def test_a_disk_that_fills_while_saving_is_said_too(tmp_path, monkeypatch, error):
    save(tmp_path, 4)

    class Full:
        def save(self, *_, **__):
            raise error

    monkeypatch.setattr(checkpoint, "_checkpointer", Full)
    with pytest.raises(SaveFailed, match="disk full") as caught:
        save(tmp_path, 8)
    assert caught.value.code == 1
    monkeypatch.undo()
    assert checkpoint.newest(tmp_path).step == 4


def test_leaves_have_names_that_differ():
    names = tree.named_leaves(make())
    assert len(names) == len(jax.tree.leaves(make())) and "params/conv/kernel" in names
