"""What is said of a self-tuned run in words and numbers, on its page and in the terminal."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lowlabel_jax.core import log
from lowlabel_jax.evaluation import statistics
from lowlabel_jax.runs.auto.auto_read import AUTO, UNTUNED, Found, auto_of, read
from lowlabel_jax.runs.compare.compare_pages import interval
from lowlabel_jax.runs.data_check.data_page import printable

MEANINGS = {  # what a setting is, for people who do not read configs; the longest ending that fits
    "batch.labelled": "labelled images in a batch",
    "batch.mu": "unlabelled images for each labelled one",
    "rate.peak": "learning rate",
    "rate.warmup": "steps of warm-up",
    "optimizer.name": "optimiser",
    "weight_decay": "weight decay",
    "objective.name": "how unlabelled images are learnt from",
    "objective.threshold": "how sure a guess has to be",
    "objective.weight": "weight of the unlabelled loss",
    "label_smoothing": "label smoothing",
    "mixup": "mixing of images (mixup)",
    "cutmix": "pasting of images (CutMix)",
    "dropout": "dropout before the last layer",
    "spatial": "strength of moving, turning and zooming",
    "hsv": "strength of changes of colour",
    "contrast": "strength of changes of contrast",
    "blur": "strength of blur",
    "flip": "mirrored images",
    "rotation": "turned images",
    "length.steps": "steps at most",
    "patience": "looks without progress before a phase ends",
}


def words(directory: Path) -> str:
    """The dozen lines at the end of the command, from files alone."""
    found = read(Path(directory))
    lines = [counts(found), f"policy: {printable(policy(found))}", *_learnt(found), ""]
    lines += [*result(found), "", f"report: {found.directory / 'report/report.html'}"]
    return "\n".join([*lines, "next: " + log.typed(f"lowlabel predict {found.directory} IMAGES")])


def policy(found: Found) -> str:
    """The name of what was learnt."""
    return str(found.tuned.get("policy") or "(none is named in config.json)")


def counts(found: Found) -> str:
    """`labelled 20 / validation 0 (2 folds of the labelled images) / unlabelled 1,417 / test 9`."""
    data = found.learnt["data"]
    sizes = data["sizes"] if data else ((found.config or {}).get("info") or {}).get("sizes")
    if not sizes:
        return "How many images there are is not written in tuning/data.json."
    said = {"validation": f" ({data['validation']})"} if data and data.get("validation") else {}
    names = ("labelled", "validation", "unlabelled", "test")
    return " / ".join(
        f"{name} {number(sizes[name])}{printable(said.get(name, ''))}"
        for name in names
        if name in sizes
    )


def result(found: Found) -> list[str]:
    """The accuracy, and against each baseline the difference with its p: a line each."""
    if not found.comparison:
        return [own_accuracy(found)]
    methods = found.comparison["methods"]
    lines = [printable(f"{name}: {accuracy(m)}") for name, m in methods.items()]
    return lines + [short(pair) for pair in against(found)]


def own_accuracy(found: Found) -> str:
    """The test accuracy of this run alone."""
    if not found.test:
        return "There are no test numbers yet (eval/test.json)."
    return (
        f"test accuracy {found.test['accuracy']:.4f} {interval(found.test.get('ci95'))} over "
        f"{found.test['n']:,} images, one seed; there is no comparison yet "
        "(comparison/compare.json)."
    )


def accuracy(m: Mapping[str, Any]) -> str:
    """`0.9120 [0.8900, 0.9340], n = 6 seeds` of a method of a comparison."""
    seeds = f"n = {m['n']} seed{'s' * (m['n'] != 1)}"
    return f"test accuracy {m['mean']:.4f} {interval(m['ci95'])}, {seeds}"


def against(found: Found) -> list[dict[str, Any]]:
    """The pairs of auto with each other method, turned so that positive means auto is better."""
    comparison = found.comparison or {"methods": {}, "pairs": []}
    auto = auto_of(comparison)
    pairs = [pair for pair in comparison["pairs"] if auto in (pair["a"], pair["b"])]
    turned = [pair if pair["a"] == auto else _turned(pair) for pair in pairs]
    return sorted(turned, key=lambda pair: list(comparison["methods"]).index(pair["b"]))


def conclusion(pair: Mapping[str, Any]) -> str:
    """What a reader may conclude of auto against one baseline, with every number.

    Auto against untuned is the one comparison fixed in advance, and its p stands as it is; of the
    others p is adjusted over all pairs (Holm).
    """
    return f"{_difference(pair)}: {_verdict(pair) if planned(pair) else printable(pair['verdict'])}"


def short(pair: Mapping[str, Any]) -> str:
    """The same in a line of a terminal."""
    if planned(pair):
        return conclusion(pair)
    adjusted = "" if pair["holm_p"] is None else f" (Holm p = {pair['holm_p']:.3g})"
    return _difference(pair) + adjusted


def planned(pair: Mapping[str, Any]) -> bool:
    """Whether a pair is the comparison that was fixed in advance."""
    return pair["b"] == UNTUNED


def number(value: Any) -> str:
    """A value of a setting or a measurement, short."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def meaning(path: str) -> str:
    """What a setting is in plain words, or "" where its path has to do."""
    fits = [ending for ending in MEANINGS if f".{path}".endswith(f".{ending}")]
    return MEANINGS[max(fits, key=len)] if fits else ""


def _learnt(found: Found) -> Iterator[str]:
    """`learnt: batch.labelled 64 -> 32, …`, what was left as it was aside."""
    values = found.tuned.get("values") or []
    changed = [v for v in values if v["from"] != v["to"]]
    said = [f"{v['path']} {number(v['from'])} -> {number(v['to'])}" for v in changed]
    kept = len(values) - len(changed)
    yield printable(f"learnt: {', '.join(said) or 'nothing that differs from the defaults'}")
    if kept:
        yield f"tried and left as they were: {kept} setting{'s' * (kept != 1)}"


def _turned(pair: Mapping[str, Any]) -> dict[str, Any]:
    """A pair seen from its other side."""
    ends = [-end for end in reversed(pair["ci95"])] if pair["ci95"] else None
    turned = {"a": pair["b"], "b": pair["a"], "difference": -pair["difference"], "ci95": ends}
    return {**pair, **turned}


def _difference(pair: Mapping[str, Any]) -> str:
    reach = f" {interval(pair['ci95'], '+')}" if pair["ci95"] else ""
    p = "no p" if pair["p"] is None else f"p = {pair['p']:.3g}"
    return printable(f"{AUTO} - {pair['b']}: {pair['difference']:+.4f}{reach}, {p}, {_pairs(pair)}")


def _pairs(pair: Mapping[str, Any]) -> str:
    how = "paired seed" if pair.get("seeds") else "unpaired seed"
    return f"n = {pair['n']} {how}{'s' * (pair['n'] != 1)}"


def _verdict(pair: Mapping[str, Any]) -> str:
    n, p = pair["n"], pair["p"]
    if n < statistics.fewest_pairs():
        paired = pair["test"].startswith("paired") and n > 1
        least = f" ({n} pairs cannot give p below {statistics.smallest_p(n):.3g})" if paired else ""
        return f"undecided: with n < {statistics.fewest_pairs()} nothing can be significant{least}"
    if p is None:
        return "undecided: there is no spread to test against"
    if p < statistics.LEVEL:
        return f"{AUTO} is significantly {'better' if pair['difference'] > 0 else 'worse'}"
    return "no significant difference, which is not proof of equality"
