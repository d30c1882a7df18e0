"""Differences of two models: the tensors and the parts that changed."""

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamda import types
from lamda.function import Function
from lamda.model import Model
from lamda.surgery.places import get, places
from lamda.tensor import Tensor
from lamda.term import Control, Lift, Pick
from lamda.types import ArrayType

CHUNK = 1 << 18
"""Numbers that are compared at a time."""


@dataclass(frozen=True)
class Change:
    """One tensor that is not the same in both, or is in one alone."""

    path: str
    before: ArrayType | None
    after: ArrayType | None
    norm: float | None
    """The Euclidean norm of what was added, where the types are one."""
    relative: float | None
    """The same, as a share of the norm of what was there."""
    size: int
    """Bytes of the tensor that is new; 0 for one that is gone."""

    def cells(self) -> tuple[str, ...]:
        """The change as a row: sign, path, type, norm, share, bytes."""
        size = f"{self.size:,} bytes" if self.after is not None else ""
        if self.before is None or self.after is None:
            sign, type = ("+", self.after) if self.before is None else ("-", self.before)
            return sign, self.path, str(type), "", "", size
        if self.before != self.after:
            return "~", self.path, f"{self.before} -> {self.after}", "", "", size
        share = "" if self.relative is None else f"{self.relative:.3g} of it"
        return "~", self.path, str(self.after), f"norm {self.norm:.4g}", share, size

    def __str__(self) -> str:
        sign, *cells = self.cells()
        return f"{sign} {'  '.join(filter(None, cells))}"

    def to_json(self) -> dict[str, Any]:
        """The change as JSON values; a norm that is not finite is ``None``."""
        return {
            "path": self.path,
            "before": None if self.before is None else str(self.before),
            "after": None if self.after is None else str(self.after),
            "norm": _finite(self.norm),
            "relative": _finite(self.relative),
            "bytes": self.size,
        }


@dataclass(frozen=True)
class Difference:
    """What :func:`diff` found; it is true where the models differ."""

    before: str
    """The address of the first."""
    after: str
    """The address of the second."""
    tensors: tuple[Change, ...]
    parts: tuple[str, ...]
    """The parts that differ, ``-`` and ``+`` with their path."""
    types: tuple[str, ...] = ()
    """The term and the types that differ, before and after."""

    @property
    def size(self) -> int:
        """Bytes of the tensors that are new."""
        return sum(change.size for change in self.tensors)

    def __bool__(self) -> bool:
        return self.before != self.after

    def __str__(self) -> str:
        if not self:
            return f"the same: {self.before}"
        lines = [f"- {self.before}", f"+ {self.after}", *self.types, *self.parts]
        count = f"{len(self.tensors)} tensor{'s' * (len(self.tensors) != 1)}"
        return "\n".join([*lines, *_aligned(self.tensors), f"{count}, {self.size:,} bytes"])

    def to_json(self) -> dict[str, Any]:
        """The difference as JSON values."""
        return {
            "before": self.before,
            "after": self.after,
            "types": list(self.types),
            "parts": list(self.parts),
            "tensors": [change.to_json() for change in self.tensors],
            "bytes": self.size,
        }


def _aligned(changes: Sequence[Change]) -> list[str]:
    """Rows of changes; columns that no row has are left out, numbers stand to the right."""
    rows = [change.cells() for change in changes]
    columns = [column for column in zip(*rows, strict=True) if any(column)]
    right = {"norm", "share", "bytes"}
    kinds = [k for k, c in zip(_CELLS, zip(*rows, strict=True), strict=False) if any(c)]
    padded = [
        [cell.rjust(max(map(len, column))) if kind in right else cell.ljust(max(map(len, column)))
         for cell in column]
        for kind, column in zip(kinds, columns, strict=True)
    ]  # fmt: skip
    return [f"{sign} {'  '.join(cells)}".rstrip() for sign, *cells in zip(*padded, strict=True)]


