"""Measured numbers into the documents: kept as JSON in docs/results, shown between markers.

python tools/results.py keep runs/m10 digits10 "Digits, 10 labels" "COMMAND"   # after a sweep
python tools/results.py fill                                                    # and again, anytime

`keep` condenses the comparison of a sweep's finished runs to docs/results/NAME.json. `fill` writes
tables between `<!-- numbers all -->` or `<!-- numbers METHOD -->` and `<!-- end -->` in docs/.
A name that begins with ablation- is an ablation's: its first value is what the others are held
against, and the marker `<!-- numbers ablation-NAME -->` has its table.
"""

import argparse
import datetime
import importlib.metadata
import os
import re
from pathlib import Path
from typing import Any

from lowlabel_jax.core import files
from lowlabel_jax.runs.compare import compare

DOCS = Path(__file__).parent.parent / "docs"
ORDER = ("digits10", "digits20", "digits40", "mnist20", "mnist40", "cifar250", "cifar5000")
BASELINES = ("supervised", "supervised-weak")
ABLATION, LABEL = "ablation-", "--config.method="
KEPT = ("n", "mean", "sd", "ci95", "values", "seeds")
MARKED = re.compile(r"(<!-- numbers ([\w-]+) -->\n).*?(<!-- end -->)", re.S)


def keep(folder: Path, name: str, title: str, command: str) -> None:
    """Write docs/results/NAME.json: every method's numbers, and how far it is from the baseline.

    The baseline is the better of supervised learning on strong and on weak views.
    """
    found = compare.compare([folder])
    ablates = name.startswith(ABLATION)
    against = of_values(folder) if ablates else of_methods(found["methods"])
    methods = {}
    for method, base in against.items():
        numbers = found["methods"][method]
        methods[method] = {key: numbers[key] for key in KEPT}
        if base:
            difference = compare.contrast(numbers, found["methods"][base])
            asked = ("difference", "ci95", "p", "n")
            methods[method]["against"] = {key: difference[key] for key in asked}
    about = {
        "title": title,
        "baseline": next(filter(None, against.values()), ""),
        "command": command,
        "metric": found["metric"],
        "test_images": found["data"]["test_n"],
        "date": datetime.date.today().isoformat(),
        "machine": f"{len(os.sched_getaffinity(0))} CPU cores",
        "jax": importlib.metadata.version("jax"),
    }
    files.write_json(DOCS / "results" / f"{name}.json", {**about, "methods": methods})


def of_methods(methods: dict[str, Any]) -> dict[str, str]:
    """method -> what it is held against: the better baseline, and "" for the baselines."""
    there = [name for name in BASELINES if name in methods]
    base = max(there, key=lambda name: methods[name]["mean"])
    return {method: "" if method in BASELINES else base for method in methods}


def of_values(folder: Path) -> dict[str, str]:
    """value of an ablation, in its sweep's order -> what it is held against: supervised learning
    on as many labels where that is there ("fixmatch-20": "supervised-20"), else the first value."""
    overrides = files.read_json(folder / "sweep.json")["runs"].values()
    given = [word.removeprefix(LABEL) for words in overrides for word in words if LABEL in word]
    values, found = list(dict.fromkeys(given)), {}
    for value in values:
        alone = f"supervised-{value.rpartition('-')[2]}"
        base = alone if alone in values else values[0]
        found[value] = "" if value == base else base
    return found


def fill() -> None:
    """Write all marked tables anew."""
    for path, text in filled().items():
        files.write_text(path, text)


def filled() -> dict[Path, str]:
    """Every document with markers, as it reads with the numbers that are kept."""
    kept = results()
    found = {}
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        if MARKED.search(text):
            found[path] = MARKED.sub(lambda m: m[1] + block(m[2], kept) + m[3], text)
    return found


def results() -> dict[str, Any]:
    """What is kept, in the order of ORDER."""
    there = {path.stem: files.read_json(path) for path in (DOCS / "results").glob("*.json")}
    return {name: there[name] for name in ORDER if name in there}


def block(name: str, kept: dict[str, Any]) -> str:
    """The table that belongs between the markers of a name."""
    if name.startswith(ABLATION):
        return f"\n{ablation(DOCS / 'results' / f'{name}.json')}\n\n"
    return "\n" + (everything(kept) if name == "all" else of_method(name, kept)) + "\n\n"


