"""launch.py with a signal at a step: python tests/kill_at.py STEP SIGNAL OPTIONS-OF-LAUNCH…

The signal comes when the step's batch is asked for: the steps before it have been dispatched.
"""

import os
import runpy
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))


def main():
    """Patch the feed, then be launch.py."""
    at, name = int(sys.argv[1]), sys.argv[2]
    from lowlabel_jax.data import feed

    indices, sent = feed.indices, []

    def deadly(step, *rest):
        if step == at and not sent:  # once: a second signal would end the process at once
            sent.append(step)
            os.kill(os.getpid(), getattr(signal, name))
        return indices(step, *rest)

    feed.indices = deadly
    sys.argv = [str(ROOT / "launch.py"), *sys.argv[3:]]
    runpy.run_path(str(ROOT / "launch.py"), run_name="__main__")


main()
