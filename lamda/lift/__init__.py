"""Lifting: models of what is not one yet: a function, a Flax module, an exported program."""

from typing import Any

from lamda import check, errors, types
from lamda.errors import made_at
from lamda.lift import flax
from lamda.lift.annotations import of_input
from lamda.lift.captured import hoist
from lamda.lift.exported import is_exported, lift_exported
from lamda.lift.plain import parameters, plain, tidy
from lamda.model import Model
from lamda.tensor import Weights
from lamda.term import Lift, Slot, Token


def lift(
    function: Any,
    weights: Any = None,
    *,
    input: Any = None,
    name: str | None = None,
) -> Model:
    """``lift(f)(x)`` is ``f(x)``; ``lift(f, w)(x)`` is ``f(w, x)``.

    ``function`` is pure JAX: of ``x``, or of ``(weights, x)``; or a Flax module (linen: open until
    :meth:`Model.init`); or what ``jax.export`` made of such a function, or the bytes of that, which
    has the address of the function. ``weights`` is an array or a tree of arrays in dicts, tuples
    and lists. ``input`` is a type, written ``"float32[b, 384]"`` with named dimensions where any
    size will do, or a tree of types, or an example; else the annotation of ``x`` says it, as
    ``"float32[b, 384]"`` or jaxtyping's ``Float[Array, "b 384"]``. Without a type the function
    takes what it is given.

    A function with a parameter ``key=None`` is random, as dropout is: it gets a key where the model
    is called with one, ``model(x, key)``, and in :func:`fit`; without a key it must not draw.

    With a type, the function is certified pure, see :mod:`lamda.purity`: traced twice to the same
    program, without effects, writing to nothing outside; and arrays that it captures become
    weights.

    >>> import jax.numpy as jnp
    >>> scale = lift(lambda w, x: x * w, jnp.float32(2), input="float32[n]", name="scale")
    >>> scale
    <scale: float32[n] -> float32[n]>
    >>> scale(jnp.ones(2)).tolist()
    [2.0, 2.0]

    Raises ImpureError, SpecError for what is no function, MismatchError where it does not run on
    its declared type.
    """
    where = made_at()
    type = None if input is None else types.typeof(input)
    if flax.is_module(function):
        lifted, tree = flax.lift_module(function, input=type, name=name, where=where)
    elif is_exported(function):
        own = weights is not None
        lifted = lift_exported(function, own, input=type, name=name, where=where)
        tree = tidy(weights, lifted.name) if own else None
    else:
        if not callable(function):
            raise errors.SpecError(errors.NOT_LIFTABLE.format(value=function))
        takes_weights = parameters(function, weights is not None)
        type = type if type is not None else of_input(function, takes_weights)
        lifted = plain(function, takes_weights, input=type, name=name, where=where)
        tree = None if weights is None else tidy(weights, lifted.name)
        lifted, tree = hoist(lifted, tree, () if tree is None else Weights.of(tree).type)
    needs_slot = tree is not None or lifted.init is not None
    slot = Slot(Token()) if needs_slot else None
    environment = {} if slot is None or tree is None else {slot: Weights.of(tree)}
    return _model(Lift(lifted, slot), environment, where)


def _model(term: Lift, environment: dict[Slot, Weights], where: str) -> Model:
    input = term.function.input
    model = Model(term, environment, input, None, where=where)
    if input is None:
        return model
    output = check.infer(term, input, model.weights_type).output
    return model.derive(term, environment, output=output)
