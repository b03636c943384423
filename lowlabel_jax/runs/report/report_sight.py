"""The images and the weights of a run, for the parts of its report that show them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data import splits
from lowlabel_jax.data.opened import open_data
from lowlabel_jax.data.sets import rows
from lowlabel_jax.data.source import Source, image_name
from lowlabel_jax.runs.report.report_read import Found

if TYPE_CHECKING:
    from lowlabel_jax.runs.predict.predict import Run

SECTIONS = ("image", "pretrained")  # of a config; runs of the first versions have them not


class Data(NamedTuple):
    """The source of a run and its split, unchanged since it was trained."""

    source: Source
    split: splits.Split

    def images(self, name: str, places: np.ndarray) -> np.ndarray:
        """uint8 [m, h, w, c]: the images of a run's set at places [m] in it."""
        place, indices, _ = rows(self.source, self.split, name)
        return self.source.read(place, indices[places])

    def image_names(self, name: str, places: np.ndarray) -> list[str]:
        """What the images at these places [m] of a run's set are called."""
        place, indices, _ = rows(self.source, self.split, name)
        return [image_name(self.source, place, i) for i in indices[places].tolist()]


class Sight(NamedTuple):
    """Data and weights of a run, or why they are not to be had."""

    data: Data | UserError
    run: "Run | UserError"

    @property
    def needed_data(self) -> Data:
        """Raises UserError with the reason where the data is not to be had."""
        return _had(self.data)

    @property
    def needed_run(self) -> "Run":
        """Raises UserError with the reason where there are no weights."""
        return _had(self.run)


def see(found: Found) -> Sight:
    """Open a run's data and read its newest checkpoint, each as far as that can be done."""
    return Sight(_tried(lambda: _open(found)), _tried(lambda: _load(found)))


def _open(found: Found) -> Data:
    _check_age(found)
    source = open_data(found.config)
    if source.fingerprint != found.config["data_fingerprint"]:
        raise UserError("the data has changed since the run was trained")
    return Data(source, splits.read(found.directory / "splits/split.json", source))


def _load(found: Found) -> "Run":
    _check_age(found)
    from lowlabel_jax.runs.predict.predict import Run

    return Run(found.directory)


def _check_age(found: Found) -> None:
    missing = [name for name in SECTIONS if name not in found.config]
    if missing:
        raise UserError(f"the run is of an older version: its config has no {missing[0]!r}")


def _tried(make: Callable[[], Any]) -> Any:
    """What is made, or the error that says why it cannot be."""
    try:
        return make()
    except UserError as error:
        return error
    except (KeyError, TypeError, ValueError, OSError) as error:  # of a config of another version
        return UserError(f"this version cannot open it: {type(error).__name__}: {error}")


def _had(thing: Any) -> Any:
    if isinstance(thing, UserError):
        raise thing
    return thing
