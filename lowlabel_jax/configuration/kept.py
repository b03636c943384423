"""A run's config.json as the settings that it came from: `--config=RUN/config.json` repeats a run.

It is data, where a config file is code: nothing in it is run.
"""

from collections.abc import Mapping
from typing import Any

from lowlabel_jax.configuration import keys
from lowlabel_jax.core.errors import UserError

OF_DATA = ("info", "data_fingerprint", "seeds", "phases")  # what resolving has put there


def settings(kept: Any) -> dict[str, Any]:
    """The settings of a resolved config, which resolve to the same one again: no other is altered.

    What all phases share stands at the top, where `--config.objective.threshold=` reaches it; seeds
    that follow `seed` go on following it. A run whose settings were learnt learns nothing anew.
    Raises UserError where it is no config at all.
    """
    if not isinstance(kept, Mapping):
        raise UserError("the JSON given as --config is no config.", "give a run's config.json.")
    if not isinstance(kept.get("phases"), list):
        return dict(kept)
    found = {key: value for key, value in kept.items() if key not in OF_DATA}
    own = {name: number for name, number in kept["seeds"].items() if number != kept["seed"]}
    if own:
        found["seeds"] = own
    if kept.get("tuned"):
        found["tune"] = {**kept["tune"], "budget": "off"}
    return found | _phases([_phase(spec) for spec in kept["phases"]])


def _phase(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved phase in the keys of a config: its steps are a length."""
    given = {key: value for key, value in spec.items() if key != "steps"}
    return {**given, "length": {"steps": spec["steps"]}}


def _phases(specs: list[dict[str, Any]]) -> dict[str, Any]:
    """{"objective": …, "phases": {name: what differs}, "order": […]} of the phases in turn."""
    first = specs[0]
    shared = {k: first[k] for k in keys.PHASE if all(k in s and s[k] == first[k] for s in specs)}
    if [spec["name"] for spec in specs] == ["train"]:
        return shared
    differs = {
        s["name"]: {k: s[k] for k in keys.PHASE if k in s and k not in shared} for s in specs
    }
    return {**shared, "phases": differs, "order": [spec["name"] for spec in specs]}
