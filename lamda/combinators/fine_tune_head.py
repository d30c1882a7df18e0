"""Fine-tuning: a frozen backbone and a head to train."""

from lamda.combinators.compose import compose
from lamda.combinators.freeze import freeze
from lamda.model import Model


def fine_tune_head(backbone: Model, head: Model) -> Model:
    """``fine_tune_head(f, h)`` is ``freeze(f) >> h``: only the head is trained.

    >>> import jax, jax.numpy as jnp, lamda as lm
    >>> scale = lambda w, x: x * w
    >>> body = lm.lift(scale, jnp.float32(2), input="float32[n]", name="body")
    >>> head = lm.lift(scale, jnp.float32(3), input="float32[n]", name="head")
    >>> list(fine_tune_head(body, head).weights)
    ['head']

    Heads on one backbone share it: in ``branch(fine_tune_head(f, g), fine_tune_head(f, h))`` the
    backbone runs once and is stored once.
    """
    return compose(freeze(backbone), head)
