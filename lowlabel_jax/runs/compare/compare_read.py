"""Which runs there are to compare: found on disk, read, checked for one data set, grouped."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError

NOT_THE_METHOD = (
    "seed",
    "seeds",
    "method",
    "name",
    "teacher",
)  # may differ between runs of a method
PARTS = ("fold", "normal_classes")  # of split: which part of a method's task a run is


class Run(NamedTuple):
    """What comparing needs of one finished run."""

    path: Path
    label: str
    seed: int | str  # of the split; "3, fold 0", "3, normal cats" where runs are parts of one
    config: dict[str, Any]
    test: dict[str, Any]
    metric: str  # what it is compared by, in `test`: accuracy, psnr, auroc


def find(paths: Iterable[str | Path]) -> list[Path]:
    """The run directories at or below paths, each once, sorted. Raises UserError for none."""
    paths = [Path(path) for path in paths]
    if missing := [str(path) for path in paths if not path.is_dir()]:
        raise UserError(f"there is no directory {', '.join(missing)}.")
    found = {run.resolve(): run for path in paths for run in _runs_below(path)}
    if not found:
        places = ", ".join(map(str, paths)) or "nothing"
        raise UserError(
            f"no runs in {places}.",
            "name run directories (with a config.json), or a folder of them.",
        )
    return sorted(found.values())


def why_not(path: Path) -> str:
    """Why a run has nothing to compare, as the rest of a sentence; empty where it has."""
    if not (path / "status.json").is_file():
        return "has no status.json"
    status = files.read_json(path / "status.json")
    if status.get("state") != "finished":
        return f"is {status.get('state')} at step {status.get('step')}"
    if not (path / "eval/test.json").is_file():
        return "has no test numbers (eval/test.json)"
    test = files.read_json(path / "eval/test.json")
    metric = test.get("headline", "accuracy")
    missing = [key for key in (metric, f"{metric}_raw", "n") if test.get(key) is None]
    return f"has no {', '.join(missing)} in eval/test.json" if missing else ""


def read(path: Path) -> Run:
    """A finished run. Its label is config's method or, where that is empty, the objectives'."""
    config = files.read_json(path / "config.json")
    try:
        label = config.get("method") or "+".join(p["objective"]["name"] for p in config["phases"])
        seed, split = config["seeds"]["split"], config.get("split", {})
        if split.get("folds"):
            seed = f"{seed}, fold {split['fold']}"
        if split.get("normal_classes"):
            seed = f"{seed}, normal {' + '.join(split['normal_classes'])}"
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}/config.json is not the config of a run: no {error}.") from None
    test = files.read_json(path / "eval/test.json")
    return Run(path, label, seed, config, test, test.get("headline", "accuracy"))


def check_same_metric(runs: Iterable[Run]) -> None:
    """Raise UserError, naming the runs, unless all have the same main number."""
    kinds: dict[str, list[str]] = {}
    for run in runs:
        kinds.setdefault(run.metric, []).append(str(run.path))
    if len(kinds) > 1:
        lines = [f"\n  - {metric}: {', '.join(paths)}" for metric, paths in kinds.items()]
        raise UserError(
            f"these runs are scored by different numbers, which do not compare:{''.join(lines)}",
            "compare the runs of one kind at a time.",
        )


def check_same_data(runs: Iterable[Run]) -> None:
    """Raise UserError, naming the runs, unless all were tested on the same images."""
    kinds: dict[tuple[str, int], list[str]] = {}
    for run in runs:
        mark = str(run.config.get("data_fingerprint"))
        kinds.setdefault((mark, run.test["n"]), []).append(str(run.path))
    if len(kinds) > 1:
        lines = [
            f"\n  - data {k[0][:12]}, {k[1]} test images: {', '.join(r)}" for k, r in kinds.items()
        ]
        raise UserError(
            f"these runs saw different data, so their accuracies do not compare:{''.join(lines)}",
            "compare the runs of one data set at a time.",
        )


def headline(runs: Iterable[Run]) -> tuple[str, list[Run]]:
    """(what is compared, the runs with it as their accuracy): the median of several checkpoints
    where every run reports one over as many, else the last step."""
    runs = list(runs)
    counts = {len(run.test.get("median", {}).get("steps", ())) for run in runs}
    if counts == {0} or len(counts) > 1:
        return "EMA, last step", runs
    medians = [{**run.test, "accuracy": run.test["median"]["accuracy"]} for run in runs]
    name = f"EMA, median of the last {counts.pop()} checkpoints"
    return name, [run._replace(test=test) for run, test in zip(runs, medians, strict=True)]


def group_by_method(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs by method, in the order met: the label and, where one label has several configs, what
    differs between them."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        own = {k: v for k, v in run.config.items() if k not in NOT_THE_METHOD}
        own["split"] = {k: v for k, v in own.get("split", {}).items() if k not in PARTS}
        if run.config.get("split", {}).get("normal_classes"):
            own.pop("info", None)  # classes have different numbers of images
        groups.setdefault((run.label, json.dumps(own, sort_keys=True)), []).append(run)
    flat = {key: dict(_leaves(json.loads(key[1]))) for key in groups}
    named = {}
    for key, group in groups.items():
        others = [flat[other] for other in flat if other[0] == key[0]]
        named[" ".join([key[0], *differences(flat[key], others)])] = group
    return named


def differences(mine: Mapping[str, str], others: list[dict[str, str]]) -> Iterator[str]:
    """`threshold=0.8` for each of my leaves that is not the same in all of the others."""
    keys = dict.fromkeys(key for other in others for key in other)
    keys = [key for key in keys if len({other.get(key) for other in others}) > 1]
    short = {key: key.removesuffix(".name").rsplit(".", 1)[-1] for key in keys}
    for key in keys:
        if key in mine:
            is_clear = list(short.values()).count(short[key]) == 1
            yield f"{short[key] if is_clear else key}={mine[key]}"


def _runs_below(path: Path) -> Iterator[Path]:
    """Run directories at or below a path. A run is not searched: it may hold other config.json."""
    if (path / "config.json").is_file():
        yield path
        return
    for child in path.iterdir():
        if child.is_dir() and not child.is_symlink():
            yield from _runs_below(child)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Dotted path and JSON text of each leaf; a list without dicts in it is one leaf."""
    dicts = isinstance(value, list) and any(isinstance(v, dict) for v in value)
    children = value.items() if isinstance(value, dict) else enumerate(value) if dicts else ()
    for key, child in children:
        yield from _leaves(child, f"{path}.{key}" if path else str(key))
    if not children:
        yield path, json.dumps(value)
