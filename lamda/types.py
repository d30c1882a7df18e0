"""Types: trees of shapes and dtypes, whose dimensions may be named.

A type is an :class:`ArrayType`, or a tuple or a dict of types. It is written as it prints:
``float32[b, 384]``, ``(float32[b, 5], int32[])``, ``{ids: int32[b, t], mask: int32[b, t]}``.
A named dimension stands for any size; within one part the same name is the same size.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from lamda import dims, errors
from lamda.dims import Dim


@dataclass(frozen=True, slots=True)
class ArrayType:
    """The type of one array: ``ArrayType("float32", ("b", 384))`` is ``float32[b, 384]``."""

    dtype: str
    shape: tuple[Dim, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


Type: TypeAlias = ArrayType | tuple["Type", ...] | Mapping[str, "Type"]
Flat: TypeAlias = tuple[Any, tuple[ArrayType, ...]]

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
        return ArrayType(_name(dtype), tuple(map(dims.dim, shape)))
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


def apart(type: Type, taken: Iterable[str]) -> Type:
    """The type with other names where its own are taken: names are local to a part.

    >>> show(apart(typeof("float32[b, n]"), ["b"]))
    'float32[b1, n]'
    """
    used = {*taken}
    fresh: dict[str, Dim] = {}
    for name in names(type):
        if name in used:
            fresh[name] = dims.fresh(name, {*used, *names(type), *fresh.values()})
    return substitute(type, fresh)


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


def flat(type: Type) -> Flat:
    """The tree and the leaves of a type, which can be hashed and put together again."""
    found, tree = jax.tree.flatten(type, is_leaf=is_array)
    return tree, tuple(found)


def to_json(type: Type) -> dict[str, Any]:
    """The type as in docs/bundle.md: ``{"array": ["float32", ["b", 384]]}``, tuple, or dict."""
    if isinstance(type, ArrayType):
        return {"array": [type.dtype, list(type.shape)]}
    if isinstance(type, tuple):
        return {"tuple": [to_json(t) for t in type]}
    return {"dict": {k: to_json(t) for k, t in type.items()}}


_name = lru_cache(maxsize=64)(lambda dtype: jnp.dtype(dtype).name)
"""The name of a dtype: slow to find out, and asked of every array of a type."""


def from_json(value: Any) -> Type:
    """The type that :func:`to_json` wrote. Raises KeyError, TypeError or ValueError."""
    ((kind, inner),) = value.items()
    if kind == "array":
        dtype, shape = inner
        return ArrayType(_name(dtype), tuple(map(dims.dim, shape)))
    if kind == "tuple":
        return tuple(map(from_json, inner))
    return {str(k): from_json(t) for k, t in inner.items()}
