"""What a part of tuning has found: a setting, what it was, what it is to be, and why."""

from collections.abc import Iterable, Mapping
from typing import Any

from lowlabel_jax.configuration import load
from lowlabel_jax.configuration.keys import Config, assign

Finding = dict[str, Any]  # {"path", "from", "to", "why"}, as JSON


def finding(config: Config, path: str, value: Any, why: str) -> Finding:
    """One finding about a setting of a config."""
    return {"path": path, "from": _plain(load.find(config, path)), "to": value, "why": why}


def applied(config: Config, findings: Iterable[Mapping[str, Any]]) -> Config:
    """A config with what was found in the place of what stood there.

    Names come first: another part (`objective.name`) brings its own options, complete.
    """
    findings = list(findings)
    names = {f["path"]: str(f["to"]) for f in findings if f["path"].endswith(".name")}
    config = load.override(config, names)
    with config.unlocked():
        for found in findings:
            if not found["path"].endswith(".name"):
                value = found["to"]
                assign(config, found["path"], tuple(value) if isinstance(value, list) else value)
    return config


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    return list(value) if isinstance(value, tuple) else value
