"""Everything that is wrong with a config, found together and before anything is compiled."""

from collections.abc import Iterator, Mapping
from typing import Any

from lowlabel_jax.configuration import keys, load
from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.core import named, ranges
from lowlabel_jax.core.errors import nearest, problems
from lowlabel_jax.data import held_out
from lowlabel_jax.data.sets import MEASURED

LEAST_PLATEAU = 5  # four losses in falling order come by chance in 1 of 24 cases: too few to tell


def check(config: Config) -> None:
    """Raise one UserError that lists every problem. Needs no data and no JAX."""
    problems(_all(config), "lowlabel configs NAME shows a config with the reason for each key.")


def _all(config: Config) -> Iterator[str]:
    yield from _unknown(config)
    yield from _ranges(config)
    for path, spec in load.parts(config):
        yield from named.problems(keys.kind_of(path), spec, path)
    for path in ("length", "split.labelled", "split.validation", "split.test"):
        measured = path in ("split.validation", "split.test")
        yield from _amount(path, load.find(config, path), zero=measured)
    yield from _split(config)
    yield from _images(config)
    yield from _phases(config)
    yield from _together(config)


def _images(config: Config) -> Iterator[str]:
    """What config.image says to a source whose images are arrays already, and do not listen."""
    name = config.source.get("name")
    if name not in named.parts("source") or "image" in named.options("source", name):
        return
    for key in keys.KEYS:
        if key.path.startswith("image.") and load.find(config, key.path) != key.default:
            yield f"{key.path} does nothing here: the images of the source {name!r} are arrays."


def _unknown(config: Config) -> Iterator[str]:
    known = {key.path for key in keys.KEYS}
    roots = {path for path in known if isinstance(_default(path), Mapping)}
    for path in load.flat(config):
        if path not in known and not any(path.startswith(f"{root}.") for root in roots):
            yield f"unknown setting {path!r}.{nearest(path, known)}"
    for path in sorted(known):
        if load.find(config, path) is None and _default(path) is not None:
            yield f"the setting {path!r} is missing: begin the config with base()."


def _default(path: str) -> Any:
    return _key(path).default


def _key(path: str) -> keys.Key:
    return next(key for key in keys.KEYS if key.path == path)


def _ranges(config: Config) -> Iterator[str]:
    for key in keys.KEYS:
        value = load.find(config, key.path)
        if value is not None and (broken := ranges.breaks(key.rule, value)):
            yield f"{key.path} = {value!r} {broken}."


def _split(config: Config) -> Iterator[str]:
    """What of config.split contradicts itself, once its amounts are amounts."""
    amounts = {f"split.{name}": config.split[name] for name in MEASURED}
    if not any(list(_amount(path, amount, zero=True)) for path, amount in amounts.items()):
        yield from held_out.misfits(config.split.to_dict())
    for key in ("unknown_classes", "normal_classes"):
        names = config.split[key]
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            yield f"split.{key} = {names!r} must be names: ('cat', 'dog')."


def _amount(path: str, amount: Any, zero: bool = False) -> Iterator[str]:
    units = keys.UNITS[path.rsplit(".", 1)[-1]]
    if amount is None:
        return
    given = {unit: v for unit, v in dict(amount).items() if v is not None}
    if len(given) != 1 or not set(given) <= set(units):
        yield f"{path} = {given} must have one of the units {', '.join(units)}."
        return
    ((unit, value),) = given.items()
    if not (value > 0 or (zero and value == 0)):
        yield f"{path}.{unit} = {value!r} must be above 0."
    if unit == "fraction" and (value > 1 or (zero and value == 1)):
        yield f"{path}.{unit} = {value!r} must be {'below 1' if zero else '1 or less'}."


def _phases(config: Config) -> Iterator[str]:
    known = dict(config.phases)
    for name in config.order:
        if name not in known:
            yield f"order names a phase {name!r}.{nearest(name, known)} There are: {list(known)}."
    for name, phase in known.items():
        if name not in config.order:
            yield f"phase {name!r} is not in order={tuple(config.order)}: it would never run."
        for key, value in phase.items():
            if key not in keys.PHASE:
                yield f"phases.{name}: no setting {key!r}.{nearest(key, keys.PHASE)}"
            elif broken := ranges.breaks(_key(key).rule, value):
                yield f"phases.{name}.{key} = {value!r} {broken}."
        yield from _amount(f"phases.{name}.length", phase.get("length"))


def _together(config: Config) -> Iterator[str]:
    if config.median_of > max(config.checkpoint.keep, 1):
        yield f"median_of = {config.median_of} needs checkpoint.keep to be at least as many."
    if config.split.normal_classes and config.tune.budget != "off":
        yield "split.normal_classes goes without tuning, which learns to label: tune.budget='off'."
    length, rate = dict(config.length), config.optimizer.get("rate", {})
    warmup, steps = rate.get("warmup", 0), length.get("steps")
    if isinstance(warmup, int) and steps and warmup > steps:
        yield f"optimizer.rate.warmup = {warmup} is longer than length.steps = {steps}."
    if config.median_of > 1 and "best" in _in_force(config, "keep"):
        yield f"median_of = {config.median_of} wants the last checkpoints: leave keep at 'last'."
    for window in _in_force(config, "plateau"):
        if isinstance(window, int) and 0 < window < LEAST_PLATEAU:
            yield f"plateau = {window} is too few to tell a trend: {LEAST_PLATEAU} or more, or 0."
    for key, idle in (("patience", 0), ("plateau", 0), ("keep", "last")):
        if all(value == idle for value in _in_force(config, key)):
            continue
        named_by = "keep='best'" if key == "keep" else key
        if not validates(config):
            yield f"{named_by} needs validation images: set split.validation.per_class."
        if not config.evaluate_every:
            yield f"{named_by} goes by evaluations: set evaluate_every."


def validates(config: Config) -> bool:
    """Whether there will be validation images, as far as the config knows."""
    brings = config.source.get("validation") or config.split.file  # the source; another's split
    return bool(brings) or held_out.draws(config.split.to_dict(), "validation")


def _in_force(config: Config, key: str) -> list[Any]:
    """What each phase has of a setting: its own, or the one that stands for all."""
    phases = dict(config.phases).values()
    return [phase.get(key, config[key]) for phase in phases] or [config[key]]
