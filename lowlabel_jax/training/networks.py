"""The network as the phases of a run see it: which stages move, or the head alone."""

from collections.abc import Callable, Mapping
from typing import Any

from lowlabel_jax.core import named
from lowlabel_jax.core.errors import UserError, nearest
from lowlabel_jax.ops import layers
from lowlabel_jax.pretrained import pixels

HEADS = "heads"  # below params: layers that objectives bring, see build.weights


def network(config: Mapping[str, Any]) -> Any:
    """The model that the config names, for the data's classes."""
    return named.build("model", config["model"], num_classes=config["info"]["num_classes"])


def frozen(model: Any, spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The stages of the model that a phase leaves as they are.

    Raises UserError where the phase's first trained stage is none of the model's.
    """
    first = "head" if spec["features"] != "off" else spec["train_from"]
    if not first:
        return ()
    if first not in model.stages:
        raise UserError(
            f"train_from = {first!r} is no stage of the model.{nearest(first, model.stages)}",
            f"its stages: {', '.join(model.stages)}.",
        )
    return model.stages[: model.stages.index(first)]


def rates(model: Any, spec: Mapping[str, Any]) -> dict[str, float]:
    """Stage -> its learning rate as a multiple of the head's (arXiv:1801.06146, section 3.2)."""
    return {name: spec["rate_decay"] ** i for i, name in enumerate(reversed(model.stages))}


def whole(config: Mapping[str, Any], model: Any, spec: Mapping[str, Any] | None = None) -> Callable:
    """apply_fn of the network on images in [-1, 1], with the pixels that its weights want.

    In a phase (spec), frozen stages run as in evaluation: their BatchNorm keeps its statistics.
    """
    show = _shower(config["pretrained"]["pixels"], config["info"]["image_shape"][-1])
    resting = frozen(model, spec) if spec else ()
    norms = model.stages if spec and spec["batch_norm"] == "running" else ()

    def apply(variables: Any, images: Any, train: bool, **how: Any) -> Any:
        with layers.resting(resting, norms):
            return model.apply(variables, show(images), train=train, **how)

    return apply


def head_alone(model: Any) -> Callable:
    """apply_fn of the head on features [b, f], with the whole network's variables."""

    def apply(variables: Any, features: Any, train: bool, mutable: Any = (), **how: Any) -> Any:
        mine = {**variables, "params": variables["params"]["head"]}
        mine.pop("batch_stats", None)  # a head has none; the backbone's stay as they are
        found = (model.head.apply(mine, features, train, **how), {"features": features})
        return (found, {"batch_stats": variables.get("batch_stats", {})}) if mutable else found

    return apply


def _shower(name: str, channels: int) -> Callable:
    """Images in [-1, 1] -> what the weights want. Raises UserError where channels do not fit."""
    if not name:
        return lambda images: images
    wanted = pixels.find(name)
    if channels != 3 and len(set(zip(wanted.mean, wanted.std, strict=True))) > 1:
        raise UserError(
            f"pixels {name!r} are of three channels, and the images have {channels}.",
            "for image files set --config.image.channels=3.",
        )
    scale, shift = (v[:channels].reshape(1, 1, 1, -1) for v in pixels.affine(wanted))
    return lambda images: (images[..., ::-1] if wanted.bgr else images) * scale + shift