_CELLS = ("sign", "path", "type", "norm", "share", "bytes")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def diff(a: Model, b: Model) -> Difference:
    """``diff(a, b)`` is what changed from ``a`` to ``b``: tensors by path, and parts.

    >>> import jax.numpy as jnp, lamda as lm
    >>> f = lm.lift(lambda w, x: x * w, jnp.float32(2), input="float32[]", name="f")
    >>> difference = diff(f, lm.succ(f, jnp.float32(5)))
    >>> [str(change) for change in difference.tensors], difference.parts
    (['~ (the root)  float32[]  norm 3  1.5 of it  4 bytes'], ())

    Law: ``diff(a, b)`` is false exactly where ``a`` and ``b`` have one address.
    """
    left, right = (
        {"/".join(path) or "(the root)": t for path, t, _ in m.tensors()} for m in (a, b)
    )
    paths = dict.fromkeys([*left, *right])
    tensors = [_change(path, left.get(path), right.get(path)) for path in paths]
    changed = tuple(change for change in tensors if change is not None)
    return Difference(a.address, b.address, changed, tuple(_parts(a, b)), tuple(_types(a, b)))


def _types(a: Model, b: Model) -> Iterator[str]:
    sides = [
        {"term": str(m), **{s: types.show(getattr(m, s)) for s in ("input", "output")}}
        for m in (a, b)
    ]
    for name, old in sides[0].items():
        if old != (new := sides[1][name]):
            yield f"{name}: {old} -> {new}"


def _change(path: str, before: Tensor | None, after: Tensor | None) -> Change | None:
    if before is not None and after is not None and before.digest == after.digest:
        return None
    old, new = (None if tensor is None else tensor.type for tensor in (before, after))
    norm = relative = None
    if before is not None and after is not None and old == new:
        norm, whole = norms(before, after)
        relative = norm / whole if whole else None
    return Change(path, old, new, norm, relative, 0 if after is None else after.nbytes)


def norms(before: Tensor, after: Tensor) -> tuple[float, float]:
    """The Euclidean norms of ``after - before`` and of ``before``, read a piece at a time."""
    old, new = (np.asarray(tensor.array).reshape(-1) for tensor in (before, after))
    wide = np.complex128 if np.iscomplexobj(old) else np.float64
    added = whole = 0.0
    with np.errstate(all="ignore"):  # what is not finite has a norm that is not
        for start in range(0, old.size, CHUNK):
            piece = old[start : start + CHUNK].astype(wide)
            moved = new[start : start + CHUNK].astype(wide) - piece
            added, whole = added + _squares(moved), whole + _squares(piece)
    return math.sqrt(added), math.sqrt(whole)


def _squares(numbers: np.ndarray) -> float:
    """The sum of their squares; not by BLAS, whose threads cost more than they give here."""
    return float(np.square(numbers.view(np.float64)).sum())


def _parts(a: Model, b: Model) -> Iterator[str]:
    left, right = _known(a), _known(b)
    for path in dict.fromkeys([*left, *right]):
        old, new = left.get(path), right.get(path)
        if old is None or new is None or old[0] != new[0]:
            yield from (f"- {path[0]}: {old[1]}",) if old is not None else ()
            yield from (f"+ {path[0]}: {new[1]}",) if new is not None else ()


def _known(model: Model) -> dict[tuple[str, str], tuple[Hashable, str]]:
    """What each part computes, and how it is written, by path and kind of part."""
    found: dict[tuple[str, str], tuple[Hashable, str]] = {}
    for place in places(model.term, once=True):
        term, key = place.term, ("/".join(place.path) or "(the root)", type(place.term).__name__)
        match term:
            case Lift(function, _):
                input = function.input or get(model, place).input or ()
                value = _digest(function, model.weights_type(term, input), input)
                found[key] = value, f"{function.name}, {value[:19]}, at {types.show(input)}"
            case Pick():
                found[key] = term, str(term)
            case Control(kind, _):
                found[key] = kind.key, f"{kind.name}{kind.key[1:] or ''}"
    return found


def _digest(function: Function, weights: types.Type, input: types.Type) -> str:
    """What a function computes; of one that is stored it is known, and its program is not read."""
    match function.key:
        case ("program", str(value), *_):
            return value
    return function.digest(weights, input).value
