"""Training from Python, as launch.py does it from a shell: what lowlabel_jax.train calls."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from lowlabel_jax.configuration import keys, load
from lowlabel_jax.configuration.check import check
from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.configuration.resolve import as_dict
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.runs import listing

SECTIONS = {key.path.rpartition(".")[0] for key in keys.KEYS} - {""}
What = str | os.PathLike[str] | Mapping[str, Any] | ConfigDict


class Trained(NamedTuple):
    """What `train` has made; it stands for its directory wherever a path is wanted."""

    directory: Path
    numbers: dict[str, Any]  # {"test": {"accuracy": …, …}, "validation": …}, those that there are

    def __fspath__(self) -> str:
        return os.fspath(self.directory)


def config(what: What, overrides: Mapping[str, Any] | None = None) -> Config:
    """A complete config, see lowlabel_jax.config. Raises UserError with all that is wrong."""
    if isinstance(what, ConfigDict):
        made = what
    elif isinstance(what, Mapping):
        made = load.from_json(dict(_settings(what)))
    else:
        made = load.get_config(listing.config_path(os.fspath(what)))
    texts = {path: str(value) for path, value in (overrides or {}).items()}
    found = load.override(made, texts)
    check(found)
    return found


def train(what: What, workdir: str | os.PathLike[str], **options: Any) -> Trained:
    """Train, or go on with, the run that belongs in a directory, see lowlabel_jax.train."""
    made, directory = config(what), Path(workdir)
    from lowlabel_jax import start

    start.jax_ready()
    options["command"] = options.get("command") or command(made, directory)
    if made.tune.budget == "off":
        from lowlabel_jax.runs.train import train as run
    elif options.pop("force_resume", False):
        raise UserError("a self-tuned run takes no force_resume.", "leave it out.")
    else:
        from lowlabel_jax.runs.auto.auto import auto as run
    return Trained(directory, run(made, directory, **options))


def _settings(given: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    """("batch.labelled", 8), …: what sections say; what they leave out keeps its default."""
    for key, value in given.items():
        path = f"{where}.{key}".lstrip(".")
        if isinstance(value, Mapping) and path in SECTIONS:
            yield from _settings(value, path)
        else:
            yield path, value


def command(made: Config, directory: Path) -> list[str]:
    """A shell's command that trains the same: the settings that differ from the defaults."""
    default = dict(_settings(as_dict(keys.base())))
    given = _settings(as_dict(made))
    own = {path: value for path, value in given if value != default.get(path)}
    said = f"ll.train({own!r}, {os.fspath(directory)!r})"
    return ["python", "-c", f"import lowlabel_jax as ll; {said}"]
