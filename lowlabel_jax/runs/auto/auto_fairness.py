"""How fair the comparison of a self-tuned run is, as the files of its runs say."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lowlabel_jax.runs.auto import auto_words as said
from lowlabel_jax.runs.auto.auto_read import AUTO, Found, auto_of, runs_of
from lowlabel_jax.runs.pages.blocks import Block, Points, Table, Text

Runs = Mapping[str, Sequence[Mapping[str, Any]]]  # method -> config.json of each of its runs
METHODS = {  # what is compared, for people; runs/auto/baselines.py makes them
    "untuned": "the settings as they were before learning, labels alone, weak views",
    "supervised-weak": "the learnt batch size and learning rate, labels alone, weak views",
    "supervised-strong": "all that was learnt of labelled images, without the unlabelled ones",
    AUTO: "everything that was learnt, in its phases",
}
ONLY_STRONG, ONLY_UNLABELLED = "augment.strong.", "batch.mu"  # settings that not all runs use


def fairness(found: Found) -> Iterator[Block]:
    """What each method had to work with, and what follows from it."""
    methods = (found.comparison or {"methods": {}})["methods"]
    runs = {name: runs_of(found, m) for name, m in methods.items()}
    if not any(runs.values()):
        yield Text("The runs that are compared are not there, so this cannot be checked.")
        return
    yield Points([f"{name}: {METHODS[name]}" for name in methods if name in METHODS])
    yield _work(found, runs)
    yield Points([_same_data(runs), *_spared(runs), _same_steps(runs), *_once(found, runs)])


def _work(found: Found, runs: Runs) -> Table:
    """A row a method, as its runs' config.json and status.json say."""
    sizes = ("labelled", "validation", "labelled in a batch", "steps")
    head = ("method", "learns by", *sizes, "learnt values in use")
    rows = []
    for name, those in runs.items():
        learning = _each("+".join(p["objective"]["name"] for p in c["phases"]) for c in those)
        size = [_each(c["info"]["sizes"].get(key, 0) for c in those) for key in sizes[:2]]
        batch, steps = _each(c["batch"]["labelled"] for c in those), _each(c["step"] for c in those)
        used = _each(in_use(c, found.tuned.get("values") or []) for c in those)
        rows.append((name, learning, *size, batch, steps, used))
    return Table(head, rows, numbers=range(2, len(head) - 1), long=(1, len(head) - 1))


def in_use(config: Mapping[str, Any], values: Iterable[Mapping[str, Any]]) -> str:
    """Which of the learnt values a run has and uses, by part: `rate, regularisation 2 of 5`."""
    changed = [value for value in values if value["to"] != value["from"]]
    have: dict[str, list[bool]] = {}
    for value in changed:
        have.setdefault(value["part"], []).append(_uses(config, value["path"], value["to"]))
    said_of = {part: f" {sum(h)} of {len(h)}" * (not all(h)) for part, h in have.items() if any(h)}
    return ", ".join(f"{part}{count}" for part, count in said_of.items()) or "none"


def _uses(config: Mapping[str, Any], path: str, wanted: Any) -> bool:
    """Whether a resolved config has a value, there or in one of its phases, and looks at it."""
    objectives = [phase["objective"] for phase in config["phases"]]
    unlabelled = any(of["name"] != "supervised" for of in objectives)
    strong = unlabelled or any(of.get("strong") for of in objectives)
    if path.startswith(ONLY_STRONG) and not strong or path == ONLY_UNLABELLED and not unlabelled:
        return False
    return any(_at(place, path) == wanted for place in (config, *config["phases"]))


def _at(config: Any, path: str) -> Any:
    for key in path.split("."):
        config = config.get(key) if isinstance(config, Mapping) else None
    return config


def _each(values: Iterable[Any]) -> str:
    """One value where all are equal, else all that there are."""
    return ", ".join(map(said.number, dict.fromkeys(values))) or "–"


def _same_data(runs: Runs) -> str:
    if len({_data(c) for those in runs.values() for c in those}) == 1:
        return (
            "All runs have the same data and the same rule of dividing it: a seed's labels are the "
            "same images for every method."
        )
    return "The runs do not all have the same data and division, so the differences are not fair."


def _data(config: Mapping[str, Any]) -> str:
    """What decides the images of a run, but for how many of the labels it spares to validate."""
    split = {k: v for k, v in config.get("split", {}).items() if k not in ("fold", "folds")}
    sizes = dict(config["info"]["sizes"])
    labels = sizes.pop("labelled") + sizes.pop("validation", 0)
    return json.dumps([config.get("data_fingerprint"), split, sizes, labels], sort_keys=True)


def _spared(runs: Runs) -> Iterator[str]:
    spared = {
        name: {c["info"]["sizes"].get("validation", 0) for c in those}
        for name, those in runs.items()
        if those
    }
    if len(set().union(*spared.values())) > 1:
        each = ", ".join(f"{name} {_span(of)}" for name, of in spared.items())
        yield f"Labelled images that are spared to validate, and not trained on: {each}."


def _same_steps(runs: Runs) -> str:
    steps = {name: {c["step"] for c in those} - {None} for name, those in runs.items() if those}
    every = set().union(*steps.values())
    if len(every) == 1:
        return f"Every run was trained for {said.number(every.pop())} steps."
    spans = [f"{name} {_span(of)}" for name, of in steps.items()]
    return f"The runs differ in their steps: {'; '.join(spans)}."


def _span(values: Iterable[int]) -> str:
    ends = sorted(values)
    return " to ".join(map(said.number, dict.fromkeys(ends[:1] + ends[-1:]))) or "unknown"


def _once(found: Found, runs: Runs) -> Iterator[str]:
    """Whether auto learnt once or on each seed."""
    name = auto_of(found.comparison or {"methods": {}})
    policies = {(c.get("tuned") or {}).get("policy") for c in runs.get(name or "", ())} - {None}
    if len(policies) == 1:
        yield (
            f"All runs of {AUTO} use the one policy {policies.pop()}, learnt on the labels of one "
            "seed, and so do baselines where they have learnt values: how much another draw of "
            "labels would have changed what is learnt is not in the intervals."
        )
    elif policies:
        yield f"The runs of {AUTO} have learnt settings of their own ({len(policies)} policies)."
