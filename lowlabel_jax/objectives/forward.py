"""How methods run the network, and which forward may move BatchNorm's running statistics.

BatchNorm normalises with the statistics of the batch it sees and moves the running statistics
towards them. The rules of the papers, which their ports most often get wrong:

    FixMatch family, UDA, AdaMatch   one batch of all views; it moves the statistics (`joint`);
                                     with the option `split` it is without the weak views, which
                                     have a forward of their own that moves none
    Pi-model, Mean Teacher, VAT, ..  a forward a view; only the labelled one's are kept (`separate`)
    MixMatch, ReMixMatch             batches of a like mixture in turn; the first one's are kept, or
                                     the last one's (`in_turn`)
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lowlabel_jax.core import parallel
from lowlabel_jax.state import TrainState


class Ends(NamedTuple):
    """What the network says of a view."""

    logits: jax.Array  # float32 [b, k]
    features: Any  # [b, f], what the last layer sees; None where the network does not say


def joint(
    params: Any, state: TrainState, *views: jax.Array, key: jax.Array
) -> tuple[list[jax.Array], Any]:
    """One forward over all views as one batch.

    views [b_i, h, w, c] -> logits [b_i, k] each, and running statistics moved by the whole batch.
    """
    ends, stats = joint_ends(params, state, *views, key=key)
    return [one.logits for one in ends], stats


def joint_ends(
    params: Any, state: TrainState, *views: jax.Array, key: jax.Array
) -> tuple[list[Ends], Any]:
    """As `joint`, with the features beside the logits."""
    sizes = [len(view) for view in views]
    cuts = [sum(sizes[:i]) for i in range(1, len(sizes))]
    ends, stats = _train(params, state, jnp.concatenate(views), _addresses(sizes), key)
    logits = jnp.split(ends.logits, cuts)
    features = [None] * len(sizes) if ends.features is None else jnp.split(ends.features, cuts)
    return [Ends(*pair) for pair in zip(logits, features, strict=True)], stats


def separate(
    params: Any, state: TrainState, view: jax.Array, key: jax.Array
) -> tuple[jax.Array, Any]:
    """A forward of one view alone -> logits [b, k] and the running statistics it would leave.

    The caller keeps the statistics of one forward and drops those of the others.
    """
    ends, stats = separate_ends(params, state, view, key)
    return ends.logits, stats


def separate_ends(
    params: Any, state: TrainState, view: jax.Array, key: jax.Array
) -> tuple[Ends, Any]:
    """As `separate`, with the features beside the logits."""
    return _train(params, state, view, _addresses([len(view)]), key)


def separate_endpoints(
    params: Any, state: TrainState, view: jax.Array, key: jax.Array
) -> tuple[dict[str, jax.Array], Any]:
    """As `separate`, with all of the network's endpoints by name in place of the logits."""
    _, ends, stats = _run(params, state, view, _addresses([len(view)]), key)
    return ends, stats


def weak_and_strong(
    params: Any, state: TrainState, views: Mapping[str, jax.Array], key: jax.Array, split: bool
) -> tuple[list[jax.Array], Any]:
    """The FixMatch family's forward: logits of labelled [b, k], weak [m, k], strong [m, k]."""
    names = ("labelled", "weak", "strong")
    ends, stats = guess_and_learn(params, state, views, names, key, split)
    return [one.logits for one in ends], stats


def guess_and_learn(
    params: Any,
    state: TrainState,
    views: Mapping[str, jax.Array],
    names: Sequence[str],
    key: jax.Array,
    split: bool,
) -> tuple[list[Ends], Any]:
    """`joint_ends` of the views with these names, of which "weak" is there to be guessed alone.

    split: the weak views in a forward of their own, without gradient: cheaper by about a third at
    mu = 7, but BatchNorm sees them apart and they move no statistics. False is the papers'.
    """
    if not split:
        return joint_ends(params, state, *map(views.__getitem__, names), key=key)
    weak, fixed = views["weak"], jax.lax.stop_gradient(params)
    guess, _ = separate_ends(fixed, state, weak, jax.random.fold_in(key, 1))
    others = [views[name] for name in names if name != "weak"]
    ends, stats = joint_ends(params, state, *others, key=key)
    ends.insert(names.index("weak"), guess)
    return ends, stats


