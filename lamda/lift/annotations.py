"""Annotations: the types that a signature says."""

import inspect
from collections.abc import Callable
from typing import Any, get_args, get_origin

import jax.numpy as jnp

from lamda import errors, types
from lamda.types import ArrayType, Type

_DEFAULTS = ("float32", "int32", "uint32", "bool", "complex64")


def annotated(annotation: Any, function: Callable[..., Any]) -> Type | None:
    """The type that an annotation says; ``None`` where it says none, or not all of it.

    A type is said by a text, ``"float32[b, 16]"``; by jaxtyping, ``Float[Array, "b 16"]``; by a
    ``tuple[...]`` of these. What jaxtyping leaves open is taken as JAX makes it: ``Float`` is
    float32, ``Int`` is int32. Any number of axes (``...``, ``*batch``), broadcasting (``#b``) and
    several kinds of numbers (``Num``, ``Shaped``) are no type: such a function takes what comes.

    jaxtyping is not imported: its annotations have ``dtypes`` and ``dim_str``
    (https://docs.kidger.site/jaxtyping/api/array/).
    """
    if isinstance(annotation, str):
        return _text(annotation, function)
    if get_origin(annotation) is tuple:
        parts = [annotated(part, function) for part in get_args(annotation)]
        return None if not parts or None in parts else tuple(p for p in parts if p is not None)
    if isinstance(annotation, types.ArrayType):
        return annotation
    return _jaxtyping(annotation)


def of_input(function: Callable[..., Any], weights: bool) -> Type | None:
    """What a function of ``(x)``, or of ``(weights, x)``, says of the type of ``x``."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin without a signature
        return None
    taken = parameters[weights : weights + 1]
    return annotated(taken[0].annotation, function) if taken else None


def _text(text: str, function: Callable[..., Any]) -> Type | None:
    """A type written as a text, or the text of an annotation that is evaluated late."""
    try:
        return types.typeof(text.strip("'\""))
    except errors.SpecError:
        pass
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        found = eval(text, scope)
    except Exception:  # a name of another scope, or of type checking alone: no type for us
        return None
    return None if isinstance(found, str) else annotated(found, function)


def _jaxtyping(annotation: Any) -> Type | None:
    dtypes, dims = getattr(annotation, "dtypes", None), getattr(annotation, "dim_str", None)
    if not isinstance(dtypes, list | tuple) or not isinstance(dims, str):
        return None
    names = [d for d in dtypes if len(dtypes) == 1 or d in _DEFAULTS]
    if len(names) != 1:
        return None
    try:
        shape = tuple(types.dims.dim(_axis(axis)) for axis in dims.split())
        return ArrayType(jnp.dtype(names[0]).name, shape)
    except (TypeError, ValueError):
        return None


def _axis(axis: str) -> str:
    """An axis as a dimension is written: ``rows=3`` documents its number. Raises ValueError."""
    said = axis.split("=")[-1]
    if said == "_" or not said.isascii():
        raise ValueError(said)
    return said
