"""The certificate of purity: what is lifted always computes the same program."""

from typing import Any

import jax

from lamda import errors, types
from lamda.function import Function
from lamda.tensor import Weights


def certify(function: Function, weights: Any) -> tuple[Function, Any]:
    """The function, certified pure, with the arrays that it captured moved into its weights.

    Traced twice at its declared type, it must give one program, without effects. A function
    that declares no type is certified when its type is known, by being composed or called.
    Raises ImpureError.
    """
    if function.input is None:
        return function, weights
    first, second = (_trace(function, weights) for _ in range(2))
    if first.effects:
        effect = ", ".join(sorted(map(str, first.effects)))
        raise errors.ImpureError(
            errors.IMPURE_EFFECT.format(name=function.name, effect=effect, at=function.where)
        )
    if str(first) != str(second) or not _same(first.consts, second.consts):
        raise errors.ImpureError(
            errors.IMPURE_TRACE.format(name=function.name, at=function.where)
        )
    captured = tuple(c for c in first.consts if hasattr(c, "shape"))
    if not captured:
        return function, weights
    call = _Captured(function.call, bound=weights is not None)
    moved = Function(
        call,
        key=("captured", function.key),
        name=function.name,
        where=function.where,
        input=function.input,
    )
    named = {f"captured_{i}": jax.numpy.asarray(c) for i, c in enumerate(captured)}
    return moved, named if weights is None else {"weights": weights, **named}


class _Captured:
    """``call(weights, x)`` with the arrays that the function captured given as weights.

    The function is traced at the types at hand, and its program run on the weights instead of
    the captured arrays: JAX numbers what a program captures in the order in which it is used.
    """

    def __init__(self, call: Any, bound: bool) -> None:
        self.call = call
        self.bound = bound

    def __call__(self, weights: dict[str, Any], x: Any) -> Any:
        own = weights["weights"] if self.bound else ()
        traced, shape = jax.make_jaxpr(self.call, return_shape=True)(own, x)
        given = [weights[f"captured_{i}"] for i in range(len(traced.consts))]
        out = jax.core.eval_jaxpr(traced.jaxpr, given, *jax.tree.leaves((own, x)))
        return jax.tree.unflatten(jax.tree.structure(shape), out)


def _trace(function: Function, weights: Any) -> Any:
    scope = jax.export.SymbolicScope()
    own: Any = () if weights is None else Weights.of(weights).type
    structs = types.structs(own, scope), types.structs(function.input or (), scope)
    # make_jaxpr remembers functions it has seen; a new wrapper makes it look again.
    return function.trace(lambda call, *a: jax.make_jaxpr(lambda w, x: call(w, x))(*a), *structs)


def _same(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(a is b for a, b in zip(first, second, strict=True))
