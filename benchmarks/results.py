"""All goals in one table: python -m benchmarks.results reads what is there, writes RESULTS.md."""

import json
from pathlib import Path

from benchmarks import gpu, interleaved

SCRIPTS = (*(f"bench_{name}" for name in ("train", "infer", "step", "augment", "startup",
                                          "dispatch", "devices", "scaling")), "gpu")  # fmt: skip
VERDICTS = {True: "met", False: "missed", None: ""}


def written(folder: Path) -> str:
    """The table of everything that has been measured in a folder, and of what has not."""
    lines, dates = [], set()
    for name in SCRIPTS:
        path = folder / f"{name}.json"
        report = json.loads(path.read_text()) if path.exists() else {}
        lines += goals(name, report)
        if "goals" in report:
            where = report.get("device") or report["machine"]["processor"]
            dates.add((report["machine"]["date"][:10], where))
    header = ["script", "row", "measure, of ours", "goal", "measured", "verdict"]
    when = "; ".join(f"{date} on {where}" for date, where in sorted(dates))
    measured = f"\nMeasured {when}.\n" if when else ""
    return f"{HEAD}\n{interleaved.markdown(header, lines)}{measured}"


def goals(name: str, report: dict) -> list[list]:
    """One script's rows."""
    if "goals" not in report:
        what = gpu.FIXMATCH if name == "gpu" else "all of it"
        return [[name, what, "", "", "not measured", ""]]
    return [
        [name, row["row"], row["measure"], wanted(row), float(row["value"]), VERDICTS[row["met"]]]
        for row in report["goals"]
    ]


def wanted(row: dict) -> str:
    """The goal in words; "" for a plain fact."""
    return f"{row['kind'].replace('_', ' ')} {row['goal']:g}" if row["kind"] else ""


HEAD = """# Benchmarks: goals and what was measured

`make bench` writes this table. "times X" is how many times as fast as X ours is, in CPU time of one
core and within one run; above 1 ours is faster. Rows without a goal are there to be known, those
that we lose among them. Each script's own table has the times, versions and the machine's load.
"""

if __name__ == "__main__":
    shown = written(interleaved.HERE)
    (interleaved.HERE / "RESULTS.md").write_text(shown)
    print(shown)
