"""A network as a table: its stages with their shapes, parameters and FLOPs, and what is trained."""

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lowlabel_jax.configuration import check, load, resolve
from lowlabel_jax.core import log, named
from lowlabel_jax.core.errors import UserError, nearest
from lowlabel_jax.data.opened import open_data
from lowlabel_jax.pretrained import bring
from lowlabel_jax.runs import listing, places
from lowlabel_jax.runs.summary import drawing
from lowlabel_jax.runs.summary.summary_stages import Network, look, shape_text, short, totals


def show(
    text: str, overrides: Iterable[str], image: str, classes: int, place: Path | None = None
) -> int:
    """Print the network that was asked for, and draw it where a place is given."""
    places.check("--draw", place, ".svg")
    found = network(text, overrides, image, classes)
    log.say(page(found))
    if place:
        drawing.draw(found, place)
        log.say(f"written: {place}")
    return 0


def network(text: str, overrides: Iterable[str], image: str, classes: int) -> Network:
    """What `lowlabel summary` is asked for: a config's network, or a model's by its name."""
    configs = [path.stem for path in listing.config_files()]
    name, models = text.partition(":")[0], named.parts("model")
    if name in configs or name.endswith(".py"):
        return of_config(text, overrides)
    if name not in models:
        raise UserError(
            f"{text!r} is neither a config nor a model.{nearest(name, [*configs, *models])}",
            f"models: {', '.join(models)}; lowlabel configs lists the configs.",
        )
    if overrides := list(overrides):
        raise UserError(
            f"{overrides[0]} is for a config, and {name} is a model.",
            f"its options follow it: {name}:OPTION=VALUE,OPTION=VALUE.",
        )
    return of_model(text, image, classes)


def of_config(name: str, overrides: Iterable[str] = ()) -> Network:
    """The network that a config (a file, or a name in configs/), overridden, would train."""
    config = load.load(listing.config_path(name), overrides)
    check.check(config)
    config, _ = bring.travelled(config)
    data = open_data(config.to_dict())
    spec = config.model.to_dict()
    model = named.build("model", spec, num_classes=len(data.class_names))
    return look(model, data.image_shape, called(spec), _phases(config))


def of_model(text: str, image: str, classes: int) -> Network:
    """The network of "NAME" or "NAME:option=value,…" for images "224" or "28x20x1".

    Raises UserError for an unknown model or option, and for a shape that is none.
    """
    if classes < 1:
        raise UserError(f"--classes {classes} is too few.", "--classes 1000")
    spec, shape = model_spec(text), image_shape(image)
    return look(named.build("model", spec, num_classes=classes), shape, called(spec))


def page(network: Network) -> str:
    """The network as text: a row for each stage, then the totals."""
    rows = [("stage", "shape", "parameters", "flops", "trained" if network.trained else "")]
    rows += [
        (s.name, shape_text(s.shape), f"{s.parameters:,}", short(s.flops), s.trained)
        for s in network.stages
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = [f"{network.title}, images {shape_text(network.image_shape)}", ""]
    for name, shape, parameters, flops, trained in rows:
        line = f"{name:<{widths[0]}}  {shape:<{widths[1]}}  {parameters:>{widths[2]}}"
        lines.append(f"{line}  {flops:>{widths[3]}}  {trained}".rstrip())
    return "\n".join([*lines, "", *totals(network)])


def model_table(
    model: Any, image_shape: Sequence[int], phases: Sequence[Mapping[str, Any]] = ()
) -> str:
    """The page of a model for one image [h, w, c]."""
    return page(look(model, image_shape, type(model).__name__, phases))


def called(spec: Mapping[str, Any]) -> str:
    """A model's spec in a line, with the options that are not their defaults."""
    defaults = named.options("model", spec["name"])
    said = [
        f"{key}={value!r}"
        for key, value in spec.items()
        if key != "name" and value != getattr(defaults.get(key), "default", None)
    ]
    return f"{spec['name']}({', '.join(said)})" if said else spec["name"]


def model_spec(text: str) -> dict[str, Any]:
    """ "mobilenet_v1:width=0.5,dtype=bfloat16" -> {"name": "mobilenet_v1", "width": 0.5, …}."""
    name, _, options = text.partition(":")
    known = named.options("model", name)
    spec: dict[str, Any] = {"name": name}
    for option in re.split(r",(?=\w+=)", options) if options else ():
        key, equals, value = option.partition("=")
        if not equals:
            raise UserError(f"{option!r} is no option.", f"write {name}:OPTION=VALUE,OPTION=VALUE.")
        is_text = key in known and isinstance(known[key].default, str)
        spec[key] = value if is_text else _literal(value)
    return spec


def image_shape(text: str) -> tuple[int, int, int]:
    """ "224" -> (224, 224, 3); "28x20x1" as it is. Raises UserError for anything else."""
    sides = text.split("x")
    if not all(side.isascii() and side.isdigit() and int(side) for side in sides):
        sides = []
    if len(sides) == 1:
        return int(sides[0]), int(sides[0]), 3
    if len(sides) != 3:
        raise UserError(f"--image {text} is no size.", "--image 224, or as --image 28x28x1.")
    height, width, channels = map(int, sides)
    return height, width, channels


def _phases(config: Any) -> list[dict[str, Any]]:
    """Of each phase of a config its name and what decides which stages it trains."""
    whole = resolve.as_dict(config)
    keys, phases = ("features", "train_from"), whole["phases"]
    return [
        {"name": name, **{key: phases.get(name, {}).get(key, whole[key]) for key in keys}}
        for name in whole["order"] or ["train"]
    ]


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text  # what is wrong with it is said by the option's range
