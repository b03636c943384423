"""From a resolved config to the things it names: the state before a step, a phase's step."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import optax

from lowlabel_jax import optimizers, state
from lowlabel_jax.augment.views import streams
from lowlabel_jax.core import named, parallel
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data.source import Info
from lowlabel_jax.objectives.base import Objective
from lowlabel_jax.ops.compiling import compile_options
from lowlabel_jax.ops.initialise import feature_size, fill, initialise
from lowlabel_jax.training import policies
from lowlabel_jax.training.step import make_step


class Phase(NamedTuple):
    """One phase, ready to run."""

    spec: Mapping[str, Any]
    model: Any
    objective: Objective
    tx: optax.GradientTransformation
    init: Callable[[], Any]  # what objective and augmentation remember before the first step
    step: parallel.Mapped  # (state, sharded batch, resident) -> (state, metrics)
    batch_sizes: dict[str, int]  # stream -> images a step, for the streams that it needs


def phase(config: Mapping[str, Any], number: int) -> Phase:
    """A phase of a run. Raises UserError where its batches do not fit the data or the devices."""
    spec = config["phases"][number]
    known = {"total_steps": spec["steps"], "info": info(config)}
    objective = named.build("objective", spec["objective"], **known)
    satisfy(config, objective)
    rate = named.build("rate", spec["optimizer"]["rate"], **known)
    tx = named.build("optimizer", {**spec["optimizer"], "rate": rate})
    recipes = {name: named.build("augment", made) for name, made in config["augment"].items()}
    step = make_step(objective, recipes, state.Average(**config["ema"]), rate)
    devices = parallel.device_count(config["devices"])
    options = compile_options(jax.default_backend())
    mapped = parallel.mapped(step, devices, donate=True, options=options)
    sizes = batch_sizes(config, objective, devices)
    learners = policies.learning(recipes, objective.views)

    def init() -> dict[str, Any]:
        method = objective.init(info(config))
        return {"method": method, "augment": policies.first_memory(learners)}

    return Phase(spec, network(config), objective, tx, init, mapped, sizes)


def batch_sizes(config: Mapping[str, Any], objective: Objective, devices: int) -> dict[str, int]:
    """stream -> global batch size. Raises UserError with the nearest sizes that can be split."""
    labelled = config["batch"]["labelled"]
    sizes = {"labelled": labelled}
    if "unlabelled" in streams(objective.views):
        sizes["unlabelled"] = labelled * config["batch"]["mu"]
    for stream, size in sizes.items():
        if size % devices:
            raise parallel.indivisible(f"the {stream} batch", size, devices)
    return sizes


def satisfy(config: Mapping[str, Any], objective: Objective) -> None:
    """Raise UserError where an objective wants what the run does not have."""
    if "unlabelled" in streams(objective.views) and not config["info"]["sizes"]["unlabelled"]:
        raise UserError(
            "this objective needs unlabelled images: got 0.",
            "add some, or set split.unlabelled_includes_labelled=True.",
        )
    if "teacher" in objective.views and not config["teacher"]:
        raise UserError(
            "this objective learns from a finished run, and teacher is empty.",
            "train one first, e.g. with objective supervised, then --config.teacher=RUN.",
        )


def info(config: Mapping[str, Any]) -> Info:
    """What the run knows of its data, as kept in its config."""
    kept = config["info"]
    return Info(
        kept["num_classes"],
        tuple(kept["class_names"]),
        tuple(kept["image_shape"]),
        kept["sizes"],
        tuple(kept["label_counts"]),
    )


def network(config: Mapping[str, Any]) -> Any:
    """The model that the config names, for the data's classes."""
    return named.build("model", config["model"], num_classes=config["info"]["num_classes"])


def new_state(config: Mapping[str, Any], first: Phase) -> state.TrainState:
    """The state before the first step."""
    seeds = config["seeds"]
    variables = weights(config, first.model)
    optimizers.decays(variables["params"])  # a leaf without a rule is said before compiling
    return state.create(variables, first.model.apply, first.tx, first.init(), seeds["augment"])


def weights(config: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """The first weights: the network's and, below "heads", the layers that objectives bring."""
    shape, seed = tuple(config["info"]["image_shape"]), config["seeds"]["init"]
    variables = initialise(model, shape, seed)
    features = feature_size(model, shape)
    heads = {}
    for spec in config["phases"]:
        known = {"total_steps": spec["steps"], "info": info(config)}
        objective = named.build("objective", spec["objective"], **known)
        heads |= objective.heads(info(config), features)
    if not heads:
        return variables
    shapes = jax.tree.map(
        lambda s: jax.ShapeDtypeStruct(s, "float32"), heads, is_leaf=lambda s: isinstance(s, tuple)
    )
    filled = fill({"params": {"heads": shapes}}, seed)["params"]
    return {**variables, "params": {**variables["params"], **filled}}


def like_phase(fresh: state.TrainState, of: Phase) -> state.TrainState:
    """A state of the form that the given phase has: what its checkpoints hold.

    What augmentation has learnt so far goes along, as the weights do.
    """
    aux = of.init()
    known = {name: fresh.aux["augment"].get(name, new) for name, new in aux["augment"].items()}
    return fresh.enter_phase(of.tx, {**aux, "augment": known})


def check(config: Mapping[str, Any]) -> None:
    """Build all that a config names, so that a mistake is said before a run has begun."""
    for number in range(len(config["phases"])):
        phase(config, number)
    initialise(network(config), tuple(config["info"]["image_shape"]), seed=0)
