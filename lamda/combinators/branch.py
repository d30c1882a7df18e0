"""Branching: one input, several outputs."""

from lamda import check, errors, types
from lamda.combinators.typed import shared_input
from lamda.errors import made_at
from lamda.model import Model, models
from lamda.term import Branch
from lamda.types import Type


def branch(*parts: Model, **named: Model) -> Model:
    """``branch(f, g)(x)`` is ``(f(x), g(x))``, written ``f & g``.

    With names it is a dict: ``branch(a=f, b=g)(x)`` is ``{"a": f(x), "b": g(x)}``.

    >>> import jax.numpy as jnp, lamda as lm
    >>> double = lm.lift(lambda x: x * 2, input="float32[]")
    >>> square = lm.lift(lambda x: x * x)
    >>> branch(d=double, s=square)(jnp.float32(3))["s"].item()
    9.0

    Laws: ``branch(f >> g, f >> h)`` is ``f >> branch(g, h)``, and ``f`` runs once;
    ``branch(f, g) >> pick(0)`` is ``f``; ``branch(pick(0), pick(1))`` is the identity of pairs.

    Raises MismatchError where two parts take different inputs.
    """
    if parts and named:
        raise errors.SpecError(errors.MIXED_PARTS.format(what="branch"))
    members = models("branch", parts or tuple(named.values()))
    environment = {k: v for m in members for k, v in m.environment.items()}
    term = Branch(tuple(m.term for m in members), tuple(named) or None)
    input, output = _types(term, members, environment)
    return Model(term, environment, input, output, where=made_at())


def _types(term: Branch, members: list[Model], environment: dict) -> tuple[Type | None, ...]:
    common = shared_input(members)
    if common is None:
        return None, None
    place = next(check.first(m.term, m.where) for m in members if m.input is not None)
    outputs: list[Type] = []
    for m in members:
        if m.input is not None and m.output is not None:
            outputs.append(check.agree((place, common), (place, m.input)).right(m.output))
        else:
            step = check.infer(m.term, common, m.weights_type, place)
            common = types.substitute(common, step.sizes)
            outputs = [types.substitute(o, step.sizes) for o in outputs] + [step.output]
    tree = tuple(outputs) if term.names is None else dict(zip(term.names, outputs, strict=True))
    return common, tree
