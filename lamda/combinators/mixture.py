"""Mixtures: experts weighed by a router."""

from collections.abc import Sequence
from typing import Any

import jax

from lamda import errors, types
from lamda.combinators.branch import branch
from lamda.combinators.compose import compose
from lamda.combinators.join import builtin, require_alike
from lamda.model import Model, models
from lamda.types import ArrayType, Type


def mixture(router: Model, experts: Sequence[Model]) -> Model:
    """``mixture(r, [f, g])(x)`` is ``p_0 * f(x) + p_1 * g(x)``, where ``p = softmax(r(x))``.

    The router gives ``[..., n]`` for ``n`` experts; every array that an expert gives begins with
    the same axes ``...`` and has the dtype of the router.

    >>> import jax.numpy as jnp, lamda as lm
    >>> even = lm.lift(lambda x: jnp.zeros((x.shape[0], 2)), input="float32[b, 3]", name="even")
    >>> ten = lm.lift(lambda x: x * 10)
    >>> mixture(even, [lm.identity, ten])(jnp.ones((1, 3))).tolist()
    [[5.5, 5.5, 5.5]]

    Laws: ``h >> mixture(r, [f, g])`` is ``mixture(h >> r, [h >> f, h >> g])``.

    Raises MismatchError where the router does not give one number for each expert, or the experts
    give different types.
    Source: Jacobs et al., Adaptive Mixtures of Local Experts, 1991
    """
    members = models("mixture", experts)
    return compose(branch(*models("mixture", [router]), branch(*members)), builtin("mix", _mix))


def _mix(weights: Any, value: tuple[jax.Array, tuple[Any, ...]]) -> Any:
    scores, results = value
    require_alike("mixture", types.typeof(results), lambda i: f"expert {i}")
    _require_routed(types.typeof(scores), types.typeof(results[0]), len(results))
    shares = jax.nn.softmax(scores, axis=-1)

    def share(i: int, leaf: jax.Array) -> jax.Array:
        return shares[..., i].reshape(*scores.shape[:-1], *(1,) * (leaf.ndim - scores.ndim + 1))

    def mixed(*leaves: jax.Array) -> jax.Array:
        total = share(0, leaves[0]) * leaves[0]
        for i, leaf in enumerate(leaves[1:], 1):
            total = total + share(i, leaf) * leaf
        return total

    return jax.tree.map(mixed, *results)


def _require_routed(scores: Type, result: Type, count: int) -> None:
    """Raises MismatchError unless the scores have one number for each expert."""
    for _, leaf in types.leaves(result):
        match scores:
            case ArrayType(dtype, (*rows, last)) if last == count and dtype == leaf.dtype:
                if leaf.shape[: len(rows)] == tuple(rows):
                    continue
        given = {"scores": types.show(scores), "result": types.show(leaf)}
        raise errors.MismatchError(errors.MIXTURE_ROUTER.format(count=count, **given))
