"""Every setting of a run that is not an option of a named part: default, range, reason."""

from typing import Any, NamedTuple

from ml_collections import config_dict

from lowlabel_jax.core import named

Config = Any  # an ml_collections ConfigDict, whose attributes a type checker cannot know


class Key(NamedTuple):
    """One setting. A default of None is a whole number that follows another setting."""

    path: str
    default: Any
    rule: str
    why: str


KEYS = (
    Key("method", "", "str", "label in comparisons; empty: the objectives' names"),
    Key("seed", 0, "Natural", "the four seeds below follow it unless they are set"),
    Key("seeds.split", None, "Natural", "which images are labelled; runs pair by it"),
    Key("seeds.order", None, "Natural", "in which order images are seen"),
    Key("seeds.init", None, "Natural", "initial weights"),
    Key("seeds.augment", None, "Natural", "augmentation, dropout and noise"),
    Key("source", {"name": "digits"}, "", "where the images come from"),
    Key("split.labelled", {"per_class": 4}, "", "labels: per_class, total or fraction"),
    Key(
        "split.validation", {"total": 0}, "", "set aside from the labels' classes, never trained on"
    ),
    Key(
        "split.unlabelled_includes_labelled", True, "bool", "labelled images also serve unlabelled"
    ),
    Key("split.file", "", "str", "a split kept by another run, to share its labels"),
    Key("batch.labelled", 64, "Count", "labelled images a step, over all devices"),
    Key("batch.mu", 7, "Count", "unlabelled images a step, as a multiple of the labelled ones"),
    Key("batch.evaluation", 500, "Count", "images a step in evaluation; changes no number"),
    Key("augment.weak", {"name": "flip_shift"}, "", "weak view: labels and pseudo-labels"),
    Key("augment.strong", {"name": "standard"}, "", "strong view: what pseudo-labels teach"),
    Key("model", {"name": "small_cnn"}, "", "the network"),
    Key("objective", {"name": "supervised"}, "", "what is minimised"),
    Key("teacher", "", "str", "a finished run whose guesses teach this one (noisy_student)"),
    Key("optimizer", {"name": "sgd", "rate": {"name": "cosine_7_16"}}, "", "and its learning rate"),
    Key("ema.decay", 0.999, "Fraction", "memory of the averaged weights, which are what is scored"),
    Key("ema.warmup", True, "bool", "shorter memory early: min(decay, (1 + step) / (10 + step))"),
    Key("ema.batch_stats", False, "bool", "average BatchNorm statistics too; False as in FixMatch"),
    Key("length", {"steps": 1000}, "", "how long a phase lasts: steps, epochs or examples"),
    Key("patience", 0, "Natural", "end a phase after so many evaluations without gain; 0: never"),
    Key(
        "phases", {}, "", "by name: what a phase changes of objective, optimizer, length, patience"
    ),
    Key("order", (), "", "the phases' names in turn; empty: one phase, from the settings above"),
    Key("evaluate_every", 0, "Natural", "steps between looks at the validation set; 0: none"),
    Key("log_every", 20, "Count", "steps between lines of metrics.jsonl, each a mean over them"),
    Key("checkpoint.every", 200, "Count", "steps between checkpoints"),
    Key("checkpoint.keep", 2, "Count", "newest checkpoints kept, besides the best"),
    Key("median_of", 1, "Count", "checkpoints whose median is the headline; 1: only the last step"),
    Key("devices", 0, "Natural", "devices to use; 0: all"),
)

UNITS = {  # one of these keys stands in such a dict; setting another replaces it
    "length": {"steps": int, "epochs": float, "examples": int},
    "warmup": {"steps": int, "epochs": float, "examples": int},
    "labelled": {"per_class": int, "total": int, "fraction": float},
    "validation": {"per_class": int, "total": int, "fraction": float},
}


def base() -> Config:
    """A config with every key at its default. A config file changes what differs."""
    config = config_dict.ConfigDict()
    for key in KEYS:
        default = config_dict.placeholder(int) if key.default is None else key.default
        assign(config, key.path, default)
    return config


def assign(config: Any, path: str, value: Any) -> None:
    """Set a dotted path, making the sections on the way."""
    *sections, last = path.split(".")
    for section in sections:
        if section not in config:
            config[section] = {}
        config = config[section]
    if last in config:
        del config[last]  # the new value may be of another type than the old one
    config[last] = value


def kind_of(path: str) -> str:
    """Which kind of part stands at a dotted path ("objective", "phases.late.objective"), or ""."""
    *before, last = path.split(".")
    if before and before[-1] == "augment":
        return "augment"
    return last if last in named.PLACES and last != "augment" else ""
