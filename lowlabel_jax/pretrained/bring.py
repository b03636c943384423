"""A run's pretrained weights: what of its config they decide, and how they come into its state."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import config_dict

from lowlabel_jax.core import named
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.pretrained import catalogue, fitting, hub, layout, pixels, reading


class Brought(NamedTuple):
    """Weights that a config names, and what travels with them."""

    weights: reading.Weights
    layout: layout.Layout
    record: catalogue.Pretrained | None  # None: a file that we have no record of
    pixels: str


def find(spec: Mapping[str, Any], model: str) -> Brought:
    """The weights of config["pretrained"] for a model by its name.

    Raises UserError where there is no such file, where it is another than was expected or is no
    file of weights, or where it holds another architecture.
    """
    weights = reading.read(hub.fetch(spec["weights"]))
    catalogue.check(weights, spec["sha256"])
    record = catalogue.find(weights.sha256, spec["weights"])
    if record and record.model["name"] != model:
        raise UserError(
            f"{spec['weights']} is {record.name}, a {record.model['name']}, and model.name is "
            f"{model!r}.",
            f"set --config.model.name={record.model['name']}.",
        )
    found = layout.layout_of(model, list(weights.tensors))
    shown = spec["pixels"] or (record.pixels if record else found.pixels)
    pixels.find(shown)
    return Brought(weights, found, record, shown)


def travelled(config: Any) -> tuple[Any, list[str]]:
    """(the config with what its weights bring: epsilon, padding, width, pixels; what that is).

    A ConfigDict -> another one. Without pretrained weights it is the same.
    """
    if not config.pretrained.weights:
        return config, []
    brought = find(config.pretrained.to_dict(), config.model.name)
    config = config_dict.ConfigDict(config)
    config.pretrained.pixels = brought.pixels
    config.pretrained.sha256 = brought.weights.sha256
    known = brought.record.model if brought.record else {}
    known = {**brought.layout.options, **known}
    offered = named.options("model", config.model.name)
    for name, value in known.items():
        if name in offered:
            config.model[name] = value
    listed = [f"{name}={value!r}" for name, value in known.items() if name in offered]
    return config, [*listed, f"pixels={brought.pixels!r}"]


def into(
    spec: Mapping[str, Any], model: str, variables: Mapping[str, Any]
) -> tuple[dict[str, Any], str]:
    """(a model's variables with the weights of config["pretrained"] in them, what became of which).

    Layers that objectives bring stay as they are.
    """
    brought = find(spec, model)
    own = {**variables, "params": {k: v for k, v in variables["params"].items() if k != "heads"}}
    filled, account = fitting.fitted(own, brought.weights.tensors, brought.layout)
    filled["params"] = {**variables["params"], **filled["params"]}
    source = f" ({brought.record.source}; {brought.record.licence})" if brought.record else ""
    return filled, f"{spec['weights']}{source}: {account}"
