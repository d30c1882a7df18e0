"""Choosing one of several functions by what a function says of the input."""

from collections.abc import Sequence

from lamda.combinators.typed import shared_input, typed
from lamda.kinds import Switch
from lamda.model import Model, models
from lamda.term import IDENTITY, Branch, Control, sequence


def switch(index: Model, choices: Sequence[Model]) -> Model:
    """``switch(i, [f, g])(x)`` is ``[f, g][i(x)](x)``; the one that is chosen runs.

    ``index`` gives one whole number or truth value, clamped into range; the choices take what it
    takes and give one type. It is ``branch(index, identity)`` and then a ``Control`` of kind
    ``Switch``. Derivatives go through the choice that was made.

    >>> import jax.numpy as jnp, lamda as lm
    >>> sign = lm.lift(lambda x: jnp.int32(x > 0), input="float32[]")
    >>> up, down = lm.lift(lambda x: x + 1), lm.lift(lambda x: x - 1)
    >>> [lm.switch(sign, [down, up])(jnp.float32(x)).item() for x in (-1, 1)]
    [-2.0, 2.0]

    Laws: ``h >> switch(i, [f, g])`` is ``switch(h >> i, [f, g])`` where the choices of the
    latter read ``h(x)`` (by values; ``h`` runs once in the first).

    Raises MismatchError where the index is no such number or the choices differ in type.
    """
    return choose("switch", index, choices)


def cond(p: Model, f: Model, g: Model) -> Model:
    """``cond(p, f, g)(x)`` is ``f(x)`` where ``p(x)`` holds, and ``g(x)`` where it does not.

    >>> import jax.numpy as jnp, lamda as lm
    >>> positive = lm.lift(lambda x: x > 0, input="float32[]")
    >>> half = lm.lift(lambda x: x / 2)
    >>> [lm.cond(positive, half, lm.identity)(jnp.float32(x)).item() for x in (-4, 4)]
    [-4.0, 2.0]

    Laws: ``cond(p, f, g)`` is ``switch(p, [g, f])``.

    Raises MismatchError where ``p`` gives no truth value, or ``f`` and ``g`` differ in type.
    """
    return choose("cond", p, [g, f])


def choose(what: str, index: Model, choices: Sequence[Model]) -> Model:
    """The term of :func:`switch`; ``what`` is how an error calls it."""
    parts = [*models(what, [index]), *models(what, choices)]
    paired = Branch((index.term, IDENTITY))
    chosen = Control(Switch(), tuple(choice.term for choice in parts[1:]))
    return typed(sequence(paired, chosen), parts, shared_input(parts))
