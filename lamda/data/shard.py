"""Shards: rows that were added together, which stay as they are."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lamda import errors, types
from lamda.address import sha256
from lamda.data.rows import still
from lamda.tensor import Tensor, Weights

_DIGEST_BYTES = 32


@dataclass(frozen=True, eq=False)
class Shard:
    """Some rows of a data set; its tensors may be memory maps that are opened where they are used.

    ``records`` is ``uint8[k, 32]``, the SHA-256 of the records of feedback that the rows are of,
    where they are of any. It tells what was added already, and is no part of the address.
    """

    rows: Weights
    """The tree ``{"inputs": ..., "targets": ...}``."""
    count: int
    """How many rows there are."""
    records: Tensor | None = None

    @classmethod
    def of(cls, inputs: Any, targets: Any, records: Iterable[str] = ()) -> "Shard":
        """A shard of trees of arrays. Raises SpecError, see :meth:`DataSet.of`."""
        tree, count = still(inputs, targets)
        return cls(Weights.of(tree), count, _packed(records))

    @classmethod
    def viewing(cls, inputs: Any, targets: Any) -> "Shard":
        """As :meth:`of`, and nothing is copied: whoever gave the arrays must leave them alone."""
        tree, count = still(inputs, targets, copied=False)
        return cls(Weights.of(tree), count)

    @cached_property
    def address(self) -> str:
        """``sha256:...`` of its structure and of the digests of its tensors."""
        return sha256(["shard", types.plain(self.rows.type), list(self.rows.digests)])

    @property
    def identity(self) -> tuple[str, str | None]:
        """What makes it this shard in a lineage: its address, and the digest of its records."""
        return self.address, None if self.records is None else self.records.digest

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return sum(tensor.nbytes for tensor in self.rows.tensors)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shard) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)

    def tensors(self) -> list[Tensor]:
        """Every tensor of it, that of its records last."""
        return [*self.rows.tensors, *([] if self.records is None else [self.records])]

    def recorded(self) -> list[str]:
        """The SHA-256 of its records, as hexadecimal digits."""
        return [] if self.records is None else [bytes(row).hex() for row in self.records.array]


def _packed(records: Iterable[str]) -> Tensor | None:
    """Digests as an array, which is kept as any other; ``None`` where there is none."""
    try:
        found = [bytes.fromhex(each) for each in records]
    except ValueError:
        found = [b""]
    if any(len(each) != _DIGEST_BYTES for each in found):
        raise errors.SpecError(errors.DATA_RECORDS)
    if not found:
        return None
    return Tensor(np.frombuffer(b"".join(found), np.uint8).reshape(-1, _DIGEST_BYTES))
