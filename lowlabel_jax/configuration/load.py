"""A config file plus `--config.a.b=value` overrides -> a complete ConfigDict, or what is wrong."""

import copy
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from absl import flags
from ml_collections import config_dict, config_flags

from lowlabel_jax.configuration import keys
from lowlabel_jax.configuration.kept import settings
from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.core import files, named
from lowlabel_jax.core.errors import UserError, nearest, problems

PREFIX = "--config."


def load(file: str, overrides: Iterable[str] = ()) -> Config:
    """`configs/x.py` or `configs/x.py:argument`, overridden. Raises UserError listing all faults.

    A config is code: run only files that you trust.
    """
    config = get_config(file)
    return override(config, parse(overrides))


def get_config(file: str) -> Config:
    """What the file's get_config returns, on top of nothing: the file decides all of it.

    A .json is data: the config.json of a run, or one that `resolve.as_dict` has made plain.
    """
    path, _, argument = file.partition(":")
    if path.endswith(".json"):
        return from_json(settings(files.read_json(Path(path))))
    module = read_module(path)
    if not hasattr(module, "get_config"):
        raise UserError(f"{path} defines no get_config().", "see configs/ for the form.")
    return module.get_config(argument) if argument else module.get_config()


def from_json(kept: Mapping[str, Any]) -> Config:
    """The config that `resolve.as_dict` has made plain: lists are tuples again."""

    def tuples(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: tuples(inner) for key, inner in value.items()}
        return tuple(map(tuples, value)) if isinstance(value, list) else value

    config = keys.base()
    for key, value in kept.items():
        if value is not None:
            keys.assign(config, key, tuples(value))
    for path in (key.path for key in keys.KEYS if key.default is None):
        if find(config, path) is None:
            keys.assign(config, path, config_dict.placeholder(int))
    return config


def read_module(path: str) -> ModuleType:
    """The config file as a module."""
    place = Path(path)
    if not place.is_file():
        there = sorted(str(p) for p in place.parent.glob("*.py")) if place.parent.is_dir() else []
        listed = f"there are: {', '.join(there)}." if there else "lowlabel configs lists them."
        raise UserError(f"there is no config file {path!r}.{nearest(path, there)}", listed)
    spec = importlib.util.spec_from_file_location(f"config_{place.stem}", place)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(place.resolve().parent))  # a config may import its neighbour
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


def parse(arguments: Iterable[str]) -> dict[str, str]:
    """["--config.seed=3"] -> {"seed": "3"}. Anything else is refused, with what was meant."""
    found, wrong = {}, []
    for argument in arguments:
        path, equals, value = argument.removeprefix(PREFIX).partition("=")
        if argument.startswith(PREFIX) and equals:
            found[path] = value
        elif argument.startswith(PREFIX):
            wrong.append(f"{argument!r} has no value. Write {PREFIX}{path}=VALUE.")
        else:
            meant = f" Did you mean {'--' + argument.lstrip('-')!r}?" if "=" in argument else ""
            wrong.append(f"{argument!r} is not an option.{meant}")
    problems(wrong, "python launch.py --help lists the options.")
    return found


def override(config: Config, overrides: Mapping[str, str]) -> Config:
    """The config with every part's defaults written out and the overrides applied, typed.

    Naming another part (`objective.name=mean_teacher`) brings that part's defaults;
    another unit (`length.epochs=30`) replaces the one that stood there.
    """
    config = copy.deepcopy(config)  # the caller's stays as it was
    with config.unlocked():
        for path, value in overrides.items():
            if path.endswith(".name") and keys.kind_of(path.removesuffix(".name")):
                rename(config, path.removesuffix(".name"), value)
        for path, spec in parts(config):
            if spec["name"] in named.parts(keys.kind_of(path)):
                keys.assign(config, path, named.complete(keys.kind_of(path), spec))
        for path in overrides:
            change_unit(config, path)
    config.lock()
    wrong = [line for path, value in overrides.items() for line in put(config, path, value)]
    problems(wrong, "lowlabel configs NAME lists the settings of a config.")
    return config


def parts(config: Config) -> list[tuple[str, dict[str, Any]]]:
    """Every named part that is not inside another one: (dotted path, spec)."""
    return list(_parts(config.to_dict(), ""))


def _parts(section: Mapping[str, Any], where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, value in section.items():
        path = f"{where}.{key}".lstrip(".")
        if not isinstance(value, Mapping):
            continue
        if keys.kind_of(path) and "name" in value:
            yield path, dict(value)
        else:
            yield from _parts(value, path)


def rename(config: Config, path: str, name: str) -> None:
    """Put another part at a path, with its own defaults: a threshold of 0.8 that a config chose for
    FixMatch is not Mean Teacher's. Parts inside it stay (an optimiser's `rate`).
    """
    spec = find(config, path)
    if not isinstance(spec, config_dict.ConfigDict):
        raise UserError(f"unknown setting '{path}.name'.{nearest(path, flat(config))}")
    known = named.parts(keys.kind_of(path))
    shared = named.options(keys.kind_of(path), name) if name in known else {}
    inner = {k: v for k, v in spec.items() if k in shared and keys.kind_of(k)}
    keys.assign(config, path, spec if name == spec.name else {"name": name} | inner)


def change_unit(config: Config, path: str) -> None:
    """Where a path gives a length or an amount in another unit than stands there, swap the unit."""
    parent, _, unit = path.rpartition(".")
    units = keys.UNITS.get(parent.rsplit(".", 1)[-1], {})
    if unit in units and find(config, parent) is not None:
        keys.assign(config, parent, {unit: units[unit]()})


def put(config: Config, path: str, text: str) -> Iterator[str]:
    """Set one value from its text, typed as the value that stands there; yield what is wrong."""
    known = flat(config)
    if path not in known:
        yield f"unknown setting {path!r}.{nearest(path, known)}"
        return
    values, argv = flags.FlagValues(), ["launch.py", f"{PREFIX}{path}={text}"]
    config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
    try:
        values(argv)
    except (flags.Error, ValueError, TypeError) as error:
        kind = type(known[path]).__name__
        why = str(error).splitlines()[0]
        yield f"{path} = {text!r} does not fit a value of type {kind} ({why})."


def find(config: Any, path: str) -> Any:
    """The value at a dotted path, or None."""
    for key in path.split("."):
        if not isinstance(config, config_dict.ConfigDict) or key not in config:
            return None
        config = config[key]
    return config


def flat(config: Config) -> dict[str, Any]:
    """{"batch.mu": 7, …}: every setting that can be overridden."""
    return dict(_flat(config, ""))


def _flat(section: Config, where: str) -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        path = f"{where}.{key}".lstrip(".")
        if isinstance(value, config_dict.ConfigDict):
            yield from _flat(value, path)
        else:
            yield path, value
