"""Replacing parts."""

from collections.abc import Mapping

from lamda import errors
from lamda.model import Model, models
from lamda.surgery.select import Selection, overlapping, select


def replace(model: Model, new: Mapping[str | Model, Model]) -> Model:
    """``replace(m, {"head": h})`` is ``m`` with ``h`` where ``m`` has a part at the path ``head``.

    A key is a path as in :func:`select`, or a model, which is replaced where its term occurs. All
    are replaced at once, so parts may change places.

    >>> import jax.numpy as jnp, lamda as lm
    >>> sin, cos = lm.lift(jnp.sin, input="float32[b]"), lm.lift(jnp.cos)
    >>> m = sin >> cos
    >>> replace(m, {"cos": lm.identity}).address == sin.address
    True

    Laws: ``replace(m, {p: q})`` is ``select(m, p).set(q)``; ``replace(m, {})`` is ``m``.

    Raises MissingError where there is nothing to replace, SpecError where two keys are one inside
    of another, MismatchError where the new part does not fit.
    """
    given = models("replace", list(new.values())) if new else []
    found = [select(model, key) for key in new]
    for selection in found:
        selection.require()
    places = [place for selection in found for place in selection.places]
    if clash := overlapping(places):
        raise errors.SpecError(errors.OVERLAP.format(a="/".join(clash[0]), b="/".join(clash[1])))
    parts = [p for s, p in zip(found, given, strict=True) for _ in s.places]
    return Selection(model, tuple(places), "").set(*parts) if places else model
