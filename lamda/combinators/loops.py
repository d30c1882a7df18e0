"""Loops: the same function through time, a number of times, over an axis."""

from lamda import errors
from lamda.combinators.compose import compose, identity
from lamda.combinators.control import control
from lamda.kinds import Iterate, Scan, Until, Vmap
from lamda.model import Model, models


def scan(f: Model) -> Model:
    """``scan(f)(s, xs)`` is ``(s', ys)``: ``(s, y) = f((s, x))`` for each ``x`` of ``xs``.

    ``f`` takes ``(state, x)`` and gives ``(state, y)``, the state of one type; ``xs`` and ``ys``
    have one element a step along their first axis. The weights of ``f`` are tied over time.

    >>> import jax.numpy as jnp, lamda as lm
    >>> total = lm.lift(lambda sx: (sx[0] + sx[1], sx[0]), input=("float32[]", "float32[]"))
    >>> state, before = lm.scan(total)((jnp.float32(0), jnp.arange(4, dtype="float32")))
    >>> state.item(), before.tolist()
    (6.0, [0.0, 0.0, 1.0, 3.0])

    Raises MismatchError where the body changes the type of the state.
    Source: https://docs.jax.dev/en/latest/_autosummary/jax.lax.scan.html
    """
    return control(Scan(), *models("scan", [f]))


def iterate(f: Model, *, n: int | None = None, until: Model | None = None) -> Model:
    """``iterate(f, n=3)(x)`` is ``f(f(f(x)))``, as one loop.

    ``iterate(f, until=p)(x)`` is the first of ``x, f(x), f(f(x)), ...`` where ``p`` holds; it has
    no derivative in reverse. ``f`` gives the type that it takes, ``p`` gives ``bool[]``.

    >>> import jax.numpy as jnp, lamda as lm
    >>> double = lm.lift(lambda x: x * 2, input="float32[]")
    >>> big = lm.lift(lambda x: x > 100)
    >>> iterate(double, n=3)(jnp.float32(1)).item(), iterate(double, until=big)(1.0).item()
    (8.0, 128.0)

    Laws: ``iterate(f, n=n)`` has the values of ``repeat(f, n)``, and another address: the one is
    a loop and the other ``n`` parts.

    Raises SpecError unless exactly one of ``n`` and ``until`` is given, MismatchError where ``f``
    changes the type.
    """
    models("iterate", [f] if until is None else [f, until])
    if (n is None) == (until is None):
        raise errors.SpecError(errors.ITERATE_ARGUMENTS)
    if until is not None:
        return control(Until(), f, until)
    return control(Iterate(_count("iterate", n)), f)


def repeat(f: Model, n: int) -> Model:
    """``repeat(f, 3)`` is ``f >> f >> f``, with the weights of one ``f``.

    >>> import jax.numpy as jnp, lamda as lm
    >>> repeat(lm.lift(lambda x: x * 2, input="float32[]"), 3)(jnp.float32(1)).item()
    8.0

    Laws: ``repeat(f, 0)`` is ``identity``, ``repeat(f, 1)`` is ``f``,
    ``repeat(f, m) >> repeat(f, n)`` is ``repeat(f, m + n)``.

    Raises SpecError where ``n`` is no whole number from 0, MismatchError where ``f`` does not take
    what it gives.
    """
    models("repeat", [f])
    return compose(*[f] * _count("repeat", n)) if n else identity


def vmap(f: Model) -> Model:
    """``vmap(f)(xs)`` is ``[f(x) for x in xs]``: every array of ``xs`` gains one first axis.

    >>> import jax.numpy as jnp, lamda as lm
    >>> norm = lm.lift(lambda v: jnp.sqrt((v * v).sum()), input="float32[k]", name="norm")
    >>> vmap(norm)
    <vmap(norm): float32[n, k] -> float32[n]>

    Laws: ``vmap(f) >> vmap(g)`` has the values of ``vmap(f >> g)``, and another address.

    Raises MismatchError where the arrays have not one first axis.
    """
    return control(Vmap(), *models("vmap", [f]))


def _count(what: str, n: object) -> int:
    if type(n) is not int or n < 0:
        raise errors.SpecError(errors.BAD_COUNT.format(what=what, given=n))
    return n
