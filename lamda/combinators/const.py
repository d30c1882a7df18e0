"""Constants: functions that do not look at their input."""

from typing import Any

import jax.numpy as jnp

from lamda import check, errors
from lamda.errors import made_at
from lamda.function import Function
from lamda.model import Model
from lamda.tensor import Weights
from lamda.term import Branch, Lift, Slot, Term, Token, sequence

TERMINAL = Branch(())
"""``x -> ()``: the one function to the empty tuple, which discards its input."""

HOLD = Function(lambda weights, x: weights, key=("lamda", "const"), name="const", where="lamda",
                input=())  # fmt: skip


def const(value: Any) -> Model:
    """``const(v)(x)`` is ``v``, for every ``x``.

    ``value`` is an array or a number, a frozen weight; or a tuple or dict of these, which is a
    branch of constants. The term is ``x -> ()`` and then the function of ``()`` that gives the
    weight, so what is applied before it is discarded. The input type is unknown until it is
    composed after, or branched beside, a part that has one.

    >>> import jax.numpy as jnp, lamda as lm
    >>> f = lm.lift(jnp.sin, input="float32[b]") >> const(jnp.float32(7))
    >>> f(jnp.zeros(2)).item(), len(f.program.nodes)
    (7.0, 1)

    Laws: ``f >> const(v)`` is ``g >> const(v)`` for all ``f`` and ``g`` of one input type;
    ``const((v, w))`` is ``branch(const(v), const(w))``. Raises SpecError for what is no array.
    """
    held: dict[Slot | None, Weights] = {}
    term = _hold(value, held)
    output = check.infer(term, (), lambda lift, _: held[lift.slot].type).output
    bound = {slot: weights for slot, weights in held.items() if slot is not None}
    return Model(term, bound, None, output, where=made_at())


def _hold(value: Any, held: dict[Slot | None, Weights]) -> Term:
    """The term that gives a value, whose arrays are put into ``held``."""
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return Branch(tuple(_hold(v, held) for v in value.values()), tuple(value))
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        return Branch(tuple(_hold(v, held) for v in value))
    slot = Slot(Token(), frozen=True)
    try:
        held[slot] = Weights.of(jnp.asarray(value))
    except TypeError:
        raise errors.SpecError(errors.BAD_CONST.format(value=value)) from None
    return sequence(TERMINAL, Lift(HOLD, slot))
