"""Dimensions: whole numbers, names, and expressions of names such as ``2*b`` or ``floordiv(t, 4)``.

Expressions come from shape inference and are written as JAX writes symbolic dimensions
(https://docs.jax.dev/en/latest/export/shape_poly.html).
"""

import ast
import operator
import re
from collections.abc import Container, Mapping
from itertools import chain, count
from typing import Any, TypeAlias

import jax.core
import jax.export

Dim: TypeAlias = int | str

_NAME = re.compile(r"[A-Za-z_]\w*")
_FUNCTIONS = {
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "max": jax.core.max_dim,
    "min": jax.core.min_dim,
}
_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
}


def dim(value: Any) -> Dim:
    """The dimension that a number, a text or a symbolic dimension of JAX stands for.

    Raises ValueError for a text that is no expression.
    """
    text = str(value)
    if text.isdigit():
        return int(text)
    if is_name(text):
        return text
    text = str(_evaluate(text, {}, jax.export.SymbolicScope()))
    return int(text) if text.isdigit() else text


def is_name(value: Dim) -> bool:
    """Whether a dimension is one name."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def names(value: Dim) -> list[str]:
    """The names in a dimension.

    >>> names("2*b + floordiv(t, 4)")
    ['b', 't']
    """
    return [n for n in _NAME.findall(str(value)) if n not in _FUNCTIONS]


def fresh(name: str, taken: Container[str]) -> str:
    """The name, or the first of ``name1``, ``name2``, ... that is not taken.

    >>> fresh("b", ["b", "b1"])
    'b2'
    """
    return next(n for n in chain((name,), (f"{name}{i}" for i in count(1))) if n not in taken)


def replace(value: Dim, sizes: Mapping[str, Dim]) -> Dim:
    """The dimension with every name in ``sizes`` replaced.

    >>> replace("2*b + t", {"b": 4}), replace("2*b", {"b": "n + 1"})
    ('t + 8', '2*n + 2')
    """
    if isinstance(value, int) or not any(n in sizes for n in names(value)):
        return value
    if value in sizes:
        return sizes[value]
    scope = jax.export.SymbolicScope()
    return dim(_evaluate(value, {n: sizes.get(n, n) for n in names(value)}, scope))


def _evaluate(text: Dim, sizes: Mapping[str, Dim], scope: jax.export.SymbolicScope) -> Any:
    """An expression over JAX's symbolic dimensions."""

    def walk(node: ast.expr) -> Any:
        match node:
            case ast.Constant(int(value)):
                return value
            case ast.Name(name) if sizes.get(name, name) == name:
                return jax.export.symbolic_shape(f"{name},", scope=scope)[0]
            case ast.Name(name):
                return _evaluate(sizes[name], {}, scope)
            case ast.UnaryOp(ast.USub(), operand):
                return -walk(operand)
            case ast.BinOp(left, op, right):
                return _OPERATORS[type(op)](walk(left), walk(right))
            case ast.Call(ast.Name(function), arguments):
                return _FUNCTIONS[function](*map(walk, arguments))
        raise ValueError(f"{text!r} is no dimension")

    try:
        return walk(ast.parse(str(text).replace("^", "**"), mode="eval").body)
    except (SyntaxError, KeyError, TypeError) as error:
        raise ValueError(f"{text!r} is no dimension") from error
