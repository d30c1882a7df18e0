"""Composition, in data order, and its identity."""

from functools import reduce

from lamda import check, types
from lamda.errors import made_at
from lamda.model import Model, models
from lamda.term import IDENTITY, sequence
from lamda.types import Type

identity = Model(IDENTITY, {}, None, None, where="lamda")
"""``identity(x)`` is ``x``."""


def compose(*parts: Model) -> Model:
    """``compose(f, g)(x)`` is ``g(f(x))``; written ``f >> g``.

    >>> import jax.numpy as jnp, lamda as lm
    >>> double = lm.lift(lambda x: x * 2, input="float32[n]")
    >>> half = lm.lift(lambda x: x / 2)
    >>> compose(double, half)(jnp.ones(3)).tolist()
    [1.0, 1.0, 1.0]

    Laws: ``f >> (g >> h)`` is ``(f >> g) >> h``; ``f >> identity`` is ``f`` is ``identity >> f``.

    Raises MismatchError where a part does not take what the one before gives.
    """
    return reduce(_then, models("compose", parts), identity)


def _then(f: Model, g: Model) -> Model:
    if f is identity or g is identity:
        return g if f is identity else f
    input, output = _types(f, g)
    return Model(
        sequence(f.term, g.term),
        {**f.environment, **g.environment},
        input,
        output,
        where=made_at(),
    )


def _types(f: Model, g: Model) -> tuple[Type | None, Type | None]:
    """The types of a composition: what ``f`` gives is what ``g`` takes."""
    if f.output is None:
        return f.input, g.output
    giver, taker = check.place(f.term, f.where), check.first(g.term, g.where)
    if g.input is not None and g.output is not None:
        unifier = check.agree((giver, f.output), (taker, g.input))
        sizes, output = unifier.sizes(f.output), unifier.right(g.output)
    else:
        inferred = check.infer(g.term, f.output, g.weights_type, giver)
        sizes, output = inferred.sizes, inferred.output
    return None if f.input is None else types.substitute(f.input, sizes), output
