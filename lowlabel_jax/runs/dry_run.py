"""What a run would be, before it is one: config, data, network, steps, memory. Trains nothing."""

import json
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.core import log, parallel
from lowlabel_jax.runs import teacher
from lowlabel_jax.runs.plan import Plan, feed_of, prepare
from lowlabel_jax.runs.summary import summary
from lowlabel_jax.training import build, loop


def dry_run(config: Config) -> None:
    """Print the resolved config, the data's counts, the model table, steps and memory, and stop."""
    with tempfile.TemporaryDirectory() as nowhere:
        plan = prepare(config, Path(nowhere))
    log.say(json.dumps(plan.config, indent=2))
    log.say(f"\ndata: {_counts(plan)}\n")
    phase = build.phase(plan.config, 0)
    model, shape = phase.model, tuple(plan.config["info"]["image_shape"])
    log.say(summary.model_table(model, shape, plan.config["phases"]))
    log.say(f"steps: {loop.describe(plan.config)}, {_images(phase)} images each")
    if phase.spec["features"] == "off":
        for name, size in memory(plan, phase).items():
            log.say(f"{name}: {size / 2**20:,.1f} MiB")
    else:
        log.say("the first phase trains the head alone, on features that it computes once")
    log.say("dry run: nothing was trained and nothing written. Leave --dry_run out to run it.")


def memory(plan: Plan, phase: build.Phase) -> dict[str, int]:
    """Bytes that a step needs on each device, as XLA plans them for the compiled step."""
    devices = parallel.device_count(plan.config["devices"])
    state = parallel.replicate(build.new_state(plan.config, phase), devices)
    shape = (plan.config["info"]["sizes"]["unlabelled"], plan.config["info"]["num_classes"])
    guesses = np.zeros(shape, np.float32)
    columns = teacher.beside(plan.config, guesses) if plan.config["teacher"] else None
    made = feed_of(plan, phase, state, columns)
    batch, resident = parallel.shard(made.batch(0), devices), made.resident
    made.close()
    planned = phase.step.compile(state, batch, resident).memory_analysis()
    return {
        "state (weights, optimiser, average)": _bytes(state),
        "images on the device": _bytes(resident),
        "working memory of a step": planned.temp_size_in_bytes,
    }


def _bytes(tree: Any) -> int:
    return sum(x.nbytes for x in jax.tree.leaves(tree))


def _counts(plan: Plan) -> str:
    sizes = plan.config["info"]["sizes"]
    shape = "x".join(str(n) for n in plan.source.image_shape)
    listed = ", ".join(f"{n:,} {name}" for name, n in sizes.items())
    return f"{listed}; {len(plan.source.class_names)} classes, images of {shape}"


def _images(phase: build.Phase) -> str:
    return " + ".join(f"{size} {stream}" for stream, size in phase.batch_sizes.items())
