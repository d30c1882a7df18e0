"""The model that a term is, with its types: what the derived combinators are made by."""

from collections.abc import Sequence

from lamda import check, types
from lamda.errors import made_at
from lamda.model import Model
from lamda.term import Term
from lamda.types import Type


def typed(term: Term, parts: Sequence[Model], input: Type | None) -> Model:
    """The model of ``term``, which is made of the terms of ``parts``, at an input type.

    Raises MismatchError where the parts do not fit.
    """
    environment = {slot: w for part in parts for slot, w in part.environment.items()}
    model = Model(term, environment, input, None, where=made_at())
    if input is None:
        return model
    found = check.infer(term, input, model.weights_type)
    known = types.substitute(input, found.sizes)
    return model.derive(term, environment, input=known, output=found.output)


def shared_input(parts: Sequence[Model]) -> Type | None:
    """The type of the one input that all parts read, as far as they say it."""
    known = [(check.first(m.term, m.where), m.input) for m in parts if m.input is not None]
    if not known:
        return None
    place, common = known[0]
    for other in known[1:]:
        common = check.branch_input((place, common), other)
    return common
