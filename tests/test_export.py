"""Exports of finished runs: the same probabilities, without the run; and every refusal."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict
from jax import export as jax_export
from safetensors.numpy import load_file

import lowlabel_jax
from lowlabel_jax import cli
from lowlabel_jax.core import files, named
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.ops import convolution
from lowlabel_jax.ops.initialise import initialise
from lowlabel_jax.runs.export import export as run_export
from lowlabel_jax.runs.export import export_format, export_program, exported
from lowlabel_jax.runs.train import train
from lowlabel_jax.training import networks
from tests import images
from tests.test_own_images import on, photos

ROOT = Path(__file__).parent.parent
SMALL = (
    ("small_cnn", {"channels": (4, 8), "pool": (True, True), "head": "flatten"}, 12),
    ("cifar_resnet", {"depth": 8}, 16),
)
FAMILIES = (  # (model, options, side): the rest of them
    ("resnet", {"depth": 18}, 32),
    ("resnet", {"depth": 50, "width": 16}, 32),
    ("wide_resnet", {"depth": 10, "width": 1}, 16),
    ("mobilenet_v1", {"width": 0.25}, 32),
    ("mobilenet_v2", {"width": 0.35}, 32),
    ("efficientnet", {"size": "lite0"}, 32),
    ("vgg", {"width": 8, "fc": 32}, 32),
    ("vit", {"size": "tiny", "patch": 16}, 32),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """The directory of a finished run whose crops leave a margin out."""
    directory = tmp_path_factory.mktemp("runs") / "mine"
    crops = ("--config.image.crop=random", "--config.image.margin=3", "--config.length.steps=2")
    train(on(folder, *crops, "--config.split.validation.fraction=0.25"), directory)
    return directory


@pytest.fixture(scope="module")
def run(finished):
    return lowlabel_jax.load(finished)


@pytest.fixture(scope="module")
def said(finished):
    """export.json of the run's export."""
    return run_export.export(finished)


@pytest.fixture
def copy(finished, said, tmp_path):
    """A copy of the export, to be spoilt."""
    return shutil.copytree(finished / "export", tmp_path / "copy")


@pytest.fixture(scope="module")
def network(finished):
    return run_export.network_of(finished)


def paths_of(folder):
    return [str(path) for path in sorted(folder.rglob("*.png"))[::5]]


def rewritten(folder, change):
    """export.json changed by someone who knows how its digest is made."""
    told = files.read_json(folder / "export.json")
    change(told)
    told["sha256"] = export_format.digest(told)
    files.write_json(folder / "export.json", told)


# --- the same numbers -----------------------------------------------------------------------------


def test_an_export_says_what_its_run_says(folder, finished, run, said):
    paths = paths_of(folder)
    alone = lowlabel_jax.load_export(finished / "export")
    np.testing.assert_allclose(
        alone.probabilities(paths), run.probabilities(paths), rtol=0, atol=1e-5
    )
    ours, theirs = alone.predict(paths), run.predict(paths)
    assert [row["path"] for row in ours] == paths
    for one, other in zip(ours, theirs, strict=True):
        assert [c["label"] for c in one["topk"]] == [c["label"] for c in other["topk"]]
    found = np.concatenate([part.features for part in alone.parts(paths, features=True)])
    np.testing.assert_allclose(found, run.embeddings(paths), rtol=0, atol=1e-5)
    assert repr(alone).endswith("2 classes, images 16x16x3>")


def test_one_unreadable_image_spoils_no_other(folder, finished, said, tmp_path):
    broken = tmp_path / "a.jpg"
    broken.write_bytes(b"<html>")
    alone = lowlabel_jax.load_export(finished / "export")
    rows = alone.predict([str(broken), *paths_of(folder)[:2]])
    assert "it is not a JPEG" in rows[0]["error"] and rows[0]["topk"] == []
    assert [row["error"] for row in rows[1:]] == [None, None]
    (part,) = alone.parts([str(broken)], features=True)
    assert np.isnan(part.probs).all() and part.features.shape == (1, 8)


@pytest.mark.parametrize("n", [1, 3, 64])
def test_the_bare_program_takes_any_number_of_images(n, finished, run, said):
    program = jax_export.deserialize(bytearray((finished / "export/model.stablehlo").read_bytes()))
    batch = np.random.default_rng(n).integers(0, 256, (n, 16, 16, 3), np.uint8)
    found = program.call(batch)
    wanted = run.guesser(64, True)(batch)
    for name, expected in zip(("probabilities", "features"), wanted, strict=True):
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-5)
    assert program.platforms == ("cpu", "cuda")


