"""What came out of a run: numbers on disk, and the words that say so at its start and its end."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lowlabel_jax.configuration.resolve import label
from lowlabel_jax.core import files, log, parallel
from lowlabel_jax.data.opened import images_of
from lowlabel_jax.data.source import Source
from lowlabel_jax.data.splits import Split
from lowlabel_jax.evaluation import evaluate
from lowlabel_jax.evaluation.calibration import temperature_scaling
from lowlabel_jax.evaluation.operating_points import operating_points
from lowlabel_jax.evaluation.scores import POSITIVE, scores
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs.restored import restored
from lowlabel_jax.state import TrainState
from lowlabel_jax.training import build, checkpoint


def score(
    config: Mapping[str, Any],
    state: TrainState,
    data: Source,
    split: Split,
    name: str,
    directory: Path,
) -> dict[str, Any]:
    """Evaluate on one set, by what the run's last phase was to do: restore images, or label them.

    data: what the last phase was shown, images or features.
    """
    if build.last_objective(config).task == "restoration":
        return restored.score(config, state, data, split, name, directory)
    return labelled(config, state, *images_of(data, split, name), name, directory)


def labelled(
    config: Mapping[str, Any],
    state: TrainState,
    images: Any,
    truth: np.ndarray,
    name: str,
    directory: Path,
) -> dict[str, Any]:
    """Evaluate a classifier on one set: eval/NAME.json and predictions/NAME.npz.

    The headline is fixed in advance: the averaged weights after the last step. The last weights
    themselves are reported beside it, never chosen between.
    """
    probs = evaluate.both(predictor(config, state.apply_fn), state, images)
    names = config["info"]["class_names"]
    raw = scores(probs["raw"], truth, names)
    numbers = {
        "split": name,
        "step": int(state.step),
        "weights": "ema",
        **scores(probs["ema"], truth, names),
        "accuracy_raw": raw["accuracy"],
        "ci95_raw": raw["ci95"],
    }
    if name == "test":
        numbers |= by_validation(directory, int(state.step), probs["ema"], truth)
    files.write_json(directory / "eval" / f"{name}.json", numbers)
    place = directory / "predictions" / f"{name}.npz"
    files.write_npz(place, label=truth, step=np.int64(state.step), **probs)
    return numbers


def by_validation(directory: Path, step: int, p: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """What a temperature and, of two classes, thresholds from the validation set give on the test
    set: p [n, k], truth [n]. Nothing where predictions/validation.npz is not of this step.
    """
    place = directory / "predictions" / "validation.npz"
    if not place.exists():
        return {}
    with np.load(place, allow_pickle=False) as kept:
        if "step" not in kept or kept["step"] != step:
            return {}
        known, label = kept["ema"], kept["label"]
    found: dict[str, Any] = {"temperature_scaling": temperature_scaling((known, label), p, truth)}
    if p.shape[1] == 2:
        found["operating_points"] = operating_points(
            (label == POSITIVE, known[:, POSITIVE]), (truth == POSITIVE, p[:, POSITIVE])
        )
    return found


def add_median(
    config: Mapping[str, Any],
    state: TrainState,
    images: Any,
    truth: np.ndarray,
    numbers: dict[str, Any],
    directory: Path,
) -> dict[str, Any]:
    """The test numbers with the median accuracy over the last checkpoints (EMA), in eval/test.json.

    What the FixMatch family's papers report, over 20: fixed in advance by config.median_of, and
    steadier than one step. images uint8 [n, h, w, c], truth [n].
    """
    predict, found = predictor(config, state.apply_fn), {}
    for step in checkpoint.steps(directory)[-config["median_of"] :]:
        probs = predict({"ema": checkpoint.read(directory, step, state).ema}, images)["ema"]
        found[step] = float((probs.argmax(1) == truth).mean())
    median = {"accuracy": float(np.median(list(found.values()))), "steps": found}
    numbers = {**numbers, "median": median}
    files.write_json(directory / "eval" / "test.json", numbers)
    return numbers


def predictor(config: Mapping[str, Any], apply_fn: Callable) -> evaluate.Predict:
    """The network as a function of images, on the run's devices."""
    devices = parallel.device_count(config["devices"])
    return evaluate.predictor(apply_fn, config["batch"]["evaluation"], devices)


def looker(
    config: Mapping[str, Any],
    phase: build.Phase,
    apply_fn: Callable,
    images: Any,
    label: np.ndarray,
) -> Callable[[TrainState], dict[str, float]]:
    """numbers(state): what a look at the validation set adds to metrics.jsonl, in a phase."""
    if phase.objective.task == "restoration":
        restore = restored.restorer(config, apply_fn, phase.objective)
        return lambda state: restored.look(config, phase.spec, restore(state.ema, images))
    predict = predictor(config, apply_fn)
    return lambda state: evaluate.validation_numbers(evaluate.both(predict, state, images), label)


def headlines(numbers: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """{"accuracy": {"test": 0.93}}: of each set its main number, as status.json has them."""
    found: dict[str, dict[str, float]] = {}
    for name, of in numbers.items():
        metric = of.get("headline", "accuracy")
        found.setdefault(metric, {})[name] = of[metric]
    return found


def introduction(config: Mapping[str, Any], directory: Path) -> str:
    """What is about to be trained, on what, for how long."""
    sizes, batch = config["info"]["sizes"], config["batch"]["labelled"]
    data = ", ".join(f"{n:,} {name}" for name, n in sizes.items() if n)
    steps = sum(spec["steps"] for spec in config["phases"])
    often = batch / sizes["labelled"]
    repeats = f" Each label stands about {often:.3g} times in a batch." if often > 1 else ""
    return (
        f"{directory}: {label(config)} with {config['model']['name']} on "
        f"{config['source']['name']} ({data}), {steps:,} steps, seed {config['seed']}.{repeats} "
        "Compiling the step (once) ..."
    )


def say_finished(
    directory: Path, config: Mapping[str, Any], numbers: Mapping[str, Mapping[str, Any]]
) -> None:
    """What came out, where it lies, what to do next."""
    for name, found in numbers.items():
        if found.get("task") == "restoration":
            log.say("\n".join(restored.words(found)))
            continue
        low, high = found["ci95"]
        log.say(
            f"{name} accuracy {found['accuracy']:.4f} (EMA weights; 95 % interval {low:.3f} to "
            f"{high:.3f} over {found['n']} images), raw weights {found['accuracy_raw']:.4f}"
        )
    if median := numbers.get("test", {}).get("median"):
        n = len(median["steps"])
        log.say(
            f"median test accuracy over the last {n} checkpoints {median['accuracy']:.4f} (EMA)"
        )
    more = ", pictures/" if (directory / "pictures").is_dir() else ""
    log.say(f"run: {directory}  (metrics.jsonl, eval/, predictions/, checkpoints/, tb/{more})")
    log.say("next: " + log.typed(f"lowlabel report {directory}"))


def say_complete(directory: Path) -> dict[str, Any]:
    """A finished run was asked for again: say how it ended, and touch nothing."""
    status = files.read_json(directory / "status.json")
    shown = rundir.headline(status)
    log.say(
        f"{directory} is already complete (step {status['step']}{', ' + shown if shown else ''})."
    )
    found = sorted((directory / "eval").glob("*.json"))
    return {path.stem: files.read_json(path) for path in found}
