"""Types: trees of shapes and dtypes, whose dimensions may be named.

A type is an :class:`ArrayType`, or a tuple or a dict of types. It is written as it prints:
``float32[b, 384]``, ``(float32[b, 5], int32[])``, ``{ids: int32[b, t], mask: int32[b, t]}``.
A named dimension stands for any size; within one part the same name is the same size.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from lamda import dims, errors
from lamda.dims import Dim, is_name


@dataclass(frozen=True, slots=True)
class ArrayType:
    """The type of one array: ``ArrayType("float32", ("b", 384))`` is ``float32[b, 384]``."""

    dtype: str
    shape: tuple[Dim, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


Type: TypeAlias = ArrayType | tuple["Type", ...] | Mapping[str, "Type"]

_ARRAY = re.compile(r"\s*([A-Za-z]\w*)\s*\[([^\]]*)\]\s*")


def typeof(value: Any) -> Type:
    """The type of a value, or of anything that says one.

    >>> show(typeof({"x": jnp.zeros((2, 3)), "n": "int32[b]"}))
    '{n: int32[b], x: float32[2, 3]}'
    """
    if isinstance(value, ArrayType):
        return value
    if isinstance(value, str):
        return _parse(value)
    if isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
        return {k: typeof(value[k]) for k in sorted(value)}
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        return tuple(map(typeof, value))
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None:
        return ArrayType(jnp.dtype(dtype).name, tuple(map(dims.dim, shape)))
    if isinstance(value, bool | int | float | complex | np.generic):
        return ArrayType(jnp.result_type(value).name, ())
    raise errors.SpecError(errors.BAD_TYPE.format(value=value))


def _parse(text: str) -> ArrayType:
    match = _ARRAY.fullmatch(text)
    try:
        if match is None:
            raise TypeError(text)
        parts = match[2].split("," if "," in match[2] else None)
        shape = tuple(dims.dim(part.strip()) for part in parts)
        return ArrayType(jnp.dtype(match[1]).name, shape)
    except (TypeError, ValueError):
        raise errors.SpecError(errors.BAD_TYPE.format(value=text)) from None


def show(type: Type | None) -> str:
    """The type as one writes it; an unknown type is ``?``."""
    if type is None:
        return "?"
    if isinstance(type, tuple):
        return f"({', '.join(map(show, type))}{',' if len(type) == 1 else ''})"
    if isinstance(type, Mapping):
        return f"{{{', '.join(f'{k}: {show(t)}' for k, t in type.items())}}}"
    return str(type)


def leaves(type: Type, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple, ArrayType]]:
    """Every array of the type with its path, tuples left to right, dicts by sorted key."""
    if isinstance(type, ArrayType):
        yield path, type
    elif isinstance(type, tuple):
        for i, part in enumerate(type):
            yield from leaves(part, (*path, i))
    else:
        for key in sorted(type):
            yield from leaves(type[key], (*path, key))


def transform(function: Callable[[ArrayType], Any], type: Type) -> Any:
    """The tree of the same shape whose leaves are ``function(leaf)``."""
    return jax.tree.map(function, type, is_leaf=is_array)


def names(type: Type) -> list[str]:
    """The named dimensions, in order of first appearance."""
    found = [n for _, leaf in leaves(type) for d in leaf.shape for n in dims.names(d)]
    return list(dict.fromkeys(found))


def substitute(type: Type, sizes: Mapping[str, Dim]) -> Type:
    """The type with every named dimension in ``sizes`` replaced.

    >>> show(substitute(typeof("float32[2*b, 3]"), {"b": 4}))
    'float32[8, 3]'
    """
    return transform(
        lambda leaf: ArrayType(leaf.dtype, tuple(dims.replace(d, sizes) for d in leaf.shape)), type
    )


def structs(type: Type, scope: jax.export.SymbolicScope | None = None) -> Any:
    """The tree of ``jax.ShapeDtypeStruct`` of a type; named dimensions become symbolic ones."""
    scope = scope or jax.export.SymbolicScope()

    def struct(leaf: ArrayType) -> jax.ShapeDtypeStruct:
        if all(isinstance(d, int) for d in leaf.shape):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        text = ", ".join(map(str, leaf.shape)) + ("," if len(leaf.shape) == 1 else "")
        return jax.ShapeDtypeStruct(jax.export.symbolic_shape(text, scope=scope), leaf.dtype)

    return transform(struct, type)


def is_array(value: Any) -> bool:
    """Whether a type is the type of one array: a leaf."""
    return isinstance(value, ArrayType)


def canonical(type: Type) -> Any:
    """The type as nested tuples, names replaced by their order: equal when the types are.

    >>> canonical(typeof("float32[n, 3]")) == canonical(typeof("float32[b, 3]"))
    True
    """
    numbered = {n: f"d{i}" for i, n in enumerate(names(type))}
    return plain(substitute(type, numbered) if numbered else type)


def plain(type: Type) -> Any:
    """The type as nested tuples, which can be hashed and packed."""
    if isinstance(type, ArrayType):
        return ("array", type.dtype, type.shape)
    if isinstance(type, tuple):
        return ("tuple", *map(plain, type))
    return ("dict", *((k, plain(type[k])) for k in sorted(type)))


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
        elif _kind(left) != _kind(right):
            self._differ(errors.STRUCTURE, where, show(left), show(right))
        elif isinstance(left, tuple) and isinstance(right, tuple):
            for i, (a, b) in enumerate(zip(left, right, strict=True)):
                self._tree(a, b, f"{where}[{i}]")
        elif isinstance(left, Mapping) and isinstance(right, Mapping):
            for key in left:
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
        known = {n: self._name(("left", n)) for n in names(type)}
        return {n: dim for n, dim in known.items() if dim != n}

    def left(self, type: Type) -> Type:
        """A type of the left part, in common names."""
        return substitute(type, self.sizes(type))

    def right(self, type: Type) -> Type:
        """A type of the right part, in common names."""
        return substitute(type, {n: self._name(("right", n)) for n in names(type)})


def _kind(type: Type) -> Any:
    if isinstance(type, ArrayType):
        return "array"
    return len(type) if isinstance(type, tuple) else tuple(sorted(type))


def to_json(type: Type) -> dict[str, Any]:
    """The type as in docs/bundle.md: ``{"array": ["float32", ["b", 384]]}``, tuple, or dict."""
    if isinstance(type, ArrayType):
        return {"array": [type.dtype, list(type.shape)]}
    if isinstance(type, tuple):
        return {"tuple": [to_json(t) for t in type]}
    return {"dict": {k: to_json(t) for k, t in type.items()}}


def from_json(value: Any) -> Type:
    """The type that :func:`to_json` wrote. Raises KeyError, TypeError or ValueError."""
    ((kind, inner),) = value.items()
    if kind == "array":
        dtype, shape = inner
        return ArrayType(jnp.dtype(dtype).name, tuple(map(dims.dim, shape)))
    if kind == "tuple":
        return tuple(map(from_json, inner))
    return {str(k): from_json(t) for k, t in inner.items()}
