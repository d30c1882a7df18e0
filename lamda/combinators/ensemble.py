"""Ensembles: many functions of one input, reduced to one result."""

import operator
from collections.abc import Callable, Sequence
from functools import reduce as fold
from typing import Any

import jax
import jax.numpy as jnp

from lamda import errors
from lamda.combinators.branch import branch
from lamda.combinators.compose import compose
from lamda.combinators.join import add, join, leafwise
from lamda.errors import made_at
from lamda.function import Function
from lamda.model import Model, models
from lamda.term import Lift


def ensemble(
    parts: Sequence[Model], reduce: str | Callable[[tuple[Any, ...]], Any] | Model = "mean"
) -> Model:
    """``ensemble([f, g])(x)`` is ``(f(x) + g(x)) / 2``.

    ``reduce`` is ``"mean"``, ``"sum"`` or ``"max"``, leaf by leaf of what the members give, which
    is one type; or any function, or model, of the tuple of what they give.

    >>> import jax.numpy as jnp, lamda as lm
    >>> f = lm.lift(lambda x: x * 2, input="float32[]")
    >>> [ensemble([f, lm.identity], reduce=r)(jnp.float32(3)).item() for r in ("mean", "max")]
    [4.5, 6.0]

    Laws: ``ensemble(fs, reduce="sum")`` is ``add(*fs)``.

    Raises MismatchError where the members give different types, SpecError for another word.
    """
    members = models("ensemble", parts)
    match reduce:
        case "sum":
            return add(*members)
        case "mean":
            return join("mean", members, leafwise(_mean), what="ensemble")
        case "max":
            return join("max", members, leafwise(_max), what="ensemble")
        case Model():
            return compose(branch(*members), reduce)
    if not callable(reduce):
        raise errors.SpecError(errors.BAD_REDUCE.format(given=reduce))
    return compose(branch(*members), _lifted(reduce))


def _mean(leaves: Sequence[jax.Array]) -> jax.Array:
    return fold(operator.add, leaves) / len(leaves)


def _max(leaves: Sequence[jax.Array]) -> jax.Array:
    return fold(jnp.maximum, leaves)


def _lifted(function: Callable[[Any], Any]) -> Model:
    """As ``lift(function)``."""
    where = made_at()
    name = getattr(function, "__name__", "reduce")
    called = Function(
        lambda weights, x: function(x),
        key=("python", function, False),
        name="reduce" if name == "<lambda>" else name,
        where=where,
    )
    return Model(Lift(called), {}, None, None, where=where)
