"""Closing: an open term becomes a model when its variables are bound to weights."""

from typing import Any

import jax

from lamda import check, types
from lamda.address import sha256
from lamda.model import Model
from lamda.tensor import Weights
from lamda.term import Lift, Token
from lamda.types import Type


def close(model: Model, key: jax.Array, input: Any = None) -> Model:
    """``close(m, key)`` is ``m`` with weights for every open part: see :meth:`Model.init`."""
    given = model.require_input() if input is None else types.typeof(input)
    given = model.accept(given) if input is not None and model.input is not None else given
    paths = {slot.token: path for slot, path in reversed(model.slots.items())}
    made: dict[Token, Weights] = {}

    def weights(lift: Lift, at: Type) -> Type:
        slot = lift.slot
        if slot is not None and slot not in model.environment and slot.token not in made:
            sizes = types.substitute(at, dict.fromkeys(types.names(at), 1))
            made[slot.token] = lift.function.initialise(fold(key, paths[slot.token]), sizes)
        return () if slot is None else (model.environment.get(slot) or made[slot.token]).type

    inferred = check.infer(model.term, given, weights)
    bound = {s: made[s.token] for s in model.slots if s not in model.environment}
    closed = types.substitute(given, inferred.sizes)
    return model.bind(bound, input=closed, output=inferred.output)


def fold(key: jax.Array, path: tuple[str, ...]) -> jax.Array:
    """The key of what stands at a path."""
    return jax.random.fold_in(key, int(sha256(list(path))[-8:], 16))
