"""Composition, in data order, and its identity."""

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
    members = [part for part in models("compose", parts) if part is not identity]
    if len(members) < 2:
        return members[0] if members else identity
    first, *rest = members
    input, output = first.input, first.output
    for giver, taker in zip(members, rest, strict=False):
        input, output = _types(input, output, giver, taker)
    environment = {slot: bound for m in members for slot, bound in m.environment.items()}
    return Model(sequence(*(m.term for m in members)), environment, input, output, where=made_at())


def _types(
    input: Type | None, output: Type | None, f: Model, g: Model
) -> tuple[Type | None, Type | None]:
    """The types of what goes from ``input`` to ``output``, last through ``f``, and then ``g``."""
    if output is None:
        return input, g.output
    giver, taker = check.place(f.term, f.where), check.first(g.term, g.where)
    if g.input is not None and g.output is not None:
        unifier = check.agree((giver, output), (taker, g.input))
        sizes, result = unifier.sizes(output), unifier.right(g.output)
    else:
        inferred = check.infer(g.term, output, g.weights_type, giver)
        sizes, result = inferred.sizes, inferred.output
    return None if input is None else types.substitute(input, sizes), result
