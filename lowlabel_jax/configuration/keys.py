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
    Key("image.size", 224, "Count", "side that images in files are resized to, in pixels"),
    Key(
        "image.crop",
        "centre",
        'Literal["centre", "random", "random_resized", "stretch"]',
        "which part of the file: a square, or stretch: all of it, out of proportion",
    ),
    Key("image.margin", 0, "Natural", "pixels left out on each side by the crops centre, random"),
    Key("image.smallest", 0.08, "Fraction", "least share of the area that random_resized takes"),
    Key(
        "image.resample",
        "area",
        'Literal["area", "bilinear", "bicubic", "lanczos"]',
        "how pixels are averaged",
    ),
    Key("image.channels", 3, "Literal[1, 3]", "3: RGB, 1: grey"),
    Key(
        "image.on_bad",
        "error",
        'Literal["error", "skip"]',
        "a file that cannot be read: refuse to begin, or leave it out before the split",
    ),
    Key("image.max_megapixels", 64.0, "Positive", "a larger image is taken for an attack"),
    Key("image.cache", True, "bool", "keep decoded images in the user's cache directory"),
    Key("split.labelled", {"per_class": 4}, "", "labels: per_class, total or fraction"),
    Key(
        "split.validation", {"total": 0}, "", "set aside from the labels' classes, never trained on"
    ),
    Key("split.test", {"total": 0}, "", "likewise, where the source brings no test set"),
    Key(
        "split.rule",
        "seeded",
        'Literal["seeded", "content", "sha1_id"]',
        "what sets an image aside: the seed; its own bytes; the last byte of its SHA-1 name",
    ),
    Key("split.balanced", False, "bool", "cut validation and test to as many of each class"),
    Key("split.folds", 0, "Natural", "parts of the labelled images for cross-validation; 0: none"),
    Key("split.fold", 0, "Natural", "which part validates, from 0"),
    Key("split.labelled_imbalance", 1.0, "Positive", "first class to last; below 1: last to first"),
    Key("split.unlabelled_imbalance", 1.0, "Positive", "likewise, of the unlabelled images"),
    Key("split.unknown_classes", (), "", "classes whose images are only ever unlabelled ones"),
    Key("split.normal_classes", (), "", "train on these alone and find all others: anomalies"),
    Key(
        "split.unlabelled_includes_labelled", True, "bool", "labelled images also serve unlabelled"
    ),
    Key("split.allow_fewer", False, "bool", "take what a class has where it has too few, and warn"),
    Key("split.allow_duplicates", False, "bool", "leave copies of measured images out of training"),
    Key("split.file", "", "str", "a split kept by another run, to share its labels"),
    Key("batch.labelled", 64, "Count", "labelled images a step, over all devices"),
    Key("batch.mu", 7, "Count", "unlabelled images a step, as a multiple of the labelled ones"),
    Key("batch.evaluation", 500, "Count", "images a step in evaluation; changes no number"),
    Key("batch.balanced", False, "bool", "every class equally often in the labelled batches"),
    Key(
        "feed.mode",
        "auto",
        'Literal["auto", "resident", "streamed"]',
        "images on the devices, or sent step by step; auto: what fits stays",
    ),
    Key("feed.limit_gib", 1.0, "Positive", "GiB of images on a device that still fit"),
    Key("feed.threads", 0, "Natural", "threads that read ahead in a streamed feed; 0: all cores"),
    Key("augment.weak", {"name": "flip_shift"}, "", "weak view: labels and pseudo-labels"),
    Key("augment.strong", {"name": "standard"}, "", "strong view: what pseudo-labels teach"),
    Key("model", {"name": "small_cnn"}, "", "the network"),
    Key("pretrained.weights", "", "str", "a file, or hf://owner/repo/file; empty: random weights"),
    Key("pretrained.pixels", "", "str", "what the weights were shown; empty: as known of them"),
    Key("pretrained.sha256", "", "str", "refuse weights with another digest; empty: take any"),
    Key("objective", {"name": "supervised"}, "", "what is minimised"),
    Key(
        "features",
        "off",
        'Literal["off", "cached", "probe"]',
        "cached: train the head alone on features computed once; probe: by logistic regression",
    ),
    Key("train_from", "", "str", "first stage that is trained (lowlabel summary); empty: all are"),
    Key("rate_decay", 1.0, "Positive", "learning rate of a stage over that of the stage after it"),
    Key(
        "batch_norm",
        "batch",
        'Literal["batch", "running"]',
        "statistics of trained stages; frozen ones always keep theirs",
    ),
    Key("teacher", "", "str", "a finished run that teaches (noisy_student); phase: the one before"),
    Key("optimizer", {"name": "sgd", "rate": {"name": "cosine_7_16"}}, "", "and its learning rate"),
    Key("ema.decay", 0.999, "Fraction", "memory of the averaged weights, which are what is scored"),
    Key("ema.warmup", True, "bool", "shorter memory early: min(decay, (1 + step) / (10 + step))"),
    Key("ema.batch_stats", False, "bool", "average BatchNorm statistics too; False as in FixMatch"),
    Key("length", {"steps": 1000}, "", "how long a phase lasts: steps, epochs or examples"),
    Key("patience", 0, "Natural", "end a phase after so many evaluations without gain; 0: never"),
    Key("plateau", 0, "Natural", "end it when its last so many evaluations show no fall; 0: off"),
    Key("keep", "last", 'Literal["last", "best"]', "weights of its last step, or best evaluation"),
    Key(
        "moves",
        "weights",
        'Literal["weights", "statistics"]',
        "statistics: BatchNorm's running ones alone, and every weight rests",
    ),
    Key("fresh", False, "bool", "begin with new first weights, as a noisy student does"),
    Key(
        "phases",
        {},
        "",
        "by name: what a phase changes of objective, optimizer, length, patience, plateau, keep, "
        "moves, fresh, features, train_from, rate_decay, batch_norm",
    ),
    Key("order", (), "", "the phases' names in turn; empty: one phase, from the settings above"),
    Key("evaluate_every", 0, "Natural", "steps between looks at the validation set; 0: none"),
    Key("log_every", 20, "Count", "steps between lines of metrics.jsonl, each a mean over them"),
    Key("checkpoint.every", 200, "Count", "steps between checkpoints"),
    Key("checkpoint.seconds", 0, "Natural", "seconds after which one is due anyhow; 0: never"),
    Key("checkpoint.keep", 2, "Count", "newest checkpoints kept, besides the best"),
    Key(
        "tune.budget",
        "off",
        'Literal["off", "smoke", "laptop", "short", "paper"]',
        "learn settings before training, and what that may cost (docs/auto.md)",
    ),
    Key("tune.learn", ("batch", "rate", "regularisation", "semi"), "", "what is learnt; or model"),
    Key("tune.seconds", 0, "Natural", "no trial begins after so many seconds of learning; 0: any"),
    Key("tune.preset", "", "str", "a regularisation learnt before, by name or file: no search"),
    Key("tune.supervised", None, "Natural", "most steps of labels alone; as the budget has"),
    Key("tune.semi_supervised", None, "Natural", "most steps with unlabelled images; likewise"),
    Key("tune.seeds", None, "Natural", "draws of the labels in the comparison; as the budget has"),
    Key("tuned", {}, "", "what was learnt and why; written by tuning, read by nobody's hand"),
    Key(
        "anomaly.score",
        "combined",
        'Literal["error", "relative", "structural", "mahalanobis", "combined", "neighbour", '
        '"elbo"]',
        "what an image is judged by where split.normal_classes are set; all are reported",
    ),
    Key("anomaly.quantile", 0.95, "Probability", "share of held-out normals below the threshold"),
    Key("median_of", 1, "Count", "checkpoints whose median is the headline; 1: only the last step"),
    Key("devices", 0, "Natural", "devices to use; 0: all"),
    Key("steps_per_call", 1, "Count", "steps that one call of the device takes; 10 to 50 on a GPU"),
    Key("skip_bad_steps", 0, "Natural", "most steps left out for not being finite; 0: stop at one"),
)

PHASE = (  # settings that stand for every phase, unless the phase has its own
    "objective",
    "optimizer",
    "length",
    "patience",
    "plateau",
    "keep",
    "moves",
    "fresh",
    "features",
    "train_from",
    "rate_decay",
    "batch_norm",
)

UNITS = {  # one of these keys stands in such a dict; setting another replaces it
    "length": {"steps": int, "epochs": float, "examples": int, "bit_hyperrule": float},
    "warmup": {"steps": int, "epochs": float, "examples": int},
    "labelled": {"per_class": int, "total": int, "fraction": float},
    "validation": {"per_class": int, "total": int, "fraction": float},
    "test": {"per_class": int, "total": int, "fraction": float},
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
