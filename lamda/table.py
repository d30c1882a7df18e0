"""Tables: the tensors of a model, a row each."""

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import jax.numpy as jnp

from lamda.model import Model
from lamda.surgery.places import places
from lamda.term import Lift, slots
from lamda.types import ArrayType


class Row(NamedTuple):
    """One tensor: where it is, its type, whether it is trained, its digest.

    Or a part that is used again, whose tensors are those that stand at the path ``tied``.
    """

    path: str
    type: ArrayType | None
    trained: bool
    digest: str
    tied: str | None = None

    @property
    def numbers(self) -> int:
        """How many numbers it holds; what is tied holds none of its own."""
        return 0 if self.type is None else math.prod(int(d) for d in self.type.shape)

    @property
    def bytes(self) -> int:
        """Bytes of its numbers."""
        return 0 if self.type is None else self.numbers * jnp.dtype(self.type.dtype).itemsize


def rows(model: Model) -> list[Row]:
    """A row for every tensor of a model in order of place, and for every part used again."""
    model.require_closed()
    found: list[Row] = []
    first: dict[Hashable, str] = {}
    for place in places(model.term, once=True):
        path, term = "/".join(place.path), place.term
        slot = term.slot if isinstance(term, Lift) else None
        key = id(term) if slot is None else slot
        if key in first:
            if slot is not None or slots(term):
                trained = any(not s.frozen for s in slots(term))
                found.append(Row(path, None, trained, "", first[key]))
        elif slot is not None:
            found += [
                Row(
                    "/".join((*place.path, *leaf)), t.type, t.floating and not slot.frozen, t.digest
                )
                for leaf, t in model.environment[slot].items()
            ]
        first.setdefault(key, path)
    return found


def tabulate(rows: Sequence[Row]) -> str:
    """Rows as text: path, type, numbers, whether trained, digest; and the totals."""
    cells = [("path", "type", "numbers", "", "digest")] + [
        (
            row.path,
            "" if row.type is None else str(row.type),
            "" if row.type is None else f"{row.numbers:,}",
            "trained" if row.trained else "frozen",
            row.digest[:19] if row.tied is None else f"tied to {row.tied}",
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        f"{path:<{widths[0]}}  {type:<{widths[1]}}  {numbers:>{widths[2]}}  "
        f"{state:<{widths[3]}}  {digest}"
        for path, type, numbers, state, digest in cells
    ]
    return "\n".join([*lines, _totals(rows)])


def _totals(rows: Iterable[Row]) -> str:
    trained, frozen = (sum(r.numbers for r in rows if r.trained is t) for t in (True, False))
    size = sum(row.bytes for row in rows)
    return (
        f"{trained + frozen:,} numbers, {trained:,} trained and {frozen:,} frozen; {size:,} bytes"
    )
