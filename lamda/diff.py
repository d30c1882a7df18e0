"""Differences of two models: the tensors and the parts that changed."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import numpy as np

from lamda import types
from lamda.model import Model
from lamda.surgery.places import get, places
from lamda.tensor import Tensor
from lamda.term import Control, Lift, Pick
from lamda.types import ArrayType


@dataclass(frozen=True)
class Change:
    """One tensor that is not the same in both, or is in one alone."""

    path: str
    before: ArrayType | None
    after: ArrayType | None
    norm: float | None
    """The Euclidean norm of what was added, where the types are one."""
    size: int
    """Bytes of the tensor that is new; 0 for one that is gone."""

    def __str__(self) -> str:
        if self.before is None or self.after is None:
            sign, type = ("+", self.after) if self.before is None else ("-", self.before)
            return f"{sign} {self.path}  {type}  {self.size:,} bytes"
        if self.before != self.after:
            return f"~ {self.path}  {self.before} -> {self.after}  {self.size:,} bytes"
        return f"~ {self.path}  {self.after}  norm {self.norm:.4g}  {self.size:,} bytes"


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

    @property
    def size(self) -> int:
        """Bytes of the tensors that are new."""
        return sum(change.size for change in self.tensors)

    def __bool__(self) -> bool:
        return self.before != self.after

    def __str__(self) -> str:
        if not self:
            return f"the same: {self.before}"
        lines = [f"- {self.before}", f"+ {self.after}", *self.parts, *map(str, self.tensors)]
        return "\n".join([*lines, f"{len(self.tensors)} tensors, {self.size:,} bytes"])


def diff(a: Model, b: Model) -> Difference:
    """``diff(a, b)`` is what changed from ``a`` to ``b``: tensors by path, and parts.

    >>> import jax.numpy as jnp, lamda as lm
    >>> f = lm.lift(lambda w, x: x * w, jnp.float32(2), input="float32[]", name="f")
    >>> difference = diff(f, lm.succ(f, jnp.float32(5)))
    >>> [str(change) for change in difference.tensors], difference.parts
    (['~ (the root)  float32[]  norm 3  4 bytes'], ())

    Law: ``diff(a, b)`` is false exactly where ``a`` and ``b`` have one address.
    """
    left, right = (
        {"/".join(path) or "(the root)": t for path, t, _ in m.tensors()} for m in (a, b)
    )
    paths = dict.fromkeys([*left, *right])
    tensors = [_change(path, left.get(path), right.get(path)) for path in paths]
    changed = tuple(change for change in tensors if change is not None)
    return Difference(a.address, b.address, changed, tuple(_parts(a, b)))


def _change(path: str, before: Tensor | None, after: Tensor | None) -> Change | None:
    if before is not None and after is not None and before.digest == after.digest:
        return None
    norm = None
    if before is not None and after is not None and before.type == after.type:
        old, new = (_wide(tensor) for tensor in (before, after))
        norm = float(np.linalg.norm((new - old).ravel()))
    return Change(
        path,
        None if before is None else before.type,
        None if after is None else after.type,
        norm,
        0 if after is None else after.nbytes,
    )


def _wide(tensor: Tensor) -> np.ndarray:
    array = np.asarray(tensor.array)
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)


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
                input = get(model, place).input or ()
                value = function.digest(model.weights_type(term, input), input).value
                at = types.show(function.input or input)
                found[key] = value, f"{function.name}, {value[:19]}, at {at}"
            case Pick():
                found[key] = term, str(term)
            case Control(kind, _):
                found[key] = kind.key, f"{kind.name}{kind.key[1:] or ''}"
    return found
