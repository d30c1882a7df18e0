"""Versions: a model answers who it is, what came before, and what comes after."""

from functools import partial
from typing import Any

from lamda import errors, types
from lamda.model import Model


def who(model: Model) -> str:
    """``who(m)`` is the address of ``m``.

    >>> import lamda as lm
    >>> f = lm.lift(lambda x: x * 2, input="float32[n]")
    >>> who(f >> lm.identity) == who(f) == f("who")
    True

    Raises OpenError for a model without weights, or without a type.
    """
    return model.address


def pred(model: Model) -> Model | None:
    """``pred(succ(m, w))`` is ``m``; a first version has no predecessor: ``None``.

    >>> import jax.numpy as jnp, lamda as lm
    >>> zero = lm.lift(lambda w, x: x * w, jnp.float32(0), input="float32[n]")
    >>> pred(succ(zero, jnp.float32(1))) is zero, pred(zero)
    (True, None)
    """
    found = model.before
    return found if found is None or isinstance(found, Model) else found()


def succ(model: Model, new: Any) -> Model:
    """``succ(m, w)`` is ``m`` with weights ``w`` (or the model ``w``), and ``m`` its predecessor.

    >>> import jax.numpy as jnp, lamda as lm
    >>> zero = lm.lift(lambda w, x: x * w, jnp.float32(0), input="float32[n]")
    >>> succ(zero, jnp.float32(3))(jnp.ones(2)).tolist()
    [3.0, 3.0]

    Laws: ``succ(m, m.weights)`` has the address of ``m``; a successor has the same program.

    Raises SpecError where the weights do not fit, MismatchError where a new model has other types.
    """
    if not isinstance(new, Model):
        new = model.replace_weights(new)
    elif (old := _signature(model)) != (given := _signature(new)):
        raise errors.MismatchError(errors.BAD_SUCCESSOR.format(pred=model, wanted=old, given=given))
    return new.derive(new.term, new.environment, pred=model, receipt=new.receipt)


def _signature(model: Model) -> str:
    return f"{types.show(model.input)} -> {types.show(model.output)}"


def answer(model: Model, message: str) -> Any:
    """The answer to a message. Raises SpecError where there is no such message."""
    match message:
        case "who":
            return who(model)
        case "pred":
            return pred(model)
        case "succ":
            return partial(succ, model)
    raise errors.SpecError(
        f"{message!r} is no message: a model answers 'who', 'pred' and 'succ', or is called with "
        f"arrays of type {types.show(model.input)}"
    )
