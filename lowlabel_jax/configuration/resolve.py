"""resolve(config, info): a plain dict in which nothing is left to derive. It is config.json."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from lowlabel_jax.configuration import keys
from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.core import units
from lowlabel_jax.core.errors import problems
from lowlabel_jax.data.source import Info

RESUMABLE = (  # what a resumed run may change: more steps, how it is watched, where it runs
    "phases.*.steps",
    "log_every",
    "checkpoint.every",
    "checkpoint.keep",
    "checkpoint.seconds",
    "median_of",
    "batch.evaluation",
    "devices",
    "steps_per_call",
    "skip_bad_steps",
    "feed.*",
    "image.cache",
    "method",
)


def resolve(config: Config, info: Info, fingerprint: str) -> dict[str, Any]:
    """Seeds, phases, lengths in steps, what is known of the data. Raises UserError on misfits."""
    whole = as_dict(config)
    top = {key: whole.pop(key) for key in keys.PHASE}
    phases, order, batch_size = whole.pop("phases"), whole.pop("order"), whole["batch"]["labelled"]
    resolved = {
        **whole,
        "seeds": seeds(config),
        "phases": [
            phase(name, {**top, **phases.get(name, {})}, top["optimizer"]["rate"], batch_size, info)
            for name in (order or ["train"])
        ],
        "info": as_plain(info._asdict()),
        "data_fingerprint": fingerprint,
    }
    problems(misfits(resolved))
    return resolved


def seeds(config: Config) -> dict[str, int]:
    """The four seeds; those that are not set are `seed`."""
    return {name: config.seed if s is None else s for name, s in config.seeds.items()}


def phase(
    name: str, spec: Mapping[str, Any], rate: Mapping[str, Any], batch_size: int, info: Info
) -> dict[str, Any]:
    """One phase with its length and its warm-up in steps; `rate` where it brings none itself."""
    steps = units.steps(spec["length"], batch_size, info.sizes["labelled"])
    rate = dict(spec["optimizer"].get("rate", rate))
    if isinstance(rate.get("warmup"), Mapping):
        rate["warmup"] = units.steps(rate["warmup"], batch_size, info.sizes["labelled"])
    return {
        "name": name,
        "objective": dict(spec["objective"]),
        "optimizer": {**spec["optimizer"], "rate": rate},
        "steps": 1 if spec["features"] == "probe" else steps,  # it is solved, not approached
        **{key: spec[key] for key in keys.PHASE if key not in ("objective", "optimizer", "length")},
    }


def misfits(config: Mapping[str, Any]) -> list[str]:
    """What of a resolved config does not go together with the data."""
    found = []
    for spec in config["phases"]:
        warmup = spec["optimizer"]["rate"].get("warmup", 0)
        climbs = spec["features"] != "probe" and spec["moves"] == "weights"
        if spec["steps"] < 1:
            found.append(f"phase {spec['name']!r} has no steps.")
        elif warmup > spec["steps"] and climbs:
            found.append(
                f"phase {spec['name']!r}: warmup {warmup} is over its {spec['steps']} steps."
            )
    if not config["info"]["sizes"]["labelled"]:
        found.append("no image is labelled: raise split.labelled.")
    return found + list(off_beat(config))


def off_beat(config: Mapping[str, Any]) -> Iterator[str]:
    """What of a resolved config comes due in the middle of a call of `steps_per_call` steps."""
    beat = config["steps_per_call"]
    lengths = {key: config[key] for key in ("log_every", "evaluate_every")}
    lengths["checkpoint.every"] = config["checkpoint"]["every"]
    for spec in config["phases"]:
        if spec["features"] != "probe":
            lengths[f"phase {spec['name']!r}: length in steps"] = spec["steps"]
    for name, steps in lengths.items():
        low = steps // beat * beat
        if steps % beat:
            near = f"{low} or {low + beat}" if low else f"{beat}"
            yield f"{name} = {steps} is no multiple of steps_per_call = {beat}: {near} would be."


def label(config: Mapping[str, Any]) -> str:
    """What a run is called in comparisons."""
    return config["method"] or "+".join(spec["objective"]["name"] for spec in config["phases"])


def difference(old: Any, new: Any, where: str = "") -> dict[str, tuple[Any, Any]]:
    """{"batch.mu": (old, new)} for every place where two configs differ; None: not there."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        both = sorted(old.keys() | new.keys())
        pairs = [(key, old.get(key), new.get(key)) for key in both]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(str(i), o, n) for i, (o, n) in enumerate(zip(old, new, strict=True))]
    else:
        return {} if old == new else {where: (old, new)}
    parts = [difference(o, n, f"{where}.{key}".lstrip(".")) for key, o, n in pairs]
    return {path: change for part in parts for path, change in part.items()}


def as_dict(config: Config) -> dict[str, Any]:
    """The config as JSON would give it back: tuples are lists."""
    return json.loads(config.to_json())


def as_plain(value: Any) -> Any:
    """A value as it comes back from JSON."""
    return json.loads(json.dumps(value))