def ablation(path: Path) -> str:
    """The values of an ablation as rows, each against what it is held against."""
    if not path.exists():
        return "Not measured yet."
    one = files.read_json(path)
    alone = one["baseline"].startswith("supervised")
    held = "supervised, same labels" if alone else "the first row"
    rows = [f"| value | test accuracy | n | against {held} |", "| --- | --- | --- | --- |"]
    best = max(numbers["mean"] for numbers in one["methods"].values())
    for method, numbers in one["methods"].items():
        shown = cell(numbers, best).rpartition(" (")[0]
        rows.append(f"| {method} | {shown} | {numbers['n']} | {versus(numbers)} |")
    about = f"{one['test_images']} test images, {one['machine']}, jax {one['jax']}, {one['date']}"
    return "\n".join([*rows, "", f"`{one['command']}` ({about}); p is not adjusted."])


def everything(kept: dict[str, Any]) -> str:
    """All methods as rows, all data sets as columns, the best of a column in bold."""
    names = dict.fromkeys(method for one in kept.values() for method in one["methods"])
    best = {k: max(m["mean"] for m in one["methods"].values()) for k, one in kept.items()}
    rows = ["| method | " + " | ".join(one["title"] for one in kept.values()) + " |"]
    rows.append("| --- |" + " --- |" * len(kept))
    for name in names:
        cells = [cell(one["methods"].get(name), best[k]) for k, one in kept.items()]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    commands = [f"- {one['title']}: `{one['command']}` ({where(one)})" for one in kept.values()]
    return "\n".join([*rows, "", *commands])


def cell(numbers: dict[str, Any] | None, best: float) -> str:
    """`.904 ± .107 (12)`: mean, standard deviation over seeds, how many."""
    if not numbers:
        return "–"
    spread = f" ± {short(numbers['sd'])}" if numbers["sd"] is not None else ""
    mean = f"**{short(numbers['mean'])}**" if numbers["mean"] == best else short(numbers["mean"])
    return f"{mean}{spread} ({numbers['n']})"


def of_method(name: str, kept: dict[str, Any]) -> str:
    """A method's own numbers, with those of its variants (NAME-something)."""
    rows = ["| data | run as | test accuracy | n | against the better baseline, same labels |"]
    rows.append("| --- | --- | --- | --- | --- |")
    for one in kept.values():
        for method, numbers in one["methods"].items():
            if method == name or method.startswith(f"{name}-"):
                spread = f" ± {short(numbers['sd'])}" if numbers["sd"] is not None else ""
                shown = f"{short(numbers['mean'])}{spread} | {numbers['n']}"
                rows.append(f"| {one['title']} | {method} | {shown} | {versus(numbers)} |")
    if len(rows) == 2:
        return "No accuracy was measured here."
    return "\n".join([*rows, "", "Commands, machine and date: [the comparison](../methods.md)."])


def versus(numbers: dict[str, Any]) -> str:
    """`+.189 [+.129, +.250], p = .0005`, or a dash for a baseline."""
    found = numbers.get("against")
    if not found:
        return "–"
    interval = f" [{signed(found['ci95'][0])}, {signed(found['ci95'][1])}]" if found["ci95"] else ""
    p = f", p = {found['p']:.2g}" if found["p"] is not None and found["n"] > 1 else ""
    return f"{signed(found['difference'])}{interval}{p}"


def where(one: dict[str, Any]) -> str:
    """Machine, version, date, number of test images."""
    machine = f"{one['machine']}, jax {one['jax']}, {one['date']}"
    return f"{one['test_images']} test images, {machine}; the baseline is {one['baseline']}"


def short(value: float) -> str:
    """0.9038 -> ".904"."""
    return f"{value:.3f}".replace("0.", ".", 1) if value < 1 else f"{value:.3f}"


def signed(value: float) -> str:
    """0.189 -> "+.189"."""
    return f"{value:+.3f}".replace("0.", ".", 1)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("keep", help="condense a sweep's comparison")
    one.add_argument("folder", type=Path)
    for name in ("name", "title", "command"):
        one.add_argument(name)
    one.set_defaults(run=lambda o: keep(o.folder, o.name, o.title, o.command))
    commands.add_parser("fill", help="write the tables").set_defaults(run=lambda o: fill())
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
