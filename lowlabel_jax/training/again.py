"""Phases that a process has made before: a worker of a sweep traces a method once, not a run."""

import functools
import json
from collections.abc import Mapping
from typing import Any

from lowlabel_jax.core import processes
from lowlabel_jax.training import build

OF_A_DRAW = ("seed", "seeds", "method")  # settings that no program has in it
KEPT = 8  # phases; hundreds of programs in one process have crashed jaxlib 0.10.2


def phase(config: Mapping[str, Any], number: int) -> build.Phase:
    """As build.phase. One made for a config that differs in its seeds alone is used again, with
    the programs that it has compiled."""
    said = {name: value for name, value in config.items() if name not in OF_A_DRAW}
    return _made(json.dumps(said, sort_keys=True), number, processes.count())


def forget() -> None:
    """Make them anew from here on."""
    _made.cache_clear()


@functools.lru_cache(maxsize=KEPT)
def _made(said: str, number: int, _processes: int) -> build.Phase:
    return build.phase(json.loads(said), number)
