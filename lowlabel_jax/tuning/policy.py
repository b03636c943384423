"""A name for what was learnt: equal values have an equal name, other values another one."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

ADJECTIVES, BIRDS = (
    words.split()
    for words in (
        "agile amber ample brave brief bright brisk calm candid clear clever cosy crisp "
        "curious deft early eager even fair fine fleet fond frank fresh gentle glad golden "
        "grand hardy honest humble idle jolly keen kind lively loyal lucid lunar mellow merry "
        "mild modest neat nimble noble plain proud quick quiet rapid ready rosy rustic sage "
        "serene sharp silent sober steady swift tidy vivid warm ",
        "avocet bittern bunting buzzard chough condor coot crake crane crow curlew dipper "
        "dove dunlin dunnock eagle egret eider falcon finch fulmar gannet godwit goose grebe "
        "grouse gull harrier heron hobby hoopoe ibis jackdaw jay kestrel kite knot lapwing "
        "lark linnet magpie martin merlin osprey ouzel owl petrel pipit plover puffin quail "
        "raven redwing robin rook ruff shrike siskin skua snipe stork swan tern wren ",
    )
)


def policy_name(values: Mapping[str, Any]) -> str:
    """`calm-heron-3f2a` for learnt values {path: value}, which are JSON.

    From the SHA-256 of their canonical JSON: keys in order, and 1.0 written as 1. There are 2^28
    names, so other values rarely share one. Raises ValueError for NaN or infinity.
    """
    text = json.dumps(_plain(values), sort_keys=True, separators=(",", ":"), allow_nan=False)
    digest = hashlib.sha256(text.encode()).digest()
    adjective, bird = ADJECTIVES[digest[0] % len(ADJECTIVES)], BIRDS[digest[1] % len(BIRDS)]
    return f"{adjective}-{bird}-{digest[2:4].hex()}"


def _plain(value: Any) -> Any:
    """A value in which equal numbers are written alike."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
