"""MODEL_CARD.md: what an exported network was trained on and reaches, from the run's own files.

Nothing is said that no file says: what is absent is named as absent. The front matter is that of
Hugging Face's model cards; the licence is left to whoever publishes.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lowlabel_jax.configuration.resolve import label
from lowlabel_jax.core import files
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs.pages.blocks import Block, Code, Heading, Points, Table, Text, markdown

SETS = ("labelled", "unlabelled", "validation", "test")
SCORES = (  # key in eval/test.json, name, what it is
    ("accuracy", "accuracy", "share of images whose likeliest class is theirs"),
    ("balanced_accuracy", "balanced accuracy", "mean recall of the classes"),
    ("macro_f1", "macro-F1", "mean F1 of the classes"),
    ("auroc", "AUROC", "ranking, mean over the classes"),
    ("nll", "NLL", "mean negative log-likelihood, in nats"),
    ("ece", "calibration error", "ECE, 15 bins of confidence"),
)


def card(directory: Path, config: Mapping[str, Any], said: Mapping[str, Any]) -> str:
    """The model card of a run as Markdown; said: what export.json says, less its files."""
    numbers = {name: _json(directory / "eval" / f"{name}.json") for name in ("validation", "test")}
    blocks = [
        Heading(f"{config['model']['name']} trained by {label(config)}", 1),
        *_purpose(config, said),
        *_data(config),
        *_training(directory, config),
        *_scores(numbers["test"], numbers["validation"]),
        *_limits(config, numbers["test"]),
        *_origin(directory, config, said),
    ]
    return front_matter(config, said, numbers["test"]) + markdown(blocks, directory)


def front_matter(
    config: Mapping[str, Any], said: Mapping[str, Any], test: Mapping[str, Any]
) -> str:
    """The YAML that Hugging Face reads; strings are quoted as JSON, which YAML takes."""
    classifies = said["task"] == "classification"
    task = "image-classification" if classifies else "image-to-image"
    data, name = (json.dumps(config[kind]["name"]) for kind in ("source", "model"))
    lines = ["---", "# license: not chosen; name one before you publish this", "library_name: jax"]
    lines += [f"pipeline_tag: {task}", "tags:", "- lowlabel_jax"]
    metric = test.get("headline", "accuracy")
    if metric in test:
        lines += ["model-index:", f"- name: {name}", "  results:"]
        lines += ["  - task:", f"      type: {task}", "    dataset:"]
        lines += [f"      name: {data}", f"      type: {data}", "      split: test"]
        lines += ["    metrics:", f"    - type: {metric}", f"      value: {test[metric]}"]
    return "\n".join([*lines, "---", "", ""])


def _purpose(config: Mapping[str, Any], said: Mapping[str, Any]) -> list[Block]:
    shape = "x".join(map(str, said["input"]["shape"][1:]))
    if said["task"] != "classification":
        return [Text(f"It restores images of {shape} pixels. It was not scored as a classifier.")]
    names = said["labels"]
    return [
        Text(f"It says which of {len(names)} classes an image of {shape} pixels belongs to."),
        Points([f"{k}: {name}" for k, name in enumerate(names)]),
    ]


def _data(config: Mapping[str, Any]) -> list[Block]:
    sizes, source = config["info"]["sizes"], config["source"]
    rows = [[name, f"{sizes[name]:,}"] for name in SETS if name in sizes]
    return [
        Heading("Data"),
        Text(f"Source: {source['name']}. Its origin, licence and consent are not recorded here."),
        Table(("set", "images"), rows, numbers=(1,)),
        Text(
            "Unlabelled images count the labelled ones, too, where the configuration says "
            "unlabelled_includes_labelled."
        ),
        Text(f"Fingerprint of the data: {config['data_fingerprint']}"),
    ]


def _training(directory: Path, config: Mapping[str, Any]) -> list[Block]:
    weights = config["pretrained"]["weights"]
    began = f"weights from {weights}" if weights else "random weights"
    phases = [
        f"phase {spec['name']}: objective {spec['objective']['name']}, {spec['steps']:,} steps"
        for spec in config["phases"]
    ]
    command = directory / "command.sh"
    typed = command.read_text(encoding="utf-8").splitlines()[-1] if command.exists() else ""
    how = [Code(typed)] if typed else [Text("The command is not recorded.")]
    return [Heading("Training"), Points([f"began with {began}", *phases]), *how]


def _scores(test: Mapping[str, Any], validation: Mapping[str, Any]) -> list[Block]:
    """What was measured on images that took no part in training."""
    blocks: list[Block] = [Heading("Scores on the test set")]
    if not test:
        return [*blocks, Text("There was no test set: how good it is was not measured.")]
    if "accuracy" not in test:
        return [*blocks, Text(_headline(test))]
    low, high = test["ci95"]
    rows = [[name, f"{test[key]:.4f}", what] for key, name, what in SCORES if _has(test, key)]
    rows[0][2] += f"; 95 % interval {low:.3f} to {high:.3f}"
    blocks += [
        Text(f"{test['n']:,} images, averaged weights, step {test['step']:,}."),
        Table(("score", "value", "what it is"), rows, numbers=(1,)),
        *_calibration(test),
        Heading("Class by class", 3),
        _classes(test["per_class"]),
    ]
    if validation:
        blocks.append(
            Text(
                f"Validation accuracy {validation['accuracy']:.4f} over {validation['n']:,} "
                "images, which may have steered the training."
            )
        )
    return blocks


def _headline(test: Mapping[str, Any]) -> str:
    by = test.get("headline", "")
    return f"{by} {test[by]:.4f} over {test['n']:,} images." if by in test else "Not recorded."


def _calibration(test: Mapping[str, Any]) -> list[Block]:
    found = test.get("temperature_scaling")
    if not found:
        return [Text("No temperature was fitted: probabilities are as the network gives them.")]
    return [
        Text(
            f"Of probabilities with a temperature of {found['temperature']:.3f}, fitted on "
            f"{found['fitted_n']} validation images, the calibration error is "
            f"{found['ece_scaled']:.4f}. The exported probabilities are without it."
        )
    ]


def _classes(classes: Sequence[Mapping[str, Any]]) -> Table:
    keys = ("recall", "precision", "f1")
    rows = [
        [one["name"], str(one["n"]), *("-" if one[k] is None else f"{one[k]:.3f}" for k in keys)]
        for one in classes
    ]
    return Table(("class", "n", "recall", "precision", "F1"), rows, numbers=(1, 2, 3, 4))


def _limits(config: Mapping[str, Any], test: Mapping[str, Any]) -> list[Block]:
    """What follows from the numbers and the kind of network, and no more."""
    labelled = config["info"]["sizes"]["labelled"]
    said = [
        f"It learnt from {labelled:,} labelled images; scores are of one draw of them, one seed.",
        "Every image gets one of its classes: it cannot say that an image shows none of them.",
        "Scores hold for images like those of the test set; none were measured on others.",
        "Whether it treats groups of people alike was not measured.",
    ]
    weak = [one["name"] for one in test.get("per_class", []) if one["n"] and one["recall"] < 0.5]
    few = [one["name"] for one in test.get("per_class", []) if one["n"] < 30]
    if weak:
        said.append(f"It misses more than half of: {', '.join(weak)}.")
    if few:
        said.append(f"Fewer than 30 test images, so hardly measured: {', '.join(few)}.")
    return [Heading("Limits"), Points(said if "accuracy" in test else said[2:4])]


def _origin(directory: Path, config: Mapping[str, Any], said: Mapping[str, Any]) -> list[Block]:
    made, status = _json(directory / "environment.json"), rundir.status(directory)
    versions = [f"{name} {made[name]}" for name in ("lowlabel_jax", "jax", "flax") if name in made]
    facts = [
        f"finished: {status.get('time', 'not recorded')}",
        f"software: {', '.join(versions) or 'not recorded'}",
        f"device: {made.get('device_kind', 'not recorded')}",
        f"commit: {made.get('commit') or 'not recorded'}"
        f"{' (with changes that are in no commit)' if made.get('dirty') else ''}",
        f"exported at step {said['step']:,} with JAX {said['jax']}",
        "licence: not chosen",
        "author, contact and intended use: not recorded",
    ]
    whole = json.dumps(config, indent=2)
    return [Heading("Origin"), Points(facts), Heading("Configuration", 3), Code(whole)]


def _has(numbers: Mapping[str, Any], key: str) -> bool:
    return numbers.get(key) is not None


def _json(place: Path) -> dict[str, Any]:
    return files.read_json(place) if place.exists() else {}
