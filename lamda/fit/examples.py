"""Examples: what a model is fitted to, inputs and targets with one first axis."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamda import check, errors, types
from lamda.address import sha256
from lamda.data import address_of
from lamda.model import Model
from lamda.tensor import Tensor, Weights

RESIDENT = 2 << 30
"""Bytes of examples that are kept where they are computed with; of more, those of a step are."""


@dataclass(frozen=True)
class Examples:
    """``count`` examples: trees of arrays whose first axis they are on."""

    inputs: Any
    targets: Any
    count: int
    address: str
    """``sha256:...`` of their structure and numbers."""

    def rows(self, rows: np.ndarray) -> tuple[Any, Any]:
        """Some of them, in an order."""
        return jax.tree.map(lambda a: a[rows], (self.inputs, self.targets))


def given(model: Model, data: Any) -> Examples:
    """The examples that data says: a pair of trees of arrays, or a data set.

    Raises SpecError where they have no common first axis, MismatchError where the model takes
    other inputs.
    """
    address = getattr(data, "address", None)
    pair = data if address is None else data.arrays()
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise errors.SpecError(errors.FIT_DATA.format(given=type(data).__name__))
    inputs, targets = (jax.tree.map(_array, part) for part in pair)
    rows = {leaf.shape[0] if leaf.shape else 0 for leaf in jax.tree.leaves((inputs, targets))}
    if len(rows) != 1 or not all(rows):
        said = f"{types.show(types.typeof(inputs))} and {types.show(types.typeof(targets))}"
        raise errors.SpecError(errors.FIT_DATA.format(given=said))
    require_input(model, inputs)
    return Examples(inputs, targets, rows.pop(), address or data_address(inputs, targets))


def require_input(model: Model, inputs: Any) -> None:
    """Raises MismatchError unless a model takes these inputs."""
    place = check.first(model.term, "")
    check.agree((check.INPUT, types.typeof(inputs)), (place, model.require_input()))


def is_stream(data: Any) -> bool:
    """Whether data comes batch by batch."""
    return (
        isinstance(data, Iterable)
        and not isinstance(data, tuple | str | dict)
        and (not hasattr(data, "address"))
    )


def data_address(inputs: Any, targets: Any) -> str:
    """``sha256:...`` of examples: that of the data set of one shard that they are."""
    return address_of(inputs, targets)


def tree_address(tree: Any) -> str:
    """``sha256:...`` of a tree of arrays: its structure and the digests of its tensors."""
    bound = Weights.of(jax.tree.map(lambda a: Tensor(jnp.asarray(a)), tree))
    return sha256(["tree", [[list(path), tensor.digest] for path, tensor in bound.items()]])


def nbytes(tree: Any) -> int:
    """Bytes of the numbers of a tree of arrays."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def _array(leaf: Any) -> Any:
    """A leaf as an array of the dtype that it is computed with."""
    if isinstance(leaf, np.ndarray) and leaf.dtype == jax.dtypes.canonicalize_dtype(leaf.dtype):
        return leaf
    return jnp.asarray(leaf)
