"""The supervised phase of a config that is being learnt, and findings about it."""

from collections.abc import Mapping
from typing import Any

from lowlabel_jax.configuration.keys import Config, assign
from lowlabel_jax.tuning.findings import Finding, applied, finding


def supervised(config: Config) -> Config:
    """The config with the objective of its supervised phase: what these settings are tried on."""
    with (config := applied(config, [])).unlocked():
        assign(config, "objective", config.phases.supervised.objective.to_dict())
    return config


def of_phase(config: Config, values: Mapping[str, Any], why: str) -> list[Finding]:
    """Findings from values of trials: what is the objective's there is the supervised phase's."""
    section = "objective."
    places = {
        (f"phases.supervised.{path}" if path.startswith(section) else path): value
        for path, value in values.items()
    }
    return [finding(config, path, value, why) for path, value in places.items()]
