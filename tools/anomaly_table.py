"""One-class runs as a table: the AUROC of every score on every task, and the means.

python -m tools.anomaly_table RUN|DIR ...      # runs, or folders of them; Markdown on stdout
"""

import sys
from collections.abc import Sequence
from typing import Any

from lowlabel_jax.core.errors import UserError, guarded
from lowlabel_jax.runs.compare import compare_read
from lowlabel_jax.runs.pages.blocks import grid


def table(paths: Sequence[str]) -> str:
    """Markdown: a row a run, in the order of their directories, and a row of means.

    Raises UserError where none of the runs has an AUROC.
    """
    paths_of_runs = compare_read.find(paths)
    runs = [compare_read.read(path) for path in paths_of_runs if not compare_read.why_not(path)]
    runs = [run for run in runs if run.metric == "auroc"]
    if not runs:
        raise UserError("no finished run here has an AUROC of anomalies.", "name one-class runs.")
    scores = list(runs[0].test["anomaly"]["scores"])
    ends = ("detected", "false_alarms")
    rows = [[_task(run), *_aurocs(run, scores), *(run.test[end] for end in ends)] for run in runs]
    means = [sum(column) / len(rows) for column in list(zip(*rows, strict=True))[1:]]
    chosen = runs[0].test["anomaly"]["score"]
    head = ["normal", *(f"{name} *" if name == chosen else name for name in scores)]
    lines = [[row[0], *(f"{value:.4f}" for value in row[1:])] for row in [*rows, ["mean", *means]]]
    said = f"AUROC by score, n = {len(rows)}; * decides, and what its threshold gives on the right."
    return "\n\n".join([grid([*head, "found", "false alarms"], lines), said])


def _task(run: compare_read.Run) -> str:
    return " + ".join(run.test["anomaly"]["normal_classes"])


def _aurocs(run: compare_read.Run, scores: Sequence[str]) -> list[Any]:
    return [run.test["anomaly"]["scores"][name]["auroc"] for name in scores]


def main() -> int:
    """Print the table of the runs that the command line names."""
    print(table(sys.argv[1:]))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
