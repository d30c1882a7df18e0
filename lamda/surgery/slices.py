"""Slices: a composition is a sequence of parts."""

from lamda import errors
from lamda.combinators.compose import compose
from lamda.model import Model
from lamda.rebuild import rebuild
from lamda.surgery.places import names, parts, run
from lamda.term import Compose, Named, called


def item(model: Model, at: int | str | slice) -> Model:
    """``m[2:5]``, ``m[0]`` and ``m["head"]`` are parts of ``m``.

    A number or a slice counts the parts of a composition; what is no composition is one part. A
    name is that of a part in a composition, or a key of a branch, as in ``m.weights``.

    >>> import jax.numpy as jnp, lamda as lm
    >>> m = lm.lift(jnp.sin, input="float32[b]") >> lm.lift(jnp.cos) >> lm.lift(jnp.tan)
    >>> print(m[:-1], "|", m[1], "|", m["tan"])
    sin >> cos | cos | tan

    Law: ``m[:i] >> m[i:]`` is ``m``.

    Raises MissingError where there is no such part.
    """
    count = length(model)
    if isinstance(at, str):
        return _by_name(model, at)
    if isinstance(at, slice):
        start, stop, step = at.indices(count)
        if step != 1:
            raise errors.SpecError(errors.SLICE_STEP.format(step=step))
        return run(model, start, max(start, stop))
    if not -count <= at < count:
        raise errors.MissingError(errors.NO_PLACE.format(name=model, count=count, given=at))
    return run(model, at % count, at % count + 1)


def length(model: Model) -> int:
    """``len(m)``: how many parts a composition has; what is no composition is one part."""
    return len(model.term.parts) if isinstance(model.term, Compose) else 1


def split_at(model: Model, at: int | str) -> tuple[Model, Model]:
    """``split_at(m, i)`` is ``(m[:i], m[i:])``; a name is where its part begins.

    >>> import jax.numpy as jnp, lamda as lm
    >>> body, head = split_at(lm.lift(jnp.sin) >> lm.lift(jnp.cos), "cos")
    >>> print(body, "|", head)
    sin | cos

    Law: ``f >> g`` is ``m``, where ``f, g = split_at(m, i)``.

    Raises MissingError where no part has the name.
    """
    if isinstance(at, str):
        at = _place(model, at)
    return item(model, slice(None, at)), item(model, slice(at, None))


def graft(model: Model, part: Model, at: int | str) -> Model:
    """``graft(m, p, i)`` is ``m[:i] >> p >> m[i:]``: ``p`` put in before a part.

    >>> import jax.numpy as jnp, lamda as lm
    >>> m = lm.lift(jnp.sin, input="float32[b]") >> lm.lift(jnp.cos)
    >>> print(graft(m, lm.lift(jnp.tanh), "cos"))
    sin >> tanh >> cos

    Law: ``graft(m, identity, i)`` is ``m``.

    Raises MismatchError where it does not fit, MissingError where no part has the name.
    """
    left, right = split_at(model, at)
    body = compose(left, part)
    # What comes after takes what it is given now, and not what it was given before.
    known = body.output is not None
    free = right.derive(right.term, right.environment, input=None, output=None)
    return compose(body, free if known else rebuild(right.term, right.environment))


def _by_name(model: Model, name: str) -> Model:
    while isinstance(model.term, Named) and model.term.name != name:
        (model,) = parts(model)
    if isinstance(model.term, Named):
        return model
    return parts(model)[_number(model, name)]


def _place(model: Model, name: str) -> int:
    """Where a part begins; a model that is one part has one place, called as it is."""
    alone = not isinstance(model.term, Compose) and called(model.term) == name
    return 0 if alone else _number(model, name)


def _number(model: Model, name: str) -> int:
    known = [str(n) for n in names(model.term) if n is not None]
    if name not in known:
        choices = ", ".join(map(repr, known)) or "none: it is one part"
        raise errors.MissingError(errors.NO_PART.format(name=model, given=name, choices=choices))
    return known.index(name)
