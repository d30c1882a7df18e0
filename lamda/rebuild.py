"""Rebuilding: the model of a term, whose types are found anew from what its parts declare."""

from lamda import check, errors, types
from lamda.combinators.branch import branch
from lamda.combinators.compose import compose
from lamda.errors import made_at
from lamda.model import Environment, Model
from lamda.term import Branch, Compose, Control, Lift, Named, Term, slots
from lamda.types import Type


def rebuild(term: Term, environment: Environment, input: Type | None = None) -> Model:
    """``rebuild(m.term, m.environment, m.input)`` is ``m``.

    ``environment`` may hold more than the term needs, and the model keeps what it needs. ``input``
    is what the term is given, used where its first parts declare nothing, or declare more than is
    given and do not fit at that.

    >>> import jax.numpy as jnp, lamda as lm
    >>> f = lm.lift(jnp.sin, input="float32[b]") >> lm.lift(jnp.cos)
    >>> rebuild(f.term, f.environment)
    <sin >> cos: float32[b] -> float32[b]>

    Raises MismatchError where the parts do not fit.
    """
    try:
        return typed(_declared(term, environment, {}), input)
    except errors.MismatchError:
        if input is None:
            raise
        bound = {slot: environment[slot] for slot in slots(term) if slot in environment}
        return typed(Model(term, bound, None, None, where=made_at()), input)


def typed(model: Model, input: Type | None) -> Model:
    """The model at an input type, where it declares none."""
    if model.input is not None or input is None:
        return model
    step = check.infer(model.term, input, model.weights_type)
    return model.derive(
        model.term,
        model.environment,
        input=types.substitute(input, step.sizes),
        output=step.output,
    )


def narrowed(model: Model, input: Type | None) -> Model:
    """The model at an input type that is less than what it declares, where it fits at that."""
    if model.input is None or input is None:
        return typed(model, input)
    try:
        return typed(model.derive(model.term, model.environment, input=None), input)
    except errors.MismatchError:
        return model


def _declared(term: Term, environment: Environment, made: dict[int, Model]) -> Model:
    """The model of a term with the types that its parts declare; a shared term is made once."""
    if id(term) not in made:
        made[id(term)] = _made(term, environment, made)
    return made[id(term)]


def _made(term: Term, environment: Environment, made: dict[int, Model]) -> Model:
    match term:
        case Compose(parts) if parts:
            return compose(*(_declared(part, environment, made) for part in parts))
        case Branch(parts, names) if parts:
            members = [_declared(part, environment, made) for part in parts]
            return branch(**dict(zip(names, members, strict=True))) if names else branch(*members)
        case Named(_, inner):
            found = _declared(inner, environment, made)
            return found.derive(term, found.environment)
    bound = {slot: environment[slot] for slot in slots(term) if slot in environment}
    input = check.declared(term) if isinstance(term, Lift | Control) else None
    return typed(Model(term, bound, None, None, where=made_at()), input)
