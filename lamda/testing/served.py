"""Handlers that answer by the reference meaning: what is around an engine, and nothing compiled."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from lamda import types
from lamda.compile import manifest
from lamda.compile.handler import Description
from lamda.compile.sizes import Sizes, batch_dimension, combinations
from lamda.model import Model
from lamda.testing.reference import reference
from serve.arrays import SIZES, Array
from serve.handler import Handler

BATCH: tuple[int, ...] = (1, 4)
"""The sizes of a batch that there are programs for."""
OTHER: tuple[int, ...] = (2,)
"""The sizes of another named dimension."""


def served(model: Model, max_bytes: int = 1 << 16) -> Handler:
    """The handler of a model as ``serve`` has it, with the numpy interpreter as its engine."""
    input = model.require_input()
    batch = batch_dimension(input)
    names = types.names(input)
    sizes: Sizes = {name: [*(BATCH if name == batch else OTHER)] for name in names}
    entries: dict[str, Any] = manifest.describe(model, str(model), sizes, None)
    entries["programs"] = [{"sizes": chosen} for chosen in combinations(sizes)]
    description = Description(entries, {}, input)
    return Handler(description, Engine(model, entries["programs"]), max_bytes)


def can_be_served(model: Model) -> bool:
    """Whether requests and answers can hold the dtypes of a model."""
    both = (model.require_input(), model.output or ())
    return all(leaf.dtype in SIZES for _, leaf in types.leaves(both))


class Engine:
    """Runs the programs of a model by the numpy interpreter, at their sizes."""

    way = "reference"
    why = "nothing is compiled"
    notes: tuple[str, ...] = ()

    def __init__(self, model: Model, programs: Sequence[dict[str, Any]]) -> None:
        self.model = model
        self.programs = programs

    def __call__(
        self, index: int, inputs: Sequence[bytes]
    ) -> list[tuple[str, tuple[int, ...], bytes]]:
        """The (dtype, shape, data) of every output leaf."""
        type = types.substitute(self.model.require_input(), self.programs[index]["sizes"])
        leaves = [
            np.frombuffer(data, jax.numpy.dtype(leaf.dtype)).reshape(tuple(map(int, leaf.shape)))
            for data, (_, leaf) in zip(inputs, types.leaves(type), strict=True)
        ]
        tree = jax.tree.structure(type, is_leaf=types.is_array)
        given = reference(self.model, jax.tree.unflatten(tree, leaves))
        arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(given)]
        return [(a.dtype.name, a.shape, a.tobytes()) for a in arrays]


def leaves_of(value: Any) -> list[Array]:
    """The arrays of a value as ``serve`` has them."""
    arrays = [np.ascontiguousarray(leaf) for leaf in jax.tree.leaves(value)]
    return [
        Array(a.dtype.name, np.shape(leaf), a.tobytes())
        for a, leaf in zip(arrays, jax.tree.leaves(value), strict=True)
    ]


def value_of(arrays: Sequence[Array], type: Any) -> Any:
    """The value of a type whose leaves ``serve`` gave."""
    tree = jax.tree.structure(type, is_leaf=types.is_array)
    leaves = [np.frombuffer(a.data, jax.numpy.dtype(a.dtype)).reshape(a.shape) for a in arrays]
    return jax.tree.unflatten(tree, leaves)
