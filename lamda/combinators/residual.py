"""The residual connection."""

from lamda.combinators.compose import identity
from lamda.combinators.join import join, total
from lamda.model import Model, models


def residual(f: Model) -> Model:
    """``residual(f)(x)`` is ``x + f(x)``: ``add(identity, f)``.

    ``f`` gives exactly the type that it takes.

    >>> import jax.numpy as jnp, lamda as lm
    >>> lm.residual(lm.lift(jnp.sin, input="float32[]"))(jnp.float32(0)).item()
    0.0

    Raises MismatchError where ``f`` gives another type than it takes.
    Source: He et al., Deep Residual Learning, https://arxiv.org/abs/1512.03385
    """
    return join("add", [identity, *models("residual", [f])], total, what="residual")