def random_network(name, options, size):
    """(model, variables) with random running statistics: zeros and ones would hide a wrong one."""
    model = named.build("model", {"name": name, **options}, num_classes=5)
    rng = np.random.default_rng(0)
    variables = initialise(model, (size, size, 3), seed=0)

    def drawn(path, leaf):
        is_mean = path[-1].key == "mean"
        return rng.normal(0, 0.1, leaf.shape) if is_mean else rng.uniform(0.5, 1.5, leaf.shape)

    stats = jax.tree_util.tree_map_with_path(drawn, variables.get("batch_stats", {}))
    variables = jax.tree.map(np.float32, {**variables, "batch_stats": stats})
    seen = np.float32(rng.uniform(-1, 1, (4, size, size, 3)))
    _, ends = jax.jit(lambda x: model.apply(variables, x, train=False))(seen)
    # Features of 50 layers that no training has tamed are in the hundreds: logits as training has.
    variables["params"]["head"]["kernel"] /= max(1, np.abs(ends["features"]).max())
    return model, variables


def compare(model, variables, size, program):
    """What a program finds in 1, 3 and 64 images against what the network says."""
    rng = np.random.default_rng(1)
    apply = jax.jit(lambda x: model.apply(variables, x, train=False))
    batch = rng.integers(0, 256, (64, size, size, 3), np.uint8)
    logits, ends = apply((batch / 127.5 - 1).astype(np.float32))
    probs, features = np.asarray(jax.nn.softmax(logits)), np.asarray(ends["features"])
    assert np.ptp(probs, axis=0).max() > 1e-3  # the network is alive: it tells images apart
    for n in (1, 3, 64):
        found = program(batch[:n])
        np.testing.assert_allclose(found["probabilities"], probs[:n], rtol=0, atol=1e-5)
        scale = np.abs(features).max()
        np.testing.assert_allclose(found["features"], features[:n], rtol=0, atol=1e-5 * scale)


def parity(name, options, size):
    """A network against what is exported of it."""
    model, variables = random_network(name, options, size)
    made = export_program.program(model.apply, "classification", variables)
    data = bytes(export_program.stablehlo(made, (size, size, 3)).serialize())
    compare(model, variables, size, export_program.loaded(data))


@pytest.mark.parametrize("name, options, size", SMALL, ids=[row[0] for row in SMALL])
def test_networks_are_exported_for_any_batch(name, options, size):
    parity(name, options, size)


@pytest.mark.slow
@pytest.mark.parametrize("name, options, size", FAMILIES, ids=lambda value: str(value))
def test_all_families_are_exported_for_any_batch(name, options, size):
    parity(name, options, size)


def test_cuda_gets_grouped_convolutions_and_the_cpu_its_own():
    def depthwise(variables, images, train):
        from lowlabel_jax.ops.depthwise import depthwise_conv2d

        y = depthwise_conv2d(images, variables["kernel"])
        return y.mean((1, 2)), {"features": y.mean((1, 2))}

    kernel = np.random.default_rng(0).normal(size=(3, 3, 1, 4)).astype(np.float32)
    made = export_program.program(depthwise, "classification", {"kernel": kernel})
    shape = jax.ShapeDtypeStruct((2, 6, 6, 4), np.uint8)
    for platform, grouped in (("cpu", False), ("cuda", True)):
        text = jax_export.export(jax.jit(made), platforms=[platform])(shape).mlir_module()
        assert ("feature_group_count = 4" in text) == grouped, platform
    assert convolution.implementation("auto") == "cpu"  # nothing stays behind


def test_the_same_run_gives_the_same_bytes_and_names_no_place(finished, said, tmp_path):
    run_export.export(finished, tmp_path / "again")
    for name in ("model.stablehlo", "model.safetensors", "export.json", "README.md"):
        again = (tmp_path / "again" / name).read_bytes()
        assert again == (finished / "export" / name).read_bytes(), name
        assert os.fsencode(ROOT) not in again and b".py" not in again.replace(b"jax.py", b""), name


def test_the_weights_alone_give_the_same(folder, finished, run, said):
    kept = load_file(finished / "export" / "model.safetensors")
    assert all(name.startswith(("params/", "batch_stats/")) for name in kept)
    variables = unflatten_dict(kept, sep="/")
    model = networks.network(run.config)
    batch = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    logits, _ = model.apply(variables, (batch / 127.5 - 1).astype(np.float32), train=False)
    np.testing.assert_allclose(
        jax.nn.softmax(logits), run.guesser(4, False)(batch)[0], rtol=0, atol=1e-5
    )


def test_layers_of_objectives_stay_behind():
    ema = {"params": {"head": {"bias": np.ones(2)}, networks.HEADS: {"kernel": np.ones(2)}}}
    kept = run_export.without_heads({**ema, "batch_stats": {"norm": {"mean": np.zeros(1)}}})
    assert set(kept["params"]) == {"head"} and set(kept["batch_stats"]) == {"norm"}


