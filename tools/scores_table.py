"""Any numbers of eval/test.json as a table: methods over seeds, mean ± sd.

python tools/scores_table.py runs/imbalance plain balanced_accuracy macro_f1 per_class.9.recall

That is: a folder of runs, the method to hold the others against, numbers. A dotted path leads into
the file. By the first number each method is compared with the one that was named: the paired
difference with its 95 % interval, and p of exact sign flips, adjusted by Holm.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lowlabel_jax.evaluation import statistics
from lowlabel_jax.runs.compare import compare_read


def table(folder: Path, keys: Sequence[str], first: str) -> str:
    """The table in Markdown, the method called `first` on top. Every run must be finished."""
    runs = [compare_read.read(path) for path in compare_read.find([folder])]
    compare_read.check_same_data(runs)
    seeds: dict[str, dict[int | str, dict[str, Any]]] = {first: {}}
    for run in runs:
        seeds.setdefault(run.label, {})[run.seed] = run.test
    pairs = {name: _against(found, seeds[first], keys[0]) for name, found in seeds.items()}
    others = [name for name in pairs if name != first]
    adjusted = statistics.holm([pairs[name]["p"] for name in others])
    holm = dict(zip(others, adjusted, strict=True))
    lines = [
        f"| method | {' | '.join(keys)} | n | {keys[0]} against {first} |",
        "| --- " * (len(keys) + 3) + "|",
    ]
    for name, found in seeds.items():
        cells = [_cell([_at(test, key) for test in found.values()]) for key in keys]
        versus = _versus(pairs[name], holm[name]) if name in holm else "–"
        lines.append(f"| {name} | {' | '.join(cells)} | {len(found)} | {versus} |")
    return "\n".join(lines)


def _against(one: dict[Any, Any], other: dict[Any, Any], key: str) -> dict[str, Any]:
    both = sorted(set(one) & set(other))
    return statistics.paired(*([_at(tests[s], key) for s in both] for tests in (one, other)))


def _versus(pair: dict[str, Any], p: float | None) -> str:
    low, high = pair["ci95"]
    return f"{pair['difference']:+.3f} [{low:+.3f}, {high:+.3f}], p = {p:.3f}"


def _cell(values: list[float]) -> str:
    found = statistics.summary(values)
    return f"{found['mean']:.3f}" + (f" ± {found['sd']:.3f}" if found["sd"] is not None else "")


def _at(test: Any, key: str) -> float:
    for step in key.split("."):
        test = test[int(step)] if isinstance(test, list) else test[step]
    return float(test)


if __name__ == "__main__":
    print(table(Path(sys.argv[1]), sys.argv[3:], sys.argv[2]))
