"""Every config in configs/ loads, is right, and takes two small steps; its sweep is sound."""

import json
from pathlib import Path

import numpy as np
import pytest

from lowlabel_jax.configuration import check, load
from lowlabel_jax.configuration.argument import choose
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.runs.sweep import plan
from lowlabel_jax.runs.train import train
from tests import images
from tools import sha1_csv

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))
TINY = (
    "--config.length.steps=2",
    "--config.log_every=1",
    "--config.devices=1",
    "--config.batch.labelled=4",
    "--config.batch.mu=2",
)
SHAPES = {  # of data that is not here: (image shape, classes), by the source's dataset or its name
    "cifar10": ((32, 32, 3), 10),
    "cifar100": ((32, 32, 3), 100),
    "svhn_cropped": ((32, 32, 3), 10),
    "stl10": ((96, 96, 3), 10),
    "arrays": ((32, 32, 3), 10),
    "mnist_idx": ((28, 28, 1), 10),
}
PAPERS = {"cifar10": (40, 250, 4000), "cifar100": (400, 2500, 10_000), "svhn": (40, 250, 1000)}


def tiny(config):
    """Overrides with which a config takes two small steps."""
    has_warmup = "warmup" in config.optimizer.rate
    phases = [f"--config.phases.{name}.length.steps=2" for name in with_length(config)]
    return (*TINY, *["--config.optimizer.rate.warmup=0"] * has_warmup, *phases)


def with_length(config):
    """The phases that bring a length of their own."""
    return [name for name in config.order if "length" in config.phases[name]]


def noise(config, folder):
    """Overrides with which a config runs on noise, and the deepest nets as shallow ones."""
    source = {"test": "", **config.source.to_dict()}
    if source["name"] == "digits":
        return ()
    if source["name"] in LAYOUTS:
        found = ["pretrained.weights=", "image.size=32", *SMALL[config.model.name]]
        found += [
            f"split.labelled.{unit}=5" for unit in config.split.labelled if unit != "fraction"
        ]
        given = LAYOUTS[source["name"]](folder / "data", source)
        return (*given, *(f"--config.{override}" for override in found))
    shape, classes = SHAPES[source.get("dataset", source["name"])]
    each = 20 if config.split.normal_classes else 2  # of which some are held out
    rng, n = np.random.default_rng(0), each * classes
    sets = {f"x_{name}": rng.integers(0, 256, (n, *shape), np.uint8) for name in ("train", "test")}
    label = np.arange(n) % classes
    np.savez(folder / "noise.npz", **sets, y_train=label, y_test=label)
    found = ["source.name=arrays", f"source.path={folder / 'noise.npz'}"]
    found += [f"split.labelled.total={classes}"]
    if config.model.name == "wide_resnet":
        found += [f"model.depth={1 + 3 * config.model.groups}", "model.width=1"]
    return tuple(f"--config.{override}" for override in found)


def photos(root, places):
    """A small photo at each place, all of them different."""
    for seed, place in enumerate(places):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        images.saved(root / place, images.photo(seed=seed))


def in_folders(root, source):
    """Photos of two classes: a training and a validation set where the config names one."""
    sets = ("train", "validation") if source["test"] == "validation" else (".",)
    photos(root, [f"{s}/{c}/{i}.png" for s in sets for c in ("cats", "dogs") for i in range(20)])
    return (f"--config.source.path={root}",)


def as_food101(root, source):
    """Food-101's layout with two classes of eight and four photos."""
    ids = {"train": range(8), "test": range(8, 12)}
    lines = {s: [f"{c}/{i}" for c in ("pie", "cake") for i in of] for s, of in ids.items()}
    photos(root, [f"images/{line}.jpg" for these in lines.values() for line in these])
    lines |= {"classes": ["pie", "cake"], "labels": ["Pie", "Cake"]}
    (root / "meta").mkdir()
    for name, text in lines.items():
        (root / "meta" / f"{name}.txt").write_text("\n".join(text) + "\n")
    return (f"--config.source.path={root}",)


def in_a_table(root, source):
    """Class folders made into the table `objectId,value` by the tool that the config names."""
    photos(root / "photos", [f"{c}/{i}.png" for c in ("bad", "good") for i in range(60)])
    sha1_csv.main(root / "photos", root)
    return f"--config.source.path={root}/labels.csv", f"--config.source.images={root}/images"