def test_a_restoring_network_gives_images_and_no_probabilities():
    model = named.build("model", {"name": "vae", "latent": 2, "channels": (4,), "units": 4},
                        num_classes=3)  # fmt: skip
    variables = initialise(model, (8, 8, 1), seed=0)
    made = export_program.program(model.apply, "restoration", variables)
    data = bytes(export_program.stablehlo(made, (8, 8, 1)).serialize())
    batch = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
    found = export_program.loaded(data)(batch)
    _, ends = model.apply(variables, (batch / 127.5 - 1).astype(np.float32), train=False)
    assert set(found) == {"restored", "features"}
    wanted = 1 / (1 + np.exp(-np.asarray(ends["restored"])))
    np.testing.assert_allclose(found["restored"], wanted, rtol=0, atol=1e-5)


# --- without lowlabel_jax -------------------------------------------------------------------------


def test_the_readmes_program_runs_without_lowlabel_jax(finished, run, copy):
    picture = images.photo(16, 16, seed=3)  # of the network's size: nothing is cut or resized
    images.saved(copy / "photo.jpg", picture)
    readme = (copy / "README.md").read_text(encoding="utf-8")
    program = re.findall(r"```python\n(.*?)```", readme, re.S)[0]
    assert "lowlabel" not in program
    blocked = "import sys\nsys.modules['lowlabel_jax'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + program], cwd=copy, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    from PIL import Image

    with Image.open(copy / "photo.jpg") as photo:
        shown = np.asarray(photo.convert("RGB"))
    wanted = run.guesser(1, False)(shown[None])[0][0]
    assert {name: float(value) for name, value in said.items()} == pytest.approx(
        dict(zip(run.class_names, wanted, strict=True)), abs=6e-4
    )


def test_the_commands(folder, finished, said, capsys, tmp_path):
    out = tmp_path / "out"
    assert cli_run("export", finished, "--out", out, "--format", "stablehlo") == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "MODEL_CARD.md", "README.md", "export.json", "model.stablehlo"]  # fmt: skip
    assert re.search(
        r"differs from the run by at most .* over 8 test images", capsys.readouterr().out
    )
    paths = paths_of(folder)[:3]
    assert cli_run("predict", "--exported", out, *paths, "--format", "json") == 0
    ours = json.loads(capsys.readouterr().out)
    assert cli_run("predict", finished, *paths, "--format", "json") == 0
    theirs = json.loads(capsys.readouterr().out)
    for one, other in zip(ours, theirs, strict=True):
        assert one["path"] == other["path"]
        for a, b in zip(one["topk"], other["topk"], strict=True):
            assert a["label"] == b["label"]
            assert a["probability"] == pytest.approx(b["probability"], abs=1e-5)


def cli_run(*words):
    """The exit code of a command line of lowlabel."""
    options = cli.parser().parse_args([str(word) for word in words])
    options.overrides = []
    return options.run(options)


# --- refusals -------------------------------------------------------------------------------------


def flipped(folder):
    path = folder / "model.stablehlo"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncated(folder):
    path = folder / "model.stablehlo"
    path.write_bytes(path.read_bytes()[:-10])


def missing(folder):
    (folder / "model.stablehlo").unlink()


def relabelled(folder):
    path = folder / "export.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"cats"', '"mice"'), encoding="utf-8")


def newer(folder):
    rewritten(folder, lambda told: told.update(format=2, lowlabel_jax="9.9"))


def unlisted(folder):
    rewritten(folder, lambda told: told["files"].pop("model.stablehlo"))


def elsewhere(folder):
    rewritten(folder, lambda told: told.update(platforms=["cuda"]))


def later_convention(folder):
    rewritten(folder, lambda told: told.update(calling_convention_version=99))


def restoring(folder):
    rewritten(folder, lambda told: told.update(task="restoration"))


def empty(folder):
    (folder / "export.json").unlink()


def no_export(folder):
    (folder / "export.json").write_text("[1]", encoding="utf-8")