def in_turn(
    params: Any, state: TrainState, parts: list[jax.Array], key: jax.Array, kept: int
) -> tuple[list[jax.Array], Any]:
    """A forward for each batch in turn, interleaved; logits of each part, statistics of one batch.

    parts: labelled [b, …] and unlabelled ones [mu·b, …], cut into batches of b. MixMatch relies on
    it that every forward normalises a like mixture: entries are exchanged between batch 0 and the
    others, position by position, and their logits put back. `kept` is the batch that moves the
    running statistics. All of it goes by global positions: any number of devices does the same.
    """
    size = len(parts[0])
    batches = [batch for part in parts for batch in _cut(part, size)]
    keys = jax.random.split(key, len(batches))
    made = [separate(params, state, x, k) for x, k in zip(interleave(batches), keys, strict=True)]
    logits = iter(interleave([one for one, _ in made]))
    return [_joined([next(logits) for _ in _cut(p, size)]) for p in parts], made[kept][1]


def interleave(batches: list[jax.Array]) -> list[jax.Array]:
    """Batch 0 exchanges every n-th entry with each of the n - 1 others: its own inverse."""
    first, *others = batches
    turn = parallel.positions(len(first)) % len(batches)
    swapped = []
    for number, other in enumerate(others, start=1):
        here = (turn == number).reshape(-1, *[1] * (other.ndim - 1))
        swapped.append(jnp.where(here, batches[0], other))
        first = jnp.where(here, other, first)
    return [first, *swapped]


def _cut(part: jax.Array, size: int) -> list[jax.Array]:
    """[mu·b, …] -> mu batches [b, …], of every mu-th entry: global neighbours part evenly."""
    rows = part.reshape(size, len(part) // size, *part.shape[1:])
    return [rows[:, i] for i in range(rows.shape[1])]


def _joined(batches: list[jax.Array]) -> jax.Array:
    """What `_cut` has cut, in its old order."""
    return jnp.stack(batches, 1).reshape(-1, *batches[0].shape[1:])


def dense(inputs: int, outputs: int) -> dict[str, Any]:
    """The shapes of a linear layer of an objective's own: {"head": {"kernel", "bias"}}."""
    return {"head": {"kernel": (inputs, outputs), "bias": (outputs,)}}


def apply_dense(layer: Any, x: jax.Array) -> jax.Array:
    """x [b, f] through such a layer -> [b, outputs]; `params["heads"][name]` holds it."""
    return x @ layer["head"]["kernel"] + layer["head"]["bias"][None]


def _train(
    params: Any, state: TrainState, images: jax.Array, address: jax.Array, key: jax.Array
) -> tuple[Ends, Any]:
    logits, ends, stats = _run(params, state, images, address, key)
    return Ends(logits.astype(jnp.float32), ends.get("features")), stats


def _run(
    params: Any, state: TrainState, images: jax.Array, address: jax.Array, key: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array], Any]:
    """(logits, endpoints, the running statistics that this forward would leave)."""
    variables = {
        "params": params,
        "batch_stats": state.batch_stats,
        "address": {"example": address},  # dropout draws by it: the same on any number of devices
    }
    (logits, ends), new = state.apply_fn(
        variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}
    )
    return logits, ends, new.get("batch_stats", {})


def _addresses(sizes: list[int]) -> jax.Array:
    """Global ids of the examples of views that lie one after the other: no two alike."""
    starts = [sum(parallel.global_size(n) for n in sizes[:i]) for i in range(len(sizes))]
    places = [start + parallel.positions(n) for start, n in zip(starts, sizes, strict=True)]
    return jnp.concatenate(places)
