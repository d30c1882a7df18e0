"""Side by side: a tuple or a dict of functions on a tuple or a dict of inputs."""

from collections.abc import Sequence

from lamda import errors, types
from lamda.combinators.compose import identity
from lamda.combinators.typed import typed
from lamda.model import Model, models
from lamda.term import Branch, Pick, sequence
from lamda.types import Type


def parallel(*parts: Model, **named: Model) -> Model:
    """``parallel(f, g)(x, y)`` is ``(f(x), g(y))``; written ``f @ g``.

    With names, dicts: ``parallel(a=f, b=g)({"a": x, "b": y})`` is ``{"a": f(x), "b": g(y)}``. It is
    ``branch(pick(0) >> f, pick(1) >> g)``, which takes exactly as many inputs as there are parts.
    The dimensions of each part are its own: two parts for ``float32[b]`` take
    ``(float32[b], float32[b1])``.

    >>> import jax.numpy as jnp, lamda as lm
    >>> f, g = lm.lift(jnp.sin, input="float32[b]"), lm.lift(jnp.cos, input="float32[b]")
    >>> f @ g
    <((pick(0) >> sin) & (pick(1) >> cos)): (float32[b], float32[b1]) -> (float32[b], float32[b1])>

    Laws: ``(f @ g) >> (h @ k)`` is ``(f >> h) @ (g >> k)``; ``branch(f, g) >> (h @ k)`` is
    ``branch(f >> h, g >> k)``; ``f @ g`` is ``first(f) >> second(g)``.

    Raises SpecError for parts both by position and by name.
    """
    if parts and named:
        raise errors.SpecError(errors.MIXED_PARTS.format(what="parallel"))
    members = models("parallel", parts or tuple(named.values()))
    keys: Sequence[str | int] = tuple(named) or range(len(parts))
    picked = (sequence(Pick(key), m.term) for key, m in zip(keys, members, strict=True))
    return typed(Branch(tuple(picked), tuple(named) or None), members, _input(keys, members))


def _input(keys: Sequence[str | int], members: Sequence[Model]) -> Type | None:
    """The tree of what the parts take, where all say it; no two share a dimension."""
    inputs: list[Type] = []
    for member in members:
        if member.input is None:
            return None
        inputs.append(types.apart(member.input, types.names(tuple(inputs))))
    if isinstance(keys[0], int):
        return tuple(inputs)
    return types.typeof({str(key): type for key, type in zip(keys, inputs, strict=True)})


def first(f: Model) -> Model:
    """``first(f)(x, y)`` is ``(f(x), y)``: ``f @ identity``.

    >>> import jax.numpy as jnp, lamda as lm
    >>> lm.first(lm.lift(lambda x: x * 2))((1.0, 3.0))[0].item()
    2.0

    Laws: ``first(f) >> first(g)`` is ``first(f >> g)``; ``first(f) >> second(g)`` is
    ``second(g) >> first(f)``.
    """
    return parallel(f, identity)


def second(f: Model) -> Model:
    """``second(f)(x, y)`` is ``(x, f(y))``: ``identity @ f``.

    >>> import jax.numpy as jnp, lamda as lm
    >>> lm.second(lm.lift(lambda x: x * 2))((1.0, 3.0))[1].item()
    6.0

    Laws: ``second(f)`` is ``swap >> first(f) >> swap``.
    """
    return parallel(identity, f)


swap = Model(Branch((Pick(1), Pick(0))), {}, None, None, where="lamda")
"""``swap(x, y)`` is ``(y, x)``; ``swap >> swap`` is the identity of pairs."""
