"""Tiny runs for tests: as a World, without a directory, or as a config for runs.train."""

import jax
import numpy as np

from lowlabel_jax.configuration import load, resolve
from lowlabel_jax.core import named, parallel
from lowlabel_jax.data import feed, source, splits
from lowlabel_jax.training import build
from tests import tiny_config

OBJECTIVES = sorted(named.parts("objective"))
CLASSIFYING = [name for name in OBJECTIVES if name not in tiny_config.RESTORING]
# Options with which the unlabelled term of a method is at work from the start of a tiny run: masks
# partly open, weights not at zero. A method that needs none is tested with its defaults.
AT_WORK = {
    "adamatch": {"threshold": 1.0},
    "defixmatch": {"threshold": 0.3},
    "fixmatch": {"threshold": 0.3},
    "flexmatch": {"threshold": 0.35, "warm_up": False},
    "freematch": {"decay": 0.5, "fairness": 0.5},
    "ict": {"ramp": 0.0},
    "mean_teacher": {"ramp": 0.0},
    "mixmatch": {"ramp": 0.0},
    "pi_model": {"ramp": 0.0},
    "pseudo_label": {"threshold": 0.3, "ramp": 0.0},
    "remixmatch": {"ramp": 0.0},
    "simmatch": {"threshold": 0.2, "size": 8},
    "softmatch": {"decay": 0.5},
    "temporal_ensembling": {"ramp": 0.0},
    "uda": {"threshold": 0.26, "tsa": "linear"},
    # A difference as small as the default's makes 1e-4 of the last bits of sums over devices.
    "vat": {"ramp": 0.0, "difference": 1.0, "radius": 1.0},
}
QUICK = {"xla_backend_optimization_level": 0}  # a test's program runs for milliseconds
DIGITS = source.open_source({"name": "digits"})


def config(objective="supervised", *overrides, **options):
    """A complete config of a tiny run of an objective, overridden as on the command line."""
    made = tiny_config.get_config(objective)
    made.objective = {"name": objective, **options}
    return load.override(made, load.parse(overrides))


def resolved(made):
    """(resolved config, split) of a config on the digits."""
    split = splits.split_of(DIGITS, made.split.to_dict(), resolve.seeds(made)["split"])
    return resolve.resolve(made, splits.info_of(DIGITS, split), DIGITS.fingerprint), split


class World:
    """A run without its directory: its phase, its data, a state to begin with."""

    def __init__(self, objective="supervised", *overrides, devices=1, **options):
        made = config(objective, *overrides, f"--config.devices={devices}", **options)
        made.teacher = "pretended"  # only noisy_student looks: at the guesses below
        self.config, self.split = resolved(made)
        self.devices, self.phase = devices, build.phase(self.config, 0)
        self.phase.step.options |= QUICK
        self.feed = feed.open_feed(
            DIGITS,
            self.split,
            self.phase.batch_sizes,
            self.config["seeds"]["order"],
            self.guesses(),
        )
        self.resident = self.feed.resident

    def guesses(self):
        """A teacher's: half of them sure, the truth unknown to them."""
        rng, n = np.random.default_rng(0), len(self.split.unlabelled)
        scale = rng.choice([1.0, 9.0], (n, 1))
        logits = scale * rng.normal(size=(n, 10))
        probs = np.exp(logits - logits.max(1, keepdims=True))
        return {"unlabelled": {"teacher": np.float32(probs / probs.sum(1, keepdims=True))}}

    def start(self):
        """The state before the first step."""
        return parallel.replicate(build.new_state(self.config, self.phase), self.devices)

    def run(self, state, steps):
        """(state, metrics) after so many more steps."""
        metrics = None
        for step in range(int(state.step), int(state.step) + steps):
            batch = parallel.shard(self.feed.batch(step), self.devices)
            state, metrics = self.phase.step(state, batch, self.resident)
            jax.block_until_ready(metrics)
        return state, metrics


def leaves(tree):
    """The leaves as numpy arrays, typed keys as their numbers."""

    def plain(x):
        is_key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(x) if is_key else x)

    return [plain(x) for x in jax.tree.leaves(tree)]


def assert_same(a, b, atol=0.0):
    """Every leaf equal, to the last bit unless `atol` says otherwise."""
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=atol)