SMALL = {  # networks for photos as small ones, without pretrained weights
    "vae": ("model.channels=(4,)", "model.units=8"),
    "vgg": ("model.width=4", "model.fc=8"),
    "efficientnet": (),
    "small_cnn": (),
}
ARGUMENTS = {  # configs whose argument changes what runs, beyond their default
    "cats_dogs": ("bottleneck", "finetune", "probe,labels=5"),
    "digits_denoise": ("transfer", "scratch", "probe"),
    "food101_transfer": ("probe,labels=5", "finetune,labels=5", "fixmatch,labels=5"),
    "mnist_denoise": ("transfer,unet", "probe"),
    "mnist_vae": ("latent=2",),
    "moderation_csv": ("scratch",),
    "own_images": ("probe", "finetune", "bit"),
}
LAYOUTS = {"folder": in_folders, "food101": as_food101, "table": in_a_table}
DEAR = (
    *("cifar10_fixmatch", "cifar10_small", "mnist_fixmatch", "digits_compare"),
    *("mnist_denoise", "mnist_vae", "mnist_anomaly"),
)
LIKE_CIFAR10 = ("cifar100_fixmatch", "stl10_fixmatch", "svhn_fixmatch")  # and as dear to compile


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(p, marks=[pytest.mark.slow] * (p.stem in (*DEAR, *LIKE_CIFAR10)))
        for p in CONFIGS
    ],
    ids=lambda p: p.stem,
)
def test_a_config_says_what_it_is_and_runs(path, tmp_path):
    config = load.load(str(path))
    check.check(config)
    assert (load.read_module(str(path)).__doc__ or "").strip()
    train(load.load(str(path), (*tiny(config), *noise(config, tmp_path))), tmp_path / "run")
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 2


@pytest.mark.parametrize(
    "name, which",
    [
        pytest.param(name, which, marks=[pytest.mark.slow] * (which != "bottleneck"))
        for name, all_of_them in ARGUMENTS.items()
        for which in all_of_them
    ],
)
def test_a_config_runs_with_its_arguments(name, which, tmp_path):
    file = f"{CONFIGS[0].parent / name}.py:{which}"
    config = load.load(file)
    check.check(config)
    train(load.load(file, (*tiny(config), *noise(config, tmp_path))), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "finished"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_a_sweep_names_its_runs_and_checks_them_all(path):
    if hasattr(load.read_module(str(path)), "sweep"):
        jobs = plan.plan(str(path), [])
        assert jobs and all(name.endswith(tuple("0123456789")) for name in jobs)


def of(name, which):
    """The config of a file in configs/ with its argument, checked, as a plain dict."""
    config = load.load(f"{CONFIGS[0].parent / name}.py:{which}")
    check.check(config)
    return config.to_dict()


@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.parametrize("budget, steps", [("paper", 2**20), ("short", 2**15), ("laptop", 1500)])
def test_the_papers_configs_have_the_papers_sizes(name, budget, steps):
    for labels in PAPERS[name]:
        config = of(f"{name}_fixmatch", f"labels={labels},budget={budget}")
        assert config["split"]["labelled"] == {"total": labels}
        assert config["length"] == {"steps": steps} and config["batch"]["labelled"] == 64
        assert config["optimizer"]["weight_decay"] == (1e-3 if name == "cifar100" else 5e-4)
        assert config["augment"]["strong"]["name"] == "fixmatch_ra"
        for view in ("weak", "strong"):
            assert config["augment"][view]["flip"] is (name != "svhn")


@pytest.mark.parametrize(
    "name, model",
    [
        ("cifar10", dict(depth=28, width=2, groups=3)),
        ("cifar100", dict(depth=28, width=8, groups=3)),
        ("svhn", dict(depth=28, width=2, groups=3)),
        ("stl10", dict(depth=37, width=2, groups=4)),
    ],
)
def test_the_papers_budget_is_the_papers_recipe(name, model):
    config = of(f"{name}_fixmatch", "budget=paper")
    assert config["model"].items() >= {"momentum": 0.999, "epsilon": 1e-3, **model}.items()
    assert config["batch"]["mu"] == 7
    assert config["ema"] == {"decay": 0.999, "warmup": False, "batch_stats": False}
    rate = {"name": "cosine_7_16", "peak": 0.03, "warmup": 0}
    wanted = {"name": "sgd", "momentum": 0.9, "nesterov": True, "rate": rate}
    assert config["optimizer"].items() >= wanted.items()
    wanted = {"threshold": 0.95, "weight": 1.0, "align": False, "ramp": 0.0, "split": False}
    assert config["objective"].items() >= wanted.items()


def test_an_argument_chooses_among_known_values():
    known = dict(labels=(40, 250), budget=("paper", "laptop"))
    assert choose("", **known) == {"labels": 40, "budget": "paper"}
    assert choose("budget=laptop,labels=250", **known) == {"labels": 250, "budget": "laptop"}
    assert choose("laptop", **known) == {"labels": 40, "budget": "laptop"}
    twice = dict(a=("x", "y"), b=("y", "z"))
    assert choose("x,z", **twice) == {"a": "x", "b": "z"}
    with pytest.raises(UserError, match="no argument 'y'"):  # whose?
        choose("y", **twice)


@pytest.mark.parametrize(
    "text, message, hint",
    [
        ("label=40", "no argument 'label=40'. Did you mean 'labels'", "labels=40|250,budget=paper"),
        ("250", "no argument '250'", "write --config=FILE:"),
        ("laptp", "no argument 'laptp'. Did you mean 'laptop'", "write --config=FILE:"),
        ("labels=41", "labels = '41' is none", "there are: 40, 250"),
        ("budget=papr", "budget = 'papr' .* Did you mean 'paper'", "paper, laptop"),
    ],
)
def test_an_argument_that_is_not_known_is_said(text, message, hint):
    with pytest.raises(UserError, match=message) as caught:
        choose(text, labels=(40, 250), budget=("paper", "laptop"))
    assert hint in caught.value.hint
