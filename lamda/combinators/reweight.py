"""Weights are variables, and a variable may be bound by a term.

A part ``f`` with weights ``w`` is ``f`` applied to ``(x, w)``. So for any term ``W`` that reads no
input and gives weights, ``branch(identity, W) >> f`` is the part with the weights that ``W``
computes: tensors as they are, unpacked from fewer bits, or the sum of several. (In this order what
comes before a part stands before its weights in the normal form, so equal blocks stand in a run
that can be rolled.)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from lamda.function import Function
from lamda.model import Model
from lamda.term import IDENTITY, Branch, Compose, Lift, Named, Slot, Term, sequence, slots
from lamda.types import Type

TERMINAL = Branch(())
"""``TERMINAL(x)`` is ``()``: what follows does not depend on ``x``."""

READ = Function(lambda weights, _: weights, key=("read",), name="weights", where="lamda", input=())
"""``Lift(READ, s)(())`` is the weights of ``s``."""


class Part(NamedTuple):
    """A part apart from its weights."""

    name: str
    apply: Lift
    """Takes ``(x, weights)``."""
    weights: Term
    """Gives the weights, for any input."""

    def bound(self, weights: Term) -> Term:
        """The part with weights that a term gives, found where those of the part were."""
        paired = Branch((IDENTITY, Named("", weights)))
        return Named(self.name, Compose((Named("", paired), self.apply)))

    @property
    def slots(self) -> list[Slot]:
        """The variables that its weights are made of."""
        return slots(self.weights)


def unpacked(function: Function, slot: Slot) -> Term:
    """The term that gives ``function(weights of slot, ())`` for any input."""
    return sequence(TERMINAL, Named("", Lift(function, slot)))


def part(term: Term, model: Model) -> Part | None:
    """A lifted function with weights, or one that is bound already, apart from its weights."""
    match term:
        case Lift(function, slot) if slot is not None:
            apply = Lift(_uncurried(function, model.weights_type(term, ())))
            return Part(function.name, apply, unpacked(READ, slot))
        case Named(
            name,
            Compose(
                (
                    Named("", Branch((Compose(()), Named("", weights)), None)),
                    Lift(_, None) as apply,
                )
            ),
        ):
            return Part(name, apply, weights)
    return None


def _uncurried(function: Function, weights: Type) -> Function:
    return Function(
        _Uncurried(function.call),
        key=("uncurried", function.key),
        name=function.name,
        where=function.where,
        input=None if function.input is None else (function.input, weights),
        sample=None if (sample := function.sample) is None else _uncurried_sample(sample),
    )


def _uncurried_sample(sample: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _, pair, key: sample(pair[1], pair[0], key)


class _Uncurried:
    """``call((), (x, weights))`` is ``function(weights, x)``."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.function = getattr(call, "function", call)

    def __call__(self, _: Any, pair: tuple[Any, Any]) -> Any:
        x, weights = pair
        return self.call(weights, x)
