"""Finished runs into one table: methods over seeds, paired differences, and what may be concluded.

Reads only what runs have left on disk (config.json, status.json, eval/test.json) and never imports
JAX. Reading is in compare_read.py, pages for people in compare_pages.py, the picture in
compare_plot.py.
"""

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.evaluation import statistics
from lowlabel_jax.runs.compare import compare_pages, compare_plot, compare_read
from lowlabel_jax.runs.compare.compare_read import Run

BASELINE = "supervised"
FEW = 4  # methods of which every two are compared; of more, each with the first one


def compare(paths: Iterable[str | Path]) -> dict[str, Any]:
    """The comparison of all finished runs at or below paths, in the layout of compare.json.

    Runs of one label and one config (but for seeds) are a method; methods pair by split seed. A
    method called "supervised" comes first and is what the others are compared with; in each of the
    pairs a positive difference means that `a` is better than `b`.
    Raises UserError where nothing is finished, the data differ, or a seed occurs twice.
    """
    found = compare_read.find(paths)
    reasons = {path: compare_read.why_not(path) for path in found}
    skipped = [{"run": str(p), "reason": reason} for p, reason in reasons.items() if reason]
    runs = [compare_read.read(path) for path in found if not reasons[path]]
    if not runs:
        there = "".join(f"\n  - {s['run']} {s['reason']}" for s in skipped)
        raise UserError(f"no finished run with test numbers among {len(found)}.{there}")
    compare_read.check_same_metric(runs)
    compare_read.check_same_data(runs)
    statistic, runs = compare_read.headline(runs)
    methods = {
        name: describe(name, group) for name, group in compare_read.group_by_method(runs).items()
    }
    first = [name for name in methods if name == BASELINE]
    methods = {name: methods[name] for name in dict.fromkeys(first + list(methods))}
    data = {"fingerprint": runs[0].config.get("data_fingerprint"), "test_n": runs[0].test["n"]}
    return {
        "metric": f"test/{runs[0].metric} ({statistic})",
        "methods": methods,
        "pairs": contrasts(methods),
        "data": data,
        "skipped": skipped,
    }


def write(result: Mapping[str, Any], folder: str | Path) -> list[Path]:
    """Write compare.json, .md, .csv, .png and .html into a folder; the paths of them."""
    from lowlabel_jax.runs.compare import compare_html

    folder = Path(folder)
    files.write_json(folder / "compare.json", result)
    files.write_text(folder / "compare.md", compare_pages.markdown(result))
    files.write_text(folder / "compare.csv", compare_pages.csv_text(result))
    compare_plot.save(result, folder / "compare.png")
    files.write_text(folder / "compare.html", compare_html.page(result, folder / "compare.png"))
    return [folder / f"compare.{ending}" for ending in ("json", "md", "csv", "png", "html")]


table, show = compare_pages.table, compare_pages.show  # for the terminal


def describe(name: str, runs: list[Run]) -> dict[str, Any]:
    """The numbers of one method, its values in the order of the seeds; raw weights beside EMA."""
    runs = sorted(runs, key=lambda run: run.seed)
    for one, two in itertools.pairwise(runs):
        if one.seed == two.seed:
            raise UserError(
                f"{name!r} has two runs with split seed {one.seed}: {one.path} and {two.path}.",
                "leave one out, or tell them apart with --config.method=NAME.",
            )
    metric = runs[0].metric
    values, raw = ([run.test[key] for run in runs] for key in (metric, f"{metric}_raw"))
    return {
        **_summary(values, metric),
        "values": values,
        "seeds": [run.seed for run in runs],
        "runs": [str(run.path) for run in runs],
        "raw": {**_summary(raw, metric), "values": raw},
        "sizes": runs[0].config.get("info", {}).get("sizes", {}),
    }


def _summary(values: list[float], metric: str) -> dict[str, Any]:
    """Their summary. Student's t knows no bounds; the interval ends where shares do."""
    found = statistics.summary(values)
    if metric == "psnr":
        return found
    ends = [min(max(end, 0.0), 1.0) for end in found["ci95"] or ()]
    return {**found, "ci95": ends or None}


def contrasts(methods: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every two methods, the later minus the earlier, with p adjusted over all of them (Holm).

    Of more than FEW methods, each with the first one: a table of all pairs says nothing.
    """
    pairs, names = [], list(methods)
    every = itertools.combinations(names, 2)
    for b, a in every if len(names) <= FEW else [(names[0], name) for name in names[1:]]:
        raw = contrast(methods[a], methods[b], raw=True)
        # No p for the raw weights: the headline was fixed in advance, and two looks are two tests.
        raw = {key: raw[key] for key in ("n", "difference", "ci95")}
        pairs.append({"a": a, "b": b, **contrast(methods[a], methods[b]), "raw": raw})
    for pair, p in zip(pairs, statistics.holm([pair["p"] for pair in pairs]), strict=True):
        pair["holm_p"] = p
        pair["verdict"] = statistics.verdict(pair, len(pairs))
    return pairs


def contrast(a: Mapping[str, Any], b: Mapping[str, Any], raw: bool = False) -> dict[str, Any]:
    """Method a minus method b over the seeds that both have, or by Welch where too few pair."""
    x, y = (dict(zip(m["seeds"], (m["raw"] if raw else m)["values"], strict=True)) for m in (a, b))
    both = [seed for seed in x if seed in y]
    if len(both) < min(2, len(x), len(y)):
        return {**statistics.unpaired(list(x.values()), list(y.values())), "seeds": []}
    return {**statistics.paired([x[s] for s in both], [y[s] for s in both]), "seeds": both}
