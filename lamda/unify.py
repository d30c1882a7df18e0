"""Unification: the most general agreement of two types, each with names of its own."""

from collections.abc import Mapping
from typing import Any

from lamda import dims, errors, types
from lamda.dims import Dim, is_name
from lamda.types import ArrayType, Type


class Unifier:
    """Most general agreement of types from two parts, each with names of its own.

    Names are local to a part, as the variables of a lambda are: ``float32[b, 16]`` of one part
    and ``float32[n, 16]`` of another agree by ``n = b``. Call :meth:`unify`, then :meth:`left`
    and :meth:`right` translate any type of either part into common names.
    """

    def __init__(self) -> None:
        self._bound: dict[tuple[str, Dim], tuple[str, Dim]] = {}
        self.differences: list[str] = []

    def unify(self, left: Type, right: Type) -> bool:
        """Whether the two types agree; if not, ``differences`` says where."""
        self._tree(left, right, "")
        return not self.differences

    def _tree(self, left: Type, right: Type, where: str) -> None:
        if isinstance(left, ArrayType) and isinstance(right, ArrayType):
            self._array(left, right, where)
        elif isinstance(left, Mapping) and isinstance(right, Mapping):
            self._keys(left, right, where)
        elif _kind(left) != _kind(right):
            self._differ(errors.STRUCTURE, where, _kind(left), _kind(right))
        elif isinstance(left, tuple) and isinstance(right, tuple):
            for i, (a, b) in enumerate(zip(left, right, strict=True)):
                self._tree(a, b, f"{where}[{i}]")

    def _keys(self, left: Mapping[str, Type], right: Mapping[str, Type], where: str) -> None:
        missing = [key for key in right if key not in left]
        extra = [key for key in left if key not in right]
        for message, keys in ((errors.MISSING_KEYS, missing), (errors.EXTRA_KEYS, extra)):
            if keys:
                self._differ(message, where, ", ".join(map(repr, keys)), None)
        for key in left:
            if key in right:
                self._tree(left[key], right[key], f"{where}[{key!r}]")

    def _array(self, left: ArrayType, right: ArrayType, where: str) -> None:
        if left.dtype != right.dtype:
            self._differ(errors.DTYPE, where, left.dtype, right.dtype)
        if len(left.shape) != len(right.shape):
            at = f" at {where}" if where else ""
            self.differences.append(
                errors.RANK.format(
                    where=at,
                    given=left,
                    wanted=right,
                    given_rank=len(left.shape),
                    wanted_rank=len(right.shape),
                )
            )
            return
        for axis, (a, b) in enumerate(zip(left.shape, right.shape, strict=True)):
            if not self._dims(("left", a), ("right", b)):
                given, wanted = (self._name(("left", a)), self._name(("right", b)))
                self._differ(errors.AXIS, where, given, wanted, axis=axis)

    def _differ(self, message: str, where: str, given: Any, wanted: Any, **more: Any) -> None:
        at = f" at {where}" if where else ""
        self.differences.append(message.format(where=at, given=given, wanted=wanted, **more))

    def _dims(self, a: tuple[str, Dim], b: tuple[str, Dim]) -> bool:
        a, b = self._find(a), self._find(b)
        if a == b or (isinstance(a[1], int) and a[1] == b[1]):
            return True
        if is_name(b[1]) and b[0] == "right":
            self._bound[b] = a
        elif is_name(a[1]):
            self._bound[a] = b
        elif is_name(b[1]):
            self._bound[b] = a
        elif a[1] == b[1]:  # one expression of the names of either part: they agree where those do
            return all(self._dims((a[0], n), (b[0], n)) for n in dims.names(a[1]))
        else:
            return self._name(a) == self._name(b)
        return True

    def _find(self, dim: tuple[str, Dim]) -> tuple[str, Dim]:
        while dim in self._bound:
            dim = self._bound[dim]
        return dim

    def _name(self, dim: tuple[str, Dim]) -> Dim:
        side, text = self._find(dim)
        if isinstance(text, int) or is_name(text):
            return text if side == "left" or isinstance(text, int) else f"{text}_"
        inner = {n: self._name((side, n)) for n in dims.names(text)}
        return dims.replace(text, {n: d for n, d in inner.items() if n != d})

    def sizes(self, type: Type) -> dict[str, Dim]:
        """What was learned of the names of a type of the left part."""
        known = {n: self._name(("left", n)) for n in types.names(type)}
        return {n: dim for n, dim in known.items() if dim != n}

    def left(self, type: Type) -> Type:
        """A type of the left part, in common names."""
        return types.substitute(type, self.sizes(type))

    def right(self, type: Type) -> Type:
        """A type of the right part, in common names."""
        return types.substitute(type, {n: self._name(("right", n)) for n in types.names(type)})


def _kind(type: Type) -> str:
    """What kind of tree a type is, as an error says it."""
    if isinstance(type, ArrayType):
        return f"one array, {type}"
    return f"a tuple of {len(type)}" if isinstance(type, tuple) else "a dict"
