"""Data sets: immutable values, as models are. A version is its shards, and has one more than the
version before it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamda import errors, types
from lamda.address import sha256
from lamda.data.rows import type_of
from lamda.data.shard import Shard
from lamda.types import Type


@dataclass(frozen=True, eq=False, repr=False)
class DataSet:
    """Rows of inputs and targets, in shards: ``DataSet.of(x, y)``, and ``.append(x, y)`` for more.

    >>> import numpy as np, lamda as lm
    >>> data = lm.DataSet.of(np.zeros((2, 3), np.float32), np.array([0, 1], np.int32))
    >>> more = data.append(np.ones((1, 3), np.float32), np.array([1], np.int32))
    >>> more
    <3 rows in 2 shards: float32[n, 3] -> int32[n]>
    >>> more.pred == data, more.take([2, 0])[1].tolist()
    (True, [1, 0])

    Laws: ``d.append(x, y).pred == d``; ``d.append(x, y).arrays()`` are those of ``d``, then ``x``
    and ``y``; ``a == b`` exactly when their addresses are equal, which is when their shards are.
    """

    shards: tuple[Shard, ...]
    """Its rows, as they were added."""

    @classmethod
    def of(cls, inputs: Any, targets: Any, records: Iterable[str] = ()) -> "DataSet":
        """A data set of one shard, of trees of arrays with one first axis.

        A tree is an array, or a tuple or a dict of trees. Arrays are taken as JAX takes them: 64
        bits become 32, unless ``jax_enable_x64`` is set. What can be changed is copied. ``records``
        are the SHA-256 of the records of feedback that the rows are of, as hexadecimal digits.

        Raises SpecError where they have not one first axis, have no row, or a number that is too
        large for its dtype.
        """
        return cls((Shard.of(inputs, targets, records),))

    def append(self, inputs: Any, targets: Any, records: Iterable[str] = ()) -> "DataSet":
        """The successor: it has these rows as well, in a shard of their own.

        Raises SpecError as :meth:`of`, and where the rows are of another type.
        """
        new = DataSet.of(inputs, targets, records)
        if (new.input, new.target) != (self.input, self.target):
            told = {"given": new._signature(), "wanted": self._signature()}
            raise errors.SpecError(errors.DATA_OTHER_ROWS.format(**told))
        return DataSet(self.shards + new.shards)

    # --- what it is ---

    @property
    def address(self) -> str:
        """``sha256:...`` of its shards, in order."""
        return sha256(["data", [shard.address for shard in self.shards]])

    @property
    def pred(self) -> "DataSet | None":
        """The version before, without the last shard; ``None`` for the first."""
        return DataSet(self.shards[:-1]) if len(self.shards) > 1 else None

    @property
    def input(self) -> Type:
        """The type of its inputs; their first dimension is ``n``."""
        return type_of(self.shards[0].rows.type["inputs"])

    @property
    def target(self) -> Type:
        """The type of its targets; their first dimension is ``n``."""
        return type_of(self.shards[0].rows.type["targets"])

    @property
    def records(self) -> frozenset[str]:
        """The SHA-256 of every record of feedback that it has rows of."""
        return frozenset(each for shard in self.shards for each in shard.recorded())

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return sum(shard.nbytes for shard in self.shards)

    def __len__(self) -> int:
        """How many rows there are."""
        return sum(shard.count for shard in self.shards)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DataSet) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __repr__(self) -> str:
        count = f"{len(self):,} row{'s' * (len(self) > 1)}"
        shards = f"{len(self.shards):,} shard{'s' * (len(self.shards) > 1)}"
        return f"<{count} in {shards}: {self._signature()}>"

    def _signature(self) -> str:
        return f"{types.show(self.input)} -> {types.show(self.target)}"

    # --- its rows ---

    def arrays(self) -> tuple[Any, Any]:
        """``(inputs, targets)``, trees of NumPy arrays; those of one shard are not copied."""
        trees = [shard.rows.arrays for shard in self.shards]
        joined = trees[0]
        if len(trees) > 1:
            joined = jax.tree.map(lambda *parts: np.concatenate(parts), *trees)
        return joined["inputs"], joined["targets"]

    def take(self, rows: Sequence[int] | np.ndarray | slice) -> tuple[Any, Any]:
        """``(inputs, targets)`` of some rows, in that order; nothing is read of the others.

        Raises SpecError for what is no number of a row.
        """
        chosen = _numbers(rows, len(self))
        starts = np.array([0, *accumulate(shard.count for shard in self.shards)])
        within = np.searchsorted(starts, chosen, side="right") - 1
        first = self.shards[0].rows
        shapes = [(len(chosen), *tensor.type.shape[1:]) for tensor in first.tensors]
        taken: list[np.ndarray] = [
            np.empty(shape, jnp.dtype(tensor.type.dtype))  # type: ignore[arg-type]
            for shape, tensor in zip(shapes, first.tensors, strict=True)
        ]
        for number in np.unique(within):
            here = within == number
            for array, tensor in zip(taken, self.shards[number].rows.tensors, strict=True):
                array[here] = tensor.array[chosen[here] - starts[number]]
        tree = jax.tree.unflatten(first.structure, taken)
        return tree["inputs"], tree["targets"]


def _numbers(rows: Any, count: int) -> np.ndarray:
    """The rows as whole numbers from 0. Raises SpecError for others."""
    if isinstance(rows, slice):
        return np.arange(*rows.indices(count))
    found = np.asarray(rows)
    if found.size == 0 and found.ndim == 1:
        return np.zeros(0, np.int64)
    fits = found.ndim == 1 and np.issubdtype(found.dtype, np.integer)
    if not fits or found.min() < 0 or found.max() >= count:
        raise errors.SpecError(errors.DATA_TAKE.format(count=count, given=rows))
    return found.astype(np.int64)


def address_of(inputs: Any, targets: Any) -> str:
    """``DataSet.of(inputs, targets).address``, of arrays that are not copied for it.

    >>> import numpy as np
    >>> x, y = np.ones((2, 3)), np.arange(2)
    >>> address_of(x, y) == DataSet.of(x, y).address
    True

    Raises SpecError as :meth:`DataSet.of`.
    """
    return DataSet((Shard.viewing(inputs, targets),)).address
