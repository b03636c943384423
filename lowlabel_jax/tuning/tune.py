"""tune(config) -> config: what the data say in the place of the settings that tune.learn names.

Each part looks at what the parts before it have found, and keeps its evidence as a file of its own,
tuning/PART.json: a part that is there is not learnt again. docs/auto.md says what each value means.
"""

import time
from collections.abc import Callable
from typing import Any

from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.core import files, log, units
from lowlabel_jax.core.errors import UserError, nearest
from lowlabel_jax.tuning import (
    batch_size,
    learning_rate,
    lengths,
    look,
    policy,
    presets,
    regularisation,
    semi,
)
from lowlabel_jax.tuning.findings import Finding, applied
from lowlabel_jax.tuning.ground import Ground

Learn = Callable[[Ground, Config], dict[str, Any]]
PARTS: dict[str, tuple[str, Learn]] = {
    "batch": ("batch size", batch_size.learn),
    "rate": ("learning rate", learning_rate.learn),
    "regularisation": ("regularisation", regularisation.learn),
    "semi": ("semi-supervised method", semi.learn),
}


def check(config: Config) -> None:
    """Raise UserError for a part that there is not, or a preset, before anything is begun."""
    known = ("model", *PARTS)
    if wrong := [part for part in config.tune.learn if part not in known]:
        raise UserError(
            f"tune.learn names {wrong[0]!r}.{nearest(wrong[0], known)}",
            f"it may name {', '.join(known)}.",
        )
    if config.tune.preset:
        presets.load(config.tune.preset)


def tune(ground: Ground, config: Config, validation: str) -> Config:
    """The learnt config; what was found and why stands in its `tuned`.

    validation: how the labelled images validate, in words. Repeated after a kill it goes on where
    it was and comes to the same config.
    """
    config = begun(config)
    facts = kept(ground, "data", lambda: look.learn(ground, config, validation))
    for note in facts["notes"]:
        log.warn(note)
    findings = labelled("data", facts["findings"])
    config = applied(config, facts["findings"])
    for part, (what, learn) in PARTS.items():
        if part in config.tune.learn and possible(ground, part):
            log.say(f"learning the {what} ...")
            given = config
            found = kept(ground, part, lambda learn=learn, given=given: learn(ground, given))
            log.say(f"  {found['why']}")
            findings += labelled(part, found["findings"])
            config = applied(config, found["findings"])
            if "label_noise" in found:
                files.write_json(
                    ground.directory / "data.json", facts | {"label_noise": found["label_noise"]}
                )
    return finished(ground, config, findings, validation)


def begun(config: Config) -> Config:
    """The config with a supervised phase, so that what is learnt of it has a place."""
    config = applied(config, [])
    with config.unlocked():
        if "supervised" not in config.phases:
            config.phases = {"supervised": {"objective": {"name": "supervised", "strong": True}}}
            config.order = ("supervised",)
    return applied(config, [])


def finished(ground: Ground, config: Config, findings: list[Finding], validation: str) -> Config:
    """The config with its phases and with what was learnt, and no more to learn."""
    changed = {f["path"]: f["to"] for f in findings if f["to"] != f["from"]}
    if regular := {p: v for p, v in changed.items() if p.startswith(presets.SECTIONS)}:
        about = f"learnt on {ground.source.fingerprint[:12]} by a trial of {ground.budget.trial}"
        name = policy.policy_name(regular)
        presets.save(ground.directory / "preset.json", name, about, regular)
    held_out = "held out" in validation
    config = lengths.phased(ground, config, held_out)
    with config.unlocked():
        config.tuned = {"policy": policy.policy_name(changed), "values": tuple(findings)}
        config.tune.budget = "off"
        config.method = config.method or "auto"
    return config


def possible(ground: Ground, part: str) -> bool:
    """Whether there are labels to validate with and, for the last part, unlabelled images."""
    return bool(ground.folds) and (part != "semi" or len(ground.split.unlabelled) > 0)


def labelled(part: str, findings: list[Finding]) -> list[Finding]:
    """Findings, each with the part that it is from."""
    return [{**found, "part": part} for found in findings]


def kept(ground: Ground, part: str, learn: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The evidence of a part: as kept by an earlier try, or learnt now and kept."""
    path = ground.directory / f"{part}.json"
    if path.exists():
        return files.read_json(path)
    began, before = time.monotonic(), dict(ground.spent)
    found = learn()
    seconds = time.monotonic() - began
    cost = {name: ground.spent[name] - before.get(name, 0) for name in ("steps", "images")}
    found["cost"] = {**cost, "seconds": round(seconds, 1)}
    files.write_json(path, found)
    if cost["steps"]:
        log.say(f"  {cost['steps']:,} steps in {units.duration(seconds)}")
    return found
