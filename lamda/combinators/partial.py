"""Partial application: functions of several things, one thing at a time."""

from collections.abc import Callable, Mapping
from typing import Any

from lamda import check, errors, types
from lamda.combinators.const import const
from lamda.combinators.typed import typed
from lamda.errors import made_at
from lamda.model import Model, models
from lamda.term import IDENTITY, Branch, Pick, Term, sequence
from lamda.types import Type


def partial(f: Model, value: Any, at: int | str = 0) -> Model:
    """``partial(f, v)(y)`` is ``f((v, y))``: one component of the input is fixed.

    ``at`` says which: of a pair, the other is the input; of a longer tuple or of a dict, the tuple
    or dict of the others (``at="name"``). The value is a frozen weight, see :func:`const`.

    >>> import jax.numpy as jnp, lamda as lm
    >>> minus = lm.lift(lambda xy: xy[0] - xy[1], input=("float32[]", "float32[]"))
    >>> one = jnp.float32(1)
    >>> partial(minus, 5.0)(one).item(), partial(minus, 5.0, at=1)(one).item()
    (4.0, -4.0)

    Laws: ``partial(f, v)`` is ``branch(const(v), identity) >> f``; ``partial(f, v, at=1)`` is
    ``branch(identity, const(v)) >> f`` is ``partial(swap >> f, v)``.

    Raises MismatchError where the value is not of the type that ``f`` takes there, SpecError
    where its input has no such component, OpenError where a longer input is not known.
    """
    models("partial", [f])
    fixed = const(value)
    term, input = _fixing(f, fixed.term, at)
    if f.input is not None and fixed.output is not None:
        given = check.Place(f"the fixed component {at!r}", made_at())
        wanted = f.input[at]  # type: ignore[index] - it is there: see _fixing
        check.agree((given, fixed.output), (check.first(f.term, f.where), wanted))
    return typed(sequence(term, f.term), [fixed, f], input)


def curry(f: Model) -> Callable[[Any], Model]:
    """``curry(f)(x)(y)`` is ``f((x, y))``; ``curry(f)(x)`` is the model ``partial(f, x)``.

    >>> import jax.numpy as jnp, lamda as lm
    >>> minus = lm.lift(lambda xy: xy[0] - xy[1], input=("float32[]", "float32[]"))
    >>> curry(minus)(5.0)(jnp.float32(1)).item()
    4.0

    Laws: beta, ``curry(f)(v)`` is ``branch(const(v), identity) >> f``; eta,
    ``lambda x: partial(f, x)`` is ``curry(f)``: equal addresses at every ``x``.
    """
    models("curry", [f])
    return lambda x: partial(f, x)


def apply(f: Callable[[Any], Any], x: Any) -> Any:
    """``apply(f, x)`` is ``f(x)``, for a model or for what :func:`curry` gives.

    >>> import jax.numpy as jnp, lamda as lm
    >>> minus = lm.lift(lambda xy: xy[0] - xy[1], input=("float32[]", "float32[]"))
    >>> apply(apply(curry(minus), 5.0), jnp.float32(1)).item()
    4.0

    Laws: eta, ``lambda x: apply(f, x)`` is ``f``.
    """
    return f(x)


def _fixing(f: Model, value: Term, at: int | str) -> tuple[Term, Type | None]:
    """The term from what is left to the whole input of ``f``, and the type of what is left."""
    match f.input:
        case None if at in (0, 1):
            return _pair(value, at == 0), None
        case None:
            raise errors.OpenError(errors.OPEN_INPUT.format(name=f.name))
        case (first, second) if at in (0, 1):
            return _pair(value, at == 0), second if at == 0 else first
        case tuple() if isinstance(at, int) and 0 <= at < len(f.input):
            rest = f.input[:at] + f.input[at + 1 :]
            picks = [Pick(i) for i in range(len(rest))]
            return Branch((*picks[:at], value, *picks[at:])), rest
        case Mapping() if at in f.input:
            rest = {key: type for key, type in f.input.items() if key != at}
            parts = tuple(value if key == at else Pick(key) for key in f.input)
            return Branch(parts, tuple(f.input)), rest
    text = errors.BAD_COMPONENT.format(name=f.name, type=types.show(f.input), at=at)
    raise errors.SpecError(text)


def _pair(value: Term, left: bool) -> Term:
    return Branch((value, IDENTITY) if left else (IDENTITY, value))
