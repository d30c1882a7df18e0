"""Rematerialisation: memory for time in the derivative."""

from lamda.combinators.control import control
from lamda.kinds import Remat
from lamda.model import Model, models


def remat(f: Model) -> Model:
    """``remat(f)(x)`` is ``f(x)``; its derivative computes the inside of ``f`` again.

    >>> import jax.numpy as jnp, lamda as lm
    >>> f = lm.lift(jnp.tanh, input="float32[]")
    >>> lm.remat(f).address == f.address, lm.remat(f).program == f.program
    (True, False)

    Laws: the function is the same, so the address is ``f``'s; the program keeps the mark.
    Source: https://docs.jax.dev/en/latest/_autosummary/jax.checkpoint.html
    """
    return control(Remat(), *models("remat", [f]))
