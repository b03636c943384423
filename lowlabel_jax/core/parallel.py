"""The one place that knows about devices: shard, map, average. The only file that says pmap.

The state is one logical copy (in_axes None), the batch is split along its first axis. pmap is
jit(shard_map) underneath since JAX 0.8; changing to another form is a change of `mapped` alone.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lowlabel_jax.core import processes
from lowlabel_jax.core.errors import UserError

AXIS = "devices"


def device_count(wanted: int = 0) -> int:
    """How many devices of this process to use: `wanted`, or all for 0.

    Raises UserError where there are fewer, or where several processes are to use some of them.
    """
    there = jax.local_device_count()
    if processes.count() > 1 and wanted not in (0, jax.device_count()):
        raise UserError(
            f"devices={wanted}, but {processes.count()} processes use all {jax.device_count()} "
            "that they have together.",
            "leave --config.devices out.",
        )
    if processes.count() == 1 and wanted > there:
        raise UserError(f"devices={wanted}, but this machine shows {there}.", f"use {there} or 0.")
    return (wanted or there) if processes.count() == 1 else there


def device_total(wanted: int = 0) -> int:
    """How many devices a run uses, over all of its processes. Raises as `device_count` does."""
    return device_count(wanted) * processes.count()


class Mapped:
    """fn(state, batch, *shared) on each of the devices, over shards of a batch.

    What `fn` returns must be equal on all devices (averaged or gathered), for out_axes=None takes
    the first device's value without looking at the others; or, with `sharded_out`, it comes back
    as [d, b/d, …]. `options` are XLA's for this function alone: with any, it is compiled once, at
    the first call, for the shapes seen there, and so it is with `inspect`, which is shown the
    compiled program before it runs. With `everywhere` the devices are those of all
    processes: each is given its own part of the batch, and must call at the same time.
    """

    def __init__(
        self,
        fn: Callable,
        devices: int,
        donate: bool = False,
        sharded_out: bool = False,
        options: Mapping[str, Any] | None = None,
        everywhere: bool = False,
        inspect: Callable[[Any], None] | None = None,
    ):
        self.fn, self.donate = fn, donate
        self.wide = everywhere and processes.count() > 1
        self.devices = _everyones() if self.wide else jax.local_devices()[:devices]
        self.sharded_out, self.options = sharded_out, dict(options or {})
        self.inspect, self.traced, self.compiled = inspect, None, None

    def __call__(self, state: Any, batch: Any, *shared: Any) -> Any:
        if not self.options and not self.inspect:
            return self._over_devices(len(shared))(state, batch, *shared)
        if self.compiled is None:
            compiled = self.compile(state, batch, *shared)
            if self.inspect:
                self.inspect(compiled)
            self.compiled = compiled
        if self.wide:
            return self._across(self.compiled, state, batch, *shared)
        return self.compiled(state, batch, *shared)

    def compile(self, state: Any, batch: Any, *shared: Any) -> Any:
        """The compiled program for arguments of these shapes, to run or to ask for its memory."""
        lowered = self._over_devices(len(shared)).lower(state, batch, *shared)
        return lowered.compile(compiler_options=self.options or None)

    def _across(self, compiled: Any, state: Any, batch: Any, *shared: Any) -> Any:
        """Call what was compiled: ahead of its call, pmap wants arrays that span all processes."""
        mesh, one, parts = Mesh(np.asarray(self.devices), (AXIS,)), PartitionSpec(), PartitionSpec
        given = [(state, one), (batch, parts(AXIS)), *((tree, one) for tree in shared)]
        spread = (multihost_utils.host_local_array_to_global_array(t, mesh, s) for t, s in given)
        out = parts(AXIS) if self.sharded_out else one
        found = compiled(*spread)
        return multihost_utils.global_array_to_host_local_array(found, mesh, out)

    def _over_devices(self, shared: int) -> Any:
        """pmap of `fn` with so many shared arguments, made once: a new one would compile anew."""
        if self.traced is None:
            self.traced = jax.pmap(
                self.fn,
                AXIS,
                in_axes=(None, 0) + (None,) * shared,
                out_axes=0 if self.sharded_out else None,
                donate_argnums=(0,) if self.donate else (),
                devices=self.devices,
            )
        return self.traced


def mapped(fn: Callable, devices: int, **how: Any) -> Mapped:
    """`fn` over devices; see Mapped."""
    return Mapped(fn, devices, **how)


def replicate(tree: Any, devices: int) -> Any:
    """The tree as one logical copy on all the devices, so that no call has to copy it again."""
    mesh = Mesh(np.asarray(jax.local_devices()[:devices]), (AXIS,))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def shard(batch: Any, devices: int) -> Any:
    """[b, …] -> [d, b/d, …] for each leaf. Raises UserError where d does not divide b."""

    def split(x: Any) -> np.ndarray:
        x = np.asarray(x)
        if len(x) % devices:
            raise indivisible("a batch", len(x), devices)
        return x.reshape(devices, len(x) // devices, *x.shape[1:])

    return jax.tree.map(split, batch)


def shard_filled(batch: Any, size: int, devices: int) -> Any:
    """As `shard`, of leaves of at most `size` rows, whose first one is repeated up to there."""

    def filled(x: Any) -> np.ndarray:
        return np.concatenate([x, np.repeat(x[:1], size - len(x), axis=0)])

    return shard(jax.tree.map(filled, batch), devices)


def rows(found: Any, n: int) -> Any:
    """[d, b/d, …] -> the first n of [b, …], on the host, for each leaf: what was not filled in."""

    def cut(x: Any) -> np.ndarray:
        x = np.asarray(x)
        return x.reshape(-1, *x.shape[2:])[:n]

    return jax.tree.map(cut, found)


def indivisible(what: str, size: int, devices: int) -> UserError:
    """The error for a size that cannot be split evenly, with the nearest sizes that can."""
    low = size // devices * devices
    near = f"{low} or {low + devices}" if low else f"{devices}"
    return UserError(f"{what} of {size} cannot be split over {devices} devices.", f"use {near}.")


def pmean(tree: Any) -> Any:
    """The mean over devices, of every leaf."""
    return lax.pmean(tree, AXIS)


def psum(tree: Any) -> Any:
    """The sum over devices, of every leaf."""
    return lax.psum(tree, AXIS)


def gather(x: jax.Array) -> jax.Array:
    """[b, …] on each device -> [d·b, …] on all of them, in global order."""
    return lax.all_gather(x, AXIS, tiled=True)


def positions(n: int) -> jax.Array:
    """[n] global positions of this device's n examples; 0..n-1 outside of a mapped function."""
    return _device_index() * n + jnp.arange(n)


def global_size(n: int) -> int:
    """How many examples all devices hold together when each holds n."""
    try:
        return n * lax.axis_size(AXIS)
    except NameError:
        return n


def example_keys(key: jax.Array, places: jax.Array) -> jax.Array:
    """[n] keys, one per global position, the same on however many devices the batch lies."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(places)


def _everyones() -> list[Any]:
    """The devices of all processes, process by process, as their parts of a batch lie."""
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


def _device_index() -> jax.Array | int:
    try:
        return lax.axis_index(AXIS)
    except NameError:  # not inside a mapped function: there is one device
        return 0
