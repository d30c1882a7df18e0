"""Joins: several functions of one input, their results made one. Exact: nothing is broadcast."""

import operator
from collections.abc import Callable, Sequence
from functools import cache, reduce
from typing import Any

import jax
import jax.numpy as jnp

from lamda import check, errors, types
from lamda.combinators.branch import branch
from lamda.combinators.compose import compose
from lamda.errors import made_at
from lamda.function import Function
from lamda.model import Model, models
from lamda.term import Lift
from lamda.types import ArrayType, Type


def add(*parts: Model) -> Model:
    """``add(f, g)(x)`` is ``f(x) + g(x)``.

    All parts give one type, which may be a tree: it is added leaf by leaf.

    >>> import jax.numpy as jnp, lamda as lm
    >>> f = lm.lift(lambda x: x * 2, input="float32[]")
    >>> add(f, lm.identity)(jnp.float32(3)).item()
    9.0

    Laws: ``h >> add(f, g)`` is ``add(h >> f, h >> g)``.

    Raises MismatchError where the types differ in anything: a shape, a dtype, a structure.
    """
    return join("add", parts, total)


def multiply(*parts: Model) -> Model:
    """``multiply(f, g)(x)`` is ``f(x) * g(x)``, leaf by leaf.

    >>> import jax.numpy as jnp, lamda as lm
    >>> gate = lm.lift(lambda x: 1 - x, input="float32[]")
    >>> multiply(lm.identity, gate)(jnp.float32(-3)).item()
    -12.0

    Laws and Raises: as :func:`add`.
    """
    return join("multiply", parts, leafwise(lambda leaves: reduce(operator.mul, leaves)))


def concat(*parts: Model, axis: int = -1) -> Model:
    """``concat(f, g)(x)`` is ``f(x)`` and ``g(x)`` one after the other along ``axis``.

    All parts give one dtype and one shape, except along the axis.

    >>> import jax.numpy as jnp, lamda as lm
    >>> f = lm.lift(lambda x: x * 2, input="float32[b, 3]")
    >>> concat(f, lm.identity).output
    ArrayType(dtype='float32', shape=('b', 6))

    Laws: as :func:`add`. Raises MismatchError.
    """

    def along(leaves: Sequence[Any]) -> Any:
        return jnp.concatenate(leaves, axis)

    def rest(leaf: ArrayType) -> ArrayType:
        if not -len(leaf.shape) <= axis < len(leaf.shape):
            raise errors.MismatchError(errors.JOIN_AXIS.format(what="concat", axis=axis, type=leaf))
        at = axis % len(leaf.shape)
        return ArrayType(leaf.dtype, (*leaf.shape[:at], *leaf.shape[at + 1 :]))

    return join("concat", parts, leafwise(along), axis, alike=rest)


def stack(*parts: Model, axis: int = 0) -> Model:
    """``stack(f, g)(x)`` is ``f(x)`` and ``g(x)`` along a new axis.

    >>> import jax.numpy as jnp, lamda as lm
    >>> f = lm.lift(lambda x: x * 2, input="float32[b, 3]")
    >>> stack(f, lm.identity).output
    ArrayType(dtype='float32', shape=(2, 'b', 3))

    Laws: as :func:`add`. Raises MismatchError.
    """

    def along(leaves: Sequence[Any]) -> Any:
        return jnp.stack(leaves, axis)

    def whole(leaf: ArrayType) -> ArrayType:
        if not -len(leaf.shape) - 1 <= axis <= len(leaf.shape):
            raise errors.MismatchError(errors.JOIN_AXIS.format(what="stack", axis=axis, type=leaf))
        return leaf

    return join("stack", parts, leafwise(along), axis, alike=whole)


def join(
    name: str,
    parts: Sequence[Model],
    call: Callable[[Any], Any],
    *parameters: int | str,
    what: str | None = None,
    alike: Callable[[ArrayType], ArrayType] = lambda leaf: leaf,
) -> Model:
    """``branch(*parts)`` and then ``call`` of the tuple.

    What the parts give must be one type after ``alike``. ``name`` and ``parameters`` say all of
    what ``call`` does: joins of one name and parameters are one function, wherever they are made.
    """
    said = what or name
    members = models(said, parts)
    places = [check.place(member.term, member.where) for member in members]

    def checked(weights: Any, values: Any) -> Any:
        require_alike(said, types.typeof(values), lambda i: places[i].name, alike)
        return call(values)

    return compose(branch(*members), builtin(name, checked, *parameters))


def builtin(name: str, call: Callable[[Any, Any], Any], *parameters: int | str) -> Model:
    """A lifted function of the language itself, equal to every other of its name."""
    key = ("join", name, *parameters)
    text = f"joined({', '.join(map(repr, key[1:]))})"  # lamda/combinators/joined.py
    function = Function(call, key=key, name=name, where="lamda", text=text)
    function.share(_traced(key))
    return Model(Lift(function), {}, None, None, where=made_at())


@cache
def _traced(key: tuple[int | str, ...]) -> dict[Any, Any]:
    """What is known of the joins of one key: the next of them is not traced again."""
    return {}


def leafwise(call: Callable[[Sequence[Any]], Any]) -> Callable[[Any], Any]:
    """``call`` of the leaves that stand in one place of several trees."""
    return lambda trees: jax.tree.map(lambda *leaves: call(leaves), *trees)


total = leafwise(lambda leaves: reduce(operator.add, leaves))
"""The sum of several trees, leaf by leaf, from left to right."""


def require_alike(
    what: str,
    given: Type,
    called: Callable[[int], str],
    alike: Callable[[ArrayType], ArrayType] = lambda leaf: leaf,
) -> None:
    """Raises MismatchError unless all members of a tuple type are one type after ``alike``."""
    assert isinstance(given, tuple)
    kinds = [types.plain(types.transform(alike, type)) for type in given]
    for place, kind in enumerate(kinds):
        if kind != kinds[0]:
            raise errors.MismatchError(
                errors.JOIN_MISMATCH.format(
                    what=what,
                    left=called(0),
                    wanted=types.show(given[0]),
                    right=called(place),
                    given=types.show(given[place]),
                )
            )