@pytest.mark.parametrize(
    "spoil, message, hint",
    [
        (flipped, "model.stablehlo is not what was exported: its SHA-256 differs.", "copy it"),
        (truncated, "is not what was exported: its SHA-256 differs .* bytes, written", "copy it"),
        (missing, "model.stablehlo is missing", "lowlabel export RUN --overwrite"),
        (relabelled, "export.json was changed since it was written", "lowlabel export RUN"),
        (newer, "has format 2, and this version reads up to 1", "use lowlabel_jax 9.9 or later"),
        (unlisted, "exported without model.stablehlo", "--format stablehlo"),
        (elsewhere, "exported for cuda, and JAX computes on cpu here", "JAX_PLATFORMS"),
        (later_convention, "has calling convention 99 of jax.export", "use JAX "),
        (restoring, "restores images and knows no labels", "README.md"),
        (empty, "holds no export: there is no export.json", "lowlabel export RUN"),
        (no_export, "is no export.json of an export", "lowlabel export RUN"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_refused(spoil, message, hint, copy):
    spoil(copy)
    with pytest.raises(UserError, match=message) as refused:
        exported.Exported(copy)
    assert hint in refused.value.hint


def test_an_export_is_not_written_over(finished, said, copy, tmp_path):
    with pytest.raises(UserError, match="holds an export") as refused:
        run_export.export(finished)
    assert "--overwrite" in refused.value.hint
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="holds other files .first: thesis.tex"):
        run_export.export(finished, other, overwrite=True)
    run_export.export(finished, copy, ["safetensors"], overwrite=True)
    assert not (copy / "model.stablehlo").exists() and (copy / "model.safetensors").exists()
    assert "model.stablehlo" not in files.read_json(copy / "export.json")["files"]


@pytest.mark.parametrize("formats", [[], ["stablehlo", "stablehol"]])
def test_an_unknown_format_is_refused_before_any_work(formats, tmp_path):
    with pytest.raises(UserError, match="no format called"):
        run_export.export(tmp_path / "no run", formats=formats)


def test_a_program_that_differs_is_not_kept(finished, network, monkeypatch, tmp_path):
    load = export_program.loaded

    def off(data):
        program = load(data)
        return lambda x: {k: v + 2e-5 * (k == "probabilities") for k, v in program(x).items()}

    monkeypatch.setattr(export_program, "loaded", off)
    with pytest.raises(UserError, match="differs from the run by 2.0e-05"):
        run_export.export(finished, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_where_the_data_is_gone_random_images_are_compared(network, finished):
    gone = {**network.config, "source": {**network.config["source"], "path": "nowhere"}}
    batch, origin = run_export.images_for(gone, finished)
    assert (batch.shape, batch.dtype, origin) == ((64, 16, 16, 3), np.uint8, "random")
    batch, origin = run_export.images_for(network.config, finished)
    assert (batch.shape, origin) == ((8, 16, 16, 3), "test")


# --- ONNX, an extra -------------------------------------------------------------------------------


def test_without_the_extra_onnx_is_refused_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(UserError, match="needs jax2onnx, which is not installed") as refused:
        run_export.export(tmp_path / "no run", formats=["onnx"])
    assert "lowlabel_jax[onnx]" in refused.value.hint


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, options, size", [*SMALL, *FAMILIES[:1], *FAMILIES[3:5]], ids=lambda value: str(value)
)
@pytest.mark.filterwarnings("ignore")  # of jax2onnx's own making, at import and at work
def test_onnx_runtime_says_what_flax_says(name, options, size):
    pytest.importorskip("jax2onnx", reason="the extra onnx is not installed")
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    from lowlabel_jax.runs.export import export_onnx

    model, variables = random_network(name, options, size)
    told = {"model": {"name": name}, "info": {"image_shape": (size, size, 3)}}
    made = run_export.Network(told, 1, "classification", model.apply, variables)
    data = export_onnx.onnx(made)
    compare(model, variables, size, lambda batch: export_onnx.run(data, batch))


# --- the model card -------------------------------------------------------------------------------


def test_the_card_says_what_the_run_says(finished, said):
    card = (finished / "export" / "MODEL_CARD.md").read_text(encoding="utf-8")
    test = files.read_json(finished / "eval" / "test.json")
    low, high = test["ci95"]
    assert card.startswith("---\n# license: not chosen")
    assert f"\n      value: {test['accuracy']}\n---\n" in card
    assert f"| accuracy | {test['accuracy']:.4f} |" in card
    assert f"95 % interval {low:.3f} to {high:.3f}" in card
    for one in test["per_class"]:
        assert f"| {one['name']} | {one['n']} | {one['recall']:.3f} |" in card
    for name, n in run_config(finished)["info"]["sizes"].items():
        assert f"| {name} | {n} |" in card
    assert run_config(finished)["data_fingerprint"] in card
    assert (finished / "command.sh").read_text(encoding="utf-8").splitlines()[-1] in card
    assert "Fewer than 30 test images, so hardly measured: cats, dogs." in card


def test_a_card_names_what_is_absent(finished, said, network, tmp_path):
    from lowlabel_jax.runs.export import model_card

    card = model_card.card(tmp_path, network.config, said)
    assert "There was no test set: how good it is was not measured." in card
    assert "The command is not recorded." in card and "model-index" not in card
    assert "finished: not recorded" in card and "commit: not recorded" in card


def run_config(directory):
    return files.read_json(directory / "config.json")
