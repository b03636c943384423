"""From a resolved config to the things it names: the state before a step, a phase's step."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import optax

from lowlabel_jax import optimizers, state
from lowlabel_jax.augment.views import streams
from lowlabel_jax.core import named, parallel
from lowlabel_jax.data.source import Info
from lowlabel_jax.objectives.base import Objective, no_heads
from lowlabel_jax.ops.compiling import compile_options
from lowlabel_jax.ops.initialise import feature_size, fill, initialise
from lowlabel_jax.training import memory, networks, policies, probe, statistics, suits
from lowlabel_jax.training.step import make_step, several, skipping

FRESH = 1000  # so far apart are the seeds of phases that begin anew


class Phase(NamedTuple):
    """One phase, ready to run."""

    spec: Mapping[str, Any]
    model: Any
    objective: Objective
    tx: optax.GradientTransformation
    init: Callable[[], Any]  # what objective and augmentation remember before the first step
    apply_fn: Callable  # the network, or its head alone
    trained: tuple[str, ...]  # names below params that the phase moves
    batch_sizes: dict[str, int]  # stream -> images a step, for the streams that it needs
    calls: dict[int, Any]  # how many steps -> the parallel.Mapped that takes them in one call

    @property
    def step(self) -> Any:
        """(state, sharded batch, resident) -> (state, metrics): one step in one call."""
        return self.calls[1]

    def turns(self, done: int, left: int) -> int:
        """How many steps the next call takes: one by one up to a multiple of steps_per_call."""
        most = max(self.calls)
        return 1 if done % most or left < most else most


def phase(config: Mapping[str, Any], number: int) -> Phase:
    """A phase of a run. Raises UserError where its batches do not fit the data or the devices."""
    spec = config["phases"][number]
    objective = _objective(config, spec)
    suits.satisfied(config, objective)
    model = networks.network(config)
    suits.looks_at(config, spec, model, objective)
    known = {"total_steps": spec["steps"], "info": info(config)}
    known["batch_size"] = config["batch"]["labelled"]
    rate = named.build("rate", spec["optimizer"]["rate"], **known)
    tx = named.build("optimizer", {**spec["optimizer"], "rate": rate})
    tx = optimizers.by_stage(tx, networks.rates(model, spec))
    recipes = {name: named.build("augment", made) for name, made in config["augment"].items()}
    average = state.Average(**config["ema"])
    sizes = batch_sizes(config, objective, parallel.device_total(config["devices"]))
    if spec.get("moves") == "statistics":  # runs begun before there was the setting are read
        norms = statistics.moving(model, info(config).image_shape, spec)
        step = statistics.make_step(objective, recipes, average, norms)
    else:
        step = make_step(objective, recipes, average, rate)
    if config.get("skip_bad_steps"):
        step = skipping(step)
    if spec["features"] == "probe":
        calls = {1: probe.make_step(model, spec["objective"])}
    else:
        calls = _calls(config, spec, step, sizes)
    learners = policies.learning(recipes, objective.views)

    def init() -> dict[str, Any]:
        method = objective.init(info(config))
        return {"method": method, "augment": policies.first_memory(learners)}

    on_images = spec["features"] == "off"
    apply = networks.whole(config, model, spec) if on_images else networks.head_alone(model)
    moves = trained(config, model, spec)
    return Phase(spec, model, objective, tx, init, apply, moves, sizes, calls)


def _calls(
    config: Mapping[str, Any], spec: Mapping[str, Any], step: Callable, sizes: Mapping[str, int]
) -> dict[int, parallel.Mapped]:
    """{how many steps: the program that takes them in one call}; runs of old have one alone."""
    devices, many = parallel.device_count(config["devices"]), config.get("steps_per_call", 1)
    how = {"donate": True, "everywhere": True, "options": compile_options(jax.default_backend())}
    how["inspect"] = memory.inspector(config, spec, sizes)
    made = {1: step, many: several(step, many) if many > 1 else step}
    return {count: parallel.mapped(fn, devices, **how) for count, fn in made.items()}


def trained(config: Mapping[str, Any], model: Any, spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The names below params that a phase moves: stages, and what objectives bring."""
    still = networks.frozen(model, spec)
    heads = (networks.HEADS,) if _heads(config, model) else ()
    return (*(name for name in model.stages if name not in still), *heads)


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


def last_sizes(config: Mapping[str, Any]) -> dict[str, int]:
    """The batch sizes of the last phase, in which a run is at its largest."""
    devices = parallel.device_total(config["devices"])
    return batch_sizes(config, last_objective(config), devices)


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


def new_state(config: Mapping[str, Any], first: Phase) -> state.TrainState:
    """The state before the first step."""
    variables = weights(config, first.model)
    optimizers.decays(variables["params"])  # a leaf without a rule is said before compiling
    seed = config["seeds"]["augment"]
    return state.create(variables, first.apply_fn, first.tx, first.init(), seed, first.trained)


def weights(config: Mapping[str, Any], model: Any, more: int = 0) -> dict[str, Any]:
    """The first weights: the network's and, below "heads", the layers that objectives bring.

    more: what is added to the seed.
    """
    shape, seed = tuple(config["info"]["image_shape"]), config["seeds"]["init"] + more
    variables = initialise(model, shape, seed)
    heads = _heads(config, model)
    if not heads:
        return variables
    shapes = jax.tree.map(
        lambda s: jax.ShapeDtypeStruct(s, "float32"), heads, is_leaf=lambda s: isinstance(s, tuple)
    )
    filled = fill({"params": {networks.HEADS: shapes}}, seed)["params"]
    return {**variables, "params": {**variables["params"], **filled}}


def anew(config: Mapping[str, Any], old: state.TrainState, number: int) -> state.TrainState:
    """The state at the start of a phase with new first weights, drawn from a seed of its own."""
    return old.started_with(
        {"batch_stats": {}, **weights(config, networks.network(config), FRESH * number)}
    )


def _heads(config: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """The shapes of the layers that the phases' objectives bring."""
    made = [_objective(config, spec).heads for spec in config["phases"]]
    bringing = [heads for heads in made if heads is not no_heads]
    if not bringing:  # the size of features costs a trace of the network
        return {}
    features, found = feature_size(model, tuple(config["info"]["image_shape"])), {}
    for heads in bringing:
        found |= heads(info(config), features)
    return found


def last_objective(config: Mapping[str, Any]) -> Objective:
    """What the run ends with: it says by what the run is scored."""
    return _objective(config, config["phases"][-1])


def _objective(config: Mapping[str, Any], spec: Mapping[str, Any]) -> Objective:
    known = {"total_steps": spec["steps"], "info": info(config)}
    return named.build("objective", spec["objective"], **known)


def like_phase(fresh: state.TrainState, of: Phase) -> state.TrainState:
    """A state of the form that the given phase has: what its checkpoints hold.

    What augmentation has learnt so far goes along, as the weights do; features are of the averaged
    weights, which are then the weights.
    """
    aux = of.init()
    known = {name: fresh.aux["augment"].get(name, new) for name, new in aux["augment"].items()}
    aux = {**aux, "augment": known}
    entered = fresh.enter_phase(of.tx, aux, of.apply_fn, of.trained)
    return entered if of.spec["features"] == "off" else entered.settled()


def check(config: Mapping[str, Any]) -> None:
    """Build all that a config names, so that a mistake is said before a run has begun."""
    for number in range(len(config["phases"])):
        phase(config, number)
    initialise(networks.network(config), tuple(config["info"]["image_shape"]), seed=0)
