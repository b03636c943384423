"""What a trial is worth: the median of its last three looks at the validation set."""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError

LAST = 3  # looks: fixed, so that no trial is scored by its luckiest one
DIRECTIONS = {"accuracy": "maximize", "loss": "minimize"}  # what --score may be


def medians(run: Path) -> dict[str, float]:
    """{"accuracy": 0.85, "loss": 0.6}: of each number the median of the last phase's last looks."""
    phase = files.read_json(run / "config.json")["phases"][-1]["name"]
    rows = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    looks = [row for row in rows if row["phase"] == phase and "validation/loss" in row]
    if not looks:
        raise UserError(
            f"{run} ended without a look at the validation set.",
            "set evaluate_every to less than the steps of the last phase.",
        )
    last = [plain(look) for look in looks[-LAST:]]
    return {name: median(look[name] for look in last) for name in last[-1]}


def plain(look: Mapping[str, float]) -> dict[str, float]:
    """{"accuracy": 0.85, "loss": 0.6} of a look at the validation set."""
    names = {name: f"validation/{name}" for name in DIRECTIONS}
    return {name: look[key] for name, key in names.items() if key in look}


def of(numbers: Mapping[str, float], score: str) -> float:
    """The number that a search goes by. Raises UserError where the objective has no such."""
    if score not in numbers:
        raise UserError(f"this objective has no validation {score}.", "give --score=loss.")
    return numbers[score]
