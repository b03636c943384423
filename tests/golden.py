"""The golden numbers: what a few steps of each objective on the digits have always come to.

`make golden` (python -m tests.golden) writes tests/golden.json anew, to be reviewed as a diff.
"""

import json
from pathlib import Path

import numpy as np

from tests import conftest  # noqa: F401  # sets the environment, where pytest does not

FILE = Path(__file__).with_name("golden.json")
STEPS = (1, 20)


def numbers(objective):
    """{"step 1": {metric: mean, …}, "step 20": …} of a tiny run."""
    from tests.tiny import AT_WORK, World

    options = AT_WORK.get(objective, {})
    world, found, done = World(objective, "--config.length.steps=20", **options), {}, 0
    state = world.start()
    for step in STEPS:
        state, metrics = world.run(state, step - done)
        done = step
        found[f"step {step}"] = {
            name: np.round(np.divide(m.total, max(m.count, 1), dtype=np.float64), 7).tolist()
            for name, m in sorted(metrics.items())
        }
    return found


def main():
    """Write the file."""
    from tests.tiny import OBJECTIVES

    made = {name: numbers(name) for name in OBJECTIVES}
    FILE.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {FILE}: review the diff, and say in CHANGELOG.md (Changes numbers) why it moved")


if __name__ == "__main__":
    main()
