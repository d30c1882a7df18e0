"""The programs of a run: the first state of the optimiser and one step, as they are stored.

Trees are lists of leaves in them, in order, so that whoever has the programs and the model needs
neither the loss nor the optimiser in Python.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lamda import program
from lamda.fit.processes import Processes
from lamda.fit.step import Step, struct

AXIS = "examples"
"""The axis of the devices that a batch is spread over."""


class Programs(NamedTuple):
    """StableHLO: ``init(weights) -> state``, and that of a :class:`~lamda.fit.step.Step`."""

    init: jax.export.Exported
    step: jax.export.Exported

    @classmethod
    def read(cls, stored: Mapping[str, Callable[[], bytes]]) -> "Programs":
        """The programs that :meth:`stored` told how to load."""
        return cls(*(jax.export.deserialize(bytearray(stored[name]())) for name in cls._fields))

    def stored(self) -> dict[str, Callable[[], bytes]]:
        """How to load each program, as bytes."""

        def load(exported: jax.export.Exported) -> Callable[[], bytes]:
            return lambda: bytes(exported.serialize())

        return {name: load(exported) for name, exported in self._asdict().items()}

    def run(
        self, fixed: Any, weights: Any, state: Any, features: Any, targets: Any, key: Any
    ) -> Any:
        """One step: weights, state and loss."""
        leaves = map(jax.tree.leaves, (weights, state, features, targets))
        new, state, loss = self.step.call(*leaves, key, fixed)
        return jax.tree.unflatten(jax.tree.structure(weights), new), state, loss


def exported(step: Step, weights: Any, features: Any, targets: Any, key: Any) -> Programs:
    """The programs of a step, for weights and a batch of these types."""
    trees = [jax.tree.map(struct, tree) for tree in (weights, features, targets)]
    states: Any = jax.eval_shape(step.init, trees[0])
    shapes = [jax.tree.structure(tree) for tree in (trees[0], states, *trees[1:])]

    def init(weights: list[Any]) -> list[Any]:
        return jax.tree.leaves(step.init(jax.tree.unflatten(shapes[0], weights)))

    still = jax.tree.map(struct, step.fixed)

    def one(*given: Any) -> Any:
        *lists, key, fixed = given
        w, s, x, t = map(jax.tree.unflatten, shapes, lists)
        read = jax.tree.unflatten(jax.tree.structure(still), fixed)
        new, state, loss = step(w, s, x, t, key, read)
        return jax.tree.leaves(new), jax.tree.leaves(state), loss

    platform = {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())
    lists = [jax.tree.leaves(tree) for tree in (trees[0], states, *trees[1:])]
    drawn = None if key is None else struct(key)
    return Programs(
        program.export(init, lists[0], platform=platform),
        program.export(one, *lists, drawn, jax.tree.leaves(still), platform=platform),
    )


class Compiled:
    """The programs on this machine: over one device, or a batch spread over several."""

    def __init__(self, programs: Programs, fixed: Any, devices: Any = None) -> None:
        self.programs = programs
        self.processes = Processes(devices)
        self._mesh = None if devices is None else Mesh(devices, (AXIS,))
        self._state: Callable[..., Any] = self._jit(programs.init.call)
        still = self.everywhere(jax.tree.leaves(fixed))
        self.of_batch: Callable[..., Any] = partial(self._jit(self._spread(programs.run)), still)
        """``of_batch(weights, state, features, targets, key)``."""

        def rows(fixed: Any, weights: Any, state: Any, data: Any, rows: Any, key: Any) -> Any:
            chosen = jax.tree.map(lambda a: a[rows], data)
            return self._spread(programs.run)(fixed, weights, state, *chosen, key)

        self.of_rows: Callable[..., Any] = partial(self._jit(rows), still)
        """``of_rows(weights, state, (features, targets), rows, key)``."""

    def state(self, weights: Any) -> list[Any]:
        """The first state of the optimiser."""
        return self._state(jax.tree.leaves(weights))

    def here(self, tree: Any) -> Any:
        """Arrays where those of a model are, on one device."""
        return tree if self._mesh is None else jax.tree.map(jnp.asarray, jax.device_get(tree))

    def everywhere(self, tree: Any) -> Any:
        """Arrays on every device."""
        if self._mesh is None:
            return jax.tree.map(jnp.asarray, tree)
        whole = NamedSharding(self._mesh, PartitionSpec())
        if not self.processes.several:
            return jax.device_put(tree, whole)

        def put(array: Any) -> jax.Array:
            # Of the numbers here, since they are those of every process: the receipt says so.
            host = np.asarray(array)
            return jax.make_array_from_callback(host.shape, whole, lambda at: host[at])

        return jax.tree.map(put, tree)

    def _jit(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if not self.processes.several:
            return jax.jit(function)
        assert self._mesh is not None
        # Whole everywhere: a process reads what is on its own devices.
        return jax.jit(function, out_shardings=NamedSharding(self._mesh, PartitionSpec()))

    def _spread(self, step: Callable[..., Any]) -> Callable[..., Any]:
        if self._mesh is None:
            return step
        part = NamedSharding(self._mesh, PartitionSpec(AXIS))

        def spread(fixed: Any, weights: Any, state: Any, x: Any, t: Any, key: Any) -> Any:
            batch = jax.lax.with_sharding_constraint((x, t), part)
            return step(fixed, weights, state, *batch, key)

        return spread
