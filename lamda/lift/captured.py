"""Captured arrays: what a function closes over becomes its weights, not its constants."""

from typing import Any

import jax.core
import jax.numpy as jnp

from lamda import errors
from lamda.function import Function
from lamda.types import Type


def hoist(function: Function, weights: Any, type: Type) -> tuple[Function, Any]:
    """The function with the arrays that it captures moved into its weights.

    They are called ``captured_0``, ``captured_1``, ... beside ``weights``, where there are some.
    """
    if function.input is None:
        return function, weights
    captured = function.trace(type, function.input).captured
    if not captured:
        return function, weights
    if function.sample is not None:
        text = errors.CAPTURED_RANDOM.format(name=function.name, at=function.where)
        raise errors.ImpureError(text)
    moved = Function(
        _Hoisted(function.call, tuple(captured), own=weights is not None),
        key=("captured", function.key),
        name=function.name,
        where=function.where,
        input=function.input,
    )
    named = {f"captured_{i}": jnp.asarray(array) for i, array in enumerate(captured.values())}
    return moved, named if weights is None else {"weights": weights, **named}


class _Hoisted:
    """``call(weights, x)``, where the weights hold what the function captured.

    The function is traced at the types at hand, and its program is run on the weights in place
    of the captured arrays: JAX numbers the constants of a program in the order of their use.
    """

    def __init__(self, call: Any, places: tuple[int, ...], own: bool) -> None:
        self.call = call
        self.places = places
        self.own = own

    def __call__(self, weights: dict[str, Any], x: Any) -> Any:
        arguments = (weights["weights"] if self.own else (), x)
        traced, output = jax.make_jaxpr(self.call, return_shape=True)(*arguments)
        constants = list(traced.consts)
        for i, place in enumerate(self.places):
            constants[place] = weights[f"captured_{i}"]
        leaves = jax.core.eval_jaxpr(traced.jaxpr, constants, *jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(output), leaves)
